"""What of an image's layers says what is installed in it, read as a stream, in memory, without unpacking anything.

A layer is hostile until proven dull: it may be huge, have a million entries, be a bomb when decompressed, or hold links
where databases are expected. Each such thing ends as a reason why the image is not known completely; none is a crash, and
none is passed over in silence. Whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.bom import tar, wanted
from stages.bom.tar import Unreadable
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

CHUNK_BYTES = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MOST_STEPS = 400
"""On the way of a path through links: more is a circle. Linux gives up after 40 links."""
MOST_DEEP, LONGEST_PATH = 128, 4096
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass
class Budget:
    """What all layers of a scan together may cost."""

    entries: int = LIMITS.scan_entries
    content_bytes: int = LIMITS.scan_content_bytes
    kept_bytes: int = LIMITS.scan_kept_bytes

    def take(self, *, entries: int = 0, content_bytes: int = 0, kept_bytes: int = 0) -> None:
        """Raises Unreadable when there is no more of something."""
        self.entries -= entries
        self.content_bytes -= content_bytes
        self.kept_bytes -= kept_bytes
        for left, limit, what in (
            (self.entries, LIMITS.scan_entries, "files"),
            (self.content_bytes, LIMITS.scan_content_bytes, "bytes when decompressed"),
            (self.kept_bytes, LIMITS.scan_kept_bytes, "bytes of package databases"),
        ):
            if left < 0:
                raise Unreadable(f"the images have more than {limit:,} {what}")


@dataclass
class Layer:
    """What a layer adds and takes away. `diff_id` is the digest of its content; None if it was not read to its end."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    """All that is no folder: it hides a folder of that name below."""
    folders: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    opaque: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    diff_id: str | None = None


@dataclass
class Contents:
    """What an image holds once its layers lie on each other: wanted files, links, and why that may not be all."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def read(data: IO[bytes] | Iterator[bytes], budget: Budget) -> Layer:
    """Read one layer, plain or compressed by gzip. Whatever is wrong with it is in its reasons."""
    layer = Layer()
    try:
        source = _Source(_decompressed(_chunks(data)), budget)
        for entry in tar.entries(source):
            budget.take(entries=1)
            _add(layer, entry, source, budget)
        layer.diff_id = source.finish()
    except (Unreadable, zlib.error) as error:
        layer.reasons.append(f"a layer cannot be read: {error}")
    return layer


