"""Read what an engine exports (`docker save`) as it comes, without unpacking anything to disk.

Two forms are read: that of engines up to 24 (`<id>/layer.tar`, `<digest>.json`), and that of newer ones, which is an OCI
layout (`blobs/sha256/...`) with the same manifest.json beside it. Names inside an archive are keys here, never paths.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Generic, TypeVar

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON_BYTES = 8 << 20
"""The largest config or manifest that is read: registries take at most 4 MiB."""

T = TypeVar("T")


@dataclass(frozen=True)
class Archived(Generic[T]):
    """An image of an archive: its config's bytes, and what became of each of its layers, lowest first."""

    config: bytes
    layers: list[T]

    @property
    def digest(self) -> str:
        """The digest of the config: the image's identity."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the layers, uncompressed, as the config says."""
        return [str(each) for each in json.loads(self.config)["rootfs"]["diff_ids"]]


def images(chunks: Iterator[bytes], take: Callable[[IO[bytes]], T]) -> list[Archived[T]]:
    """The images of an archive. `take` is given each layer's bytes once, in the archive's order, to do something with.

    Raises StageError if the stream is no archive of images or ends too early.
    """
    contents = _Contents(take)
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Stream(chunks), 1 << 20), mode="r|") as archive:
            for member in archive:
                contents.add(member, archive)
        return contents.images()
    except (tarfile.TarError, KeyError, TypeError, ValueError, EOFError) as error:
        raise StageError(f"what the engine exported cannot be read: {error!r}", cls="retryable") from error


def configs(chunks: Iterator[bytes]) -> list[str]:
    """The digests of the configs of the images in an archive."""
    return [image.digest for image in images(chunks, _discard)]


def _discard(_: IO[bytes]) -> None:
    """Tarfile skips what is not read."""


class _Contents(Generic[T]):
    """What an archive has shown so far, by the names it uses."""

    def __init__(self, take: Callable[[IO[bytes]], T]) -> None:
        self._take = take
        self._small: dict[str, bytes] = {}
        self._layers: dict[str, T] = {}
        self._links: dict[str, str] = {}

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        name = posixpath.normpath(member.name)
        if member.issym():  # older engines link a layer that is the same as another
            self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            return
        data = archive.extractfile(member) if member.isfile() else None
        if data is None:
            return
        if name.endswith("/layer.tar"):
            self._layers[name] = self._take(data)
        elif name.startswith("blobs/"):
            self._add_blob(name, member.size, io.BufferedReader(_Rest(data), 1 << 16))
        elif "/" not in name and member.size <= JSON_BYTES:
            self._small[name] = data.read()

    def _add_blob(self, name: str, size: int, data: io.BufferedReader) -> None:
        """A blob's name does not say whether it is a layer or a small JSON document, so its bytes must."""
        if size > JSON_BYTES or data.peek(1)[:1] != b"{":
            self._layers[name] = self._take(data)
            return
        content = data.read()
        if _is_json(content):
            self._small[name] = content
        else:
            self._layers[name] = self._take(io.BytesIO(content))

    def images(self) -> list[Archived[T]]:
        return [
            Archived(self._small[posixpath.normpath(each["Config"])], [self._layer(name) for name in each["Layers"]])
            for each in json.loads(self._small["manifest.json"])
        ]

    def _layer(self, name: str) -> T:
        name = posixpath.normpath(name)
        return self._layers[self._links.get(name, name)]


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


class _Stream(io.RawIOBase):
    """An iterator of chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stub names a wider protocol
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class _Rest(io.RawIOBase):
    """A member of an archive as a raw file, so that it can be peeked into."""

    def __init__(self, data: IO[bytes]) -> None:
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as above
        content = self._data.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
