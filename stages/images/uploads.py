"""Write images into a repository: each blob that is missing once, then the manifest.

A blob that a sister repository of the same registry has is mounted from there. One that has to be sent is sent in as few
requests as its size allows, and goes on where the registry says it ended if the connection breaks in the middle.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urljoin

from stages.contract import StageError
from stages.images import parallel, registry
from stages.images.layout import blob_of
from stages.images.refusals import RegistryError, retried
from stages.log import log

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterable, Iterator

    from stages.contract import Json
    from stages.images.layout import Blob, LayoutImage
    from stages.images.registry import Answer, Manifest, Repository

PART_BYTES = 64 << 20
"""The most that one request carries. A part costs one round trip more, some tenths of a percent of what it takes to send;
a registry that keeps no half-sent part then loses no more than this."""
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")

Sent = Callable[[int], None]
"""Is told how many bytes have just been sent."""


class Image(Protocol):
    """An image that can be copied: its manifest, the blobs that it names, and their bytes from an offset on."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def blobs(self) -> list[Blob]: ...

    def read(self, blob: Blob, offset: int) -> Generator[bytes, None, None]: ...

    def mountable(self, to: Repository) -> Iterable[str]:
        """Names of repositories in the registry of `to` that have the blobs."""


@dataclass(frozen=True)
class FromLayout:
    """An image of a layout, every byte of it verified."""

    image: LayoutImage

    @property
    def manifest(self) -> Manifest:
        return registry.Manifest(self.image.manifest, str(json.loads(self.image.manifest)["mediaType"]))

    @property
    def blobs(self) -> list[Blob]:
        return self.image.blobs

    def read(self, blob: Blob, offset: int) -> Generator[bytes, None, None]:
        with self.image.path(blob).open("rb") as file:
            file.seek(offset)
            while chunk := file.read(registry.CHUNK_BYTES):
                yield chunk

    def mountable(self, to: Repository) -> Iterable[str]:
        del to
        return ()


@dataclass(frozen=True)
class FromRegistry:
    """An image of another repository. Its manifest was asked for by digest, and names the blobs by theirs, which the
    registry that they are sent to checks."""

    repository: Repository
    manifest: Manifest

    @property
    def blobs(self) -> list[Blob]:
        document: Json = json.loads(self.manifest.content)
        return list(dict.fromkeys(blob_of(each) for each in (document["config"], *document["layers"])))

    def read(self, blob: Blob, offset: int) -> Generator[bytes, None, None]:
        yield from registry.blob_from(self.repository, blob.digest, offset)

    def mountable(self, to: Repository) -> Iterable[str]:
        return (self.repository.name,) if self.repository.origin == to.origin else ()


@dataclass(frozen=True)
class Copy:
    """An image to be written into a repository. `shown` begins errors about it: whose image it is."""

    image: Image
    to: Repository
    shown: str = ""


@dataclass(frozen=True)
class _Wanted:
    """A blob, where it may be read, and the repositories of one registry that it has to be in."""

    blob: Blob
    image: Image
    shown: str
    to: list[Repository] = field(default_factory=list)


def send_blobs(copies: list[Copy], jobs: int, sent: Sent = lambda _: None) -> None:
    """Send every blob that a repository lacks, `jobs` at a time, each once to a registry. Raises RegistryError, StageError."""
    wanted: dict[tuple[str, str], _Wanted] = {}
    for copy in copies:
        for blob in copy.image.blobs:
            each = wanted.setdefault((copy.to.origin, blob.digest), _Wanted(blob, copy.image, copy.shown))
            if copy.to.url not in {known.url for known in each.to}:
                each.to.append(copy.to)
    largest_first = sorted(wanted.items(), key=lambda item: -item[1].blob.size)
    parallel.run({key: _task(each, sent) for key, each in largest_first}, jobs)


def _task(wanted: _Wanted, sent: Sent) -> Callable[[threading.Event], None]:
    def run(stop: threading.Event) -> None:
        has_it: str | None = None
        for repository in wanted.to:
            if stop.is_set():
                raise parallel.Stopped
            try:
                if not registry.has_blob(repository, wanted.blob.digest):
                    sources = [has_it] if has_it else wanted.image.mountable(repository)
                    _send(repository, wanted, next(iter(sources), None), sent)
            except StageError as error:
                if wanted.shown:
                    error.message = f"{wanted.shown}: {error.message}"
                    error.args = (error.message,)
                raise
            has_it = repository.name

    return run