def stack(layers: Iterable[Layer]) -> Contents:
    """Lay layers on each other, the lowest first."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    reasons: list[str] = []
    for layer in layers:
        files = {path: data for path, data in files.items() if not _covered(path, layer)} | layer.files
        links = {path: to for path, to in links.items() if not _covered(path, layer)} | layer.links
        reasons += layer.reasons
    return Contents(files, links, [*dict.fromkeys(reasons), *_hidden(links)])


def _covered(path: str, layer: Layer) -> bool:
    """Whether a layer removes or hides a path below it."""
    if path in layer.removed or path in layer.plain or path in layer.folders:
        return True
    while path:
        path = path.rpartition("/")[0]
        if path in layer.removed or path in layer.plain or path in layer.opaque:
            return True
    return False


def _hidden(links: dict[str, str]) -> Iterator[str]:
    """Say which links stand where something is looked for, and lead to where nothing is."""
    for path in wanted.MUST_BE_REAL:
        target = _resolved(path, links)
        if target is None or not wanted.wanted(target):
            yield f"{path} is reached by a link, and leads to {target or 'nowhere'}, which is not looked at"
    for link in sorted(links):
        for path in wanted.behind(link):
            target = _resolved(path, links)
            if target is None or not wanted.wanted(target):
                yield f"{link} is a link to {links[link]}, which is not looked at"


def _resolved(path: str, links: dict[str, str]) -> str | None:
    """Where a path leads inside the image; None if it goes round in circles."""
    done, rest = "", path.split("/")
    for _ in range(MOST_STEPS):
        if not rest:
            return done
        part, *rest = rest
        if part == "..":
            done = done.rpartition("/")[0]
        elif part not in ("", "."):
            here = f"{done}/{part}" if done else part
            if here in links:
                target = links[here]
                done, rest = "" if target.startswith("/") else done, [*target.split("/"), *rest]
            else:
                done = here
    return None


def _add(layer: Layer, entry: tar.Entry, source: _Source, budget: Budget) -> None:
    path = _plain_path(entry.name)
    folder, _, name = path.rpartition("/")
    if name == _OPAQUE:
        layer.opaque.add(folder)
    elif name.startswith(_WHITEOUT):
        if not name.startswith(_WHITEOUT * 2):  # an old engine's notes to itself
            layer.removed.add(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
    elif entry.kind == "folder":
        layer.folders.add(path)
    else:
        _add_plain(layer, path, entry, source, budget)


def _add_plain(layer: Layer, path: str, entry: tar.Entry, source: _Source, budget: Budget) -> None:
    if not path:
        raise Unreadable("its root is no folder")
    layer.plain.add(path)
    for what in (layer.files, layer.links):  # the same name twice in one layer: the last one counts
        what.pop(path, None)
    if entry.kind == "symlink":
        layer.links[path] = entry.link
    elif wanted.wanted(path):
        content = _content(layer, path, entry, source, budget)
        if content is None:
            return
        layer.files[path] = content


def _content(layer: Layer, path: str, entry: tar.Entry, source: _Source, budget: Budget) -> bytes | None:
    """What a wanted path holds; None if that cannot be had, which is a reason."""
    limit = LIMITS.scan_database_bytes if path in wanted.LARGE else LIMITS.scan_file_bytes
    if entry.kind == "hardlink":
        found = layer.files.get(_plain_path(entry.link))
        if found is None:
            layer.reasons.append(f"{path} is a link to {entry.link}, which is not looked at")
        return found
    if entry.kind != "file" or entry.sparse:
        layer.reasons.append(f"{path} is no plain file")
    elif path in wanted.NAME_ONLY:
        return b""
    elif entry.size > limit:
        layer.reasons.append(f"{path} has {entry.size:,} bytes, more than the {limit:,} that are read")
    else:
        budget.take(kept_bytes=entry.size)
        content = source.read(entry.size)
        if len(content) < entry.size:
            raise Unreadable(f"it ends within {path}")
        return content
    return None


def _plain_path(name: str) -> str:
    path = posixpath.normpath("/" + name).lstrip("/")
    if ".." in name.split("/") or "\0" in name or len(path) > LONGEST_PATH or path.count("/") > MOST_DEEP:
        raise Unreadable(f"it has a file named {name[:100]!r}")
    return path


class _Source:
    """Decompressed bytes in order, counted and hashed."""

    def __init__(self, chunks: Iterator[bytes], budget: Budget) -> None:
        self._chunks = chunks
        self._budget = budget
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self.position = 0

    def read(self, size: int) -> bytes:
        parts = []
        while size and self._fill():
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            self.position += len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size:
            if not self._fill():
                raise Unreadable("it ends within a file")
            passed = min(size, len(self._rest))
            self._rest = self._rest[passed:]
            size -= passed
            self.position += passed

    def finish(self) -> str:
        """Pass over the rest, and give the digest of all."""
        while self._fill():
            self._rest = memoryview(b"")
        return f"sha256:{self._hash.hexdigest()}"

    def _fill(self) -> bool:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._budget.take(content_bytes=len(chunk))
            self._hash.update(chunk)
            self._rest = memoryview(chunk)
        return True


def _chunks(data: IO[bytes] | Iterator[bytes]) -> Iterator[bytes]:
    return iter(lambda: data.read(CHUNK_BYTES), b"") if hasattr(data, "read") else data


def _decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    rest = itertools.chain([first], chunks)
    if first.startswith(ZSTD):
        raise Unreadable("it is compressed by zstd, which is not supported")
    yield from _gunzipped(rest) if first.startswith(GZIP) else rest


def _gunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress in bounded pieces; a gzip stream may be several, one after another."""
    engine = zlib.decompressobj(31)
    for chunk in chunks:
        waiting = chunk
        while waiting:
            if engine.eof:
                engine = zlib.decompressobj(31)
            piece = engine.decompress(waiting, CHUNK_BYTES)
            if piece:
                yield piece
            waiting = engine.unused_data if engine.eof else engine.unconsumed_tail
        while not engine.eof and (piece := engine.decompress(b"", CHUNK_BYTES)):
            yield piece
    if not engine.eof:
        raise Unreadable("it ends too early")