def _send(repository: Repository, wanted: _Wanted, mount_from: str | None, sent: Sent) -> None:
    upload = _Upload(repository, wanted.blob, wanted.image, sent)
    try:
        upload.run(mount_from)
    except RegistryError as error:
        if not upload.resumed or error.again or error.status in (401, 403):
            raise
        log(f"{wanted.blob.digest}: what was sent in pieces was refused ({error.message}); sending it anew")
        _Upload(repository, wanted.blob, wanted.image, sent).run(None)


class _Upload:
    """One blob on its way. `offset` is how much of it the registry has; `doubtful`, that a request may have been half done."""

    def __init__(self, repository: Repository, blob: Blob, image: Image, sent: Sent) -> None:
        self.repository, self.blob, self.image, self.sent = repository, blob, image, sent
        self.location = ""
        self.offset = 0
        self.doubtful = False
        self.resumed = False

    def run(self, mount_from: str | None) -> None:
        if retried(lambda: self._begin(mount_from)):
            return
        if self.blob.size > PART_BYTES:
            while self.offset < self.blob.size:
                retried(self._send_part)
        retried(self._close)

    def _begin(self, mount_from: str | None = None) -> bool:
        """Begin an upload; True if the blob was mounted, so that there is nothing to send."""
        query = f"?mount={self.blob.digest}&from={quote(mount_from, safe='')}" if mount_from else ""
        begun = registry.call(self.repository, "POST", f"/blobs/uploads/{query}", (201, 202))
        self.location, self.offset, self.doubtful = "" if begun.status == 201 else _location(begun), 0, False
        return begun.status == 201

    def _send_part(self) -> None:
        if self.doubtful:
            self._look()
        start, end = self.offset, min(self.offset + PART_BYTES, self.blob.size)
        self.doubtful = True
        headers = {"Content-Range": f"{start}-{end - 1}"}
        answer = self._request("PATCH", self.location, (202, 204), headers, range(start, end))
        self.location, self.offset, self.doubtful = _location(answer), end, False

    def _close(self) -> None:
        """Say what the blob's digest is; one that has been sent in no part yet goes along."""
        if self.doubtful:
            if registry.has_blob(self.repository, self.blob.digest):  # the answer was lost, not the blob
                return
            self._look()
        start, end = self.offset, self.blob.size
        self.doubtful = True
        separator = "&" if "?" in self.location else "?"
        headers = {"Content-Range": f"{start}-{end - 1}"} if 0 < start < end else {}
        self._request("PUT", f"{self.location}{separator}digest={self.blob.digest}", (201,), headers, range(start, end))

    def _request(
        self, method: str, where: str, expected: tuple[int, ...], headers: dict[str, str], part: range
    ) -> Answer:
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(part))}
        body = self._bytes(part) if part else None
        return registry.call(self.repository, method, where, expected, headers=headers, body=body)

    def _bytes(self, part: range) -> Iterator[bytes]:
        left = len(part)
        for chunk in self.image.read(self.blob, part.start):
            yield chunk[:left]
            self.sent(min(left, len(chunk)))
            left -= len(chunk)
            if left <= 0:
                return
        raise StageError(f"the blob {self.blob.digest} ended {left:,} bytes too early", cls="mismatch")

    def _look(self) -> None:
        """Ask how much the registry has; where it cannot say, begin anew."""
        try:
            answer = registry.call(self.repository, "GET", self.location, (200, 202, 204))
        except RegistryError as error:
            if error.again:
                raise
            self._begin()  # distribution up to 2.8 keeps no upload that was cut
            return
        has = _end(answer.headers.get("Range"))
        if has is None or has > self.blob.size:
            self._begin()
            return
        self.offset, self.doubtful, self.resumed = has, False, self.resumed or has > 0
        self.location = _location(answer, self.location)
        if has:
            log(f"{self.blob.digest}: going on after {has:,} of {self.blob.size:,} bytes")


def _end(said: str | None) -> int | None:
    """How many bytes `Range` says are there. Nothing and one byte both read as `0-0`: then it is taken for nothing."""
    match = _RANGE.fullmatch(said or "")
    if match is None:
        return None
    return int(match[1]) + 1 if match[1] != "0" else 0


def _location(answer: Answer, otherwise: str = "") -> str:
    location = answer.headers.get("Location") or otherwise
    if not location:
        raise RegistryError("the registry does not say where to upload to")
    return urljoin(answer.url, location)


def put_image(copy: Copy, tag: str) -> str:
    """Write the manifest of an image whose blobs are there, and return its digest. Raises RegistryError."""
    registry.put_manifest(copy.to, copy.image.manifest, tag)
    return copy.image.manifest.digest
