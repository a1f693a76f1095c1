"""Build contexts: which files they have, the digest of them, and the archive that an engine is sent.

What `.dockerignore` lets through is what counts (see `stages.images.ignore`): links as links, owners as root; nothing outside
the context is read. Our own record is never part of a context: it changes with every run, so every run would build another
image. The Dockerfile is no part of it either, unless a COPY could see it.

The digest is the SHA-256 of one line of JSON, in ASCII, for each path: `[name, "file", mode, size, sha256 of the content]`,
`[name, "dir", mode]`, `[name, "link", target]` or `[name, "fifo", mode]`. Times and owners are left out, as they differ
between checkouts of the same source.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from stages.contract import StageError
from stages.images import ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from stages.images.ignore import Ignore

OURS = ".towpath"
"""Where the record and the work directories are, at the root of a project."""
CHUNK_BYTES = 1 << 20
NS = 1_000_000_000


class Entry(NamedTuple):
    """One path of a context, as it was when it was listed. `link` is where a symbolic link leads."""

    name: str
    about: os.stat_result
    link: str = ""


def ignored(root: Path, name: str = ignore.NAME) -> Ignore:
    """What a context leaves out: the patterns of its file `name`, if there is one, and our own record. Raises StageError."""
    try:
        text = (root / name).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise _unreadable(root, name, error) from error
    try:
        return ignore.parse(text, (OURS,))  # the last that fits decides, so no `!` before it brings ours back
    except StageError as error:
        raise StageError(error.message, hint=error.hint, where=str(root / name)) from error


def entries(root: Path, left_out: Ignore) -> list[Entry]:
    """The paths below `root` that are not left out, each folder before what is in it. Raises StageError."""
    found: list[Entry] = []
    try:
        _walk(root, "", left_out, found)
    except OSError as error:
        raise _unreadable(root, os.path.relpath(error.filename or root, root), error) from error
    return found


def _walk(root: Path, folder: str, left_out: Ignore, found: list[Entry]) -> None:
    with os.scandir(os.path.join(root, folder)) as listing:  # noqa: PTH118 - a Path for each of 20,000 files takes its time
        ordered = sorted(listing, key=lambda each: each.name)
    for each in ordered:
        name = f"{folder}/{each.name}" if folder else each.name
        out = left_out.ignores(name)
        if each.is_dir(follow_symlinks=False):
            here = len(found)
            if not out or left_out.descends(name):
                found.append(Entry(name, each.stat(follow_symlinks=False)))
                _walk(root, name, left_out, found)
                if out and len(found) == here + 1:
                    found.pop()  # nothing in it was let through
        elif not out:
            entry = _entry(each, name)
            if entry:
                found.append(entry)


def _entry(each: os.DirEntry[str], name: str) -> Entry | None:
    about = each.stat(follow_symlinks=False)
    if stat.S_ISSOCK(about.st_mode):  # no archive can hold one
        return None
    return Entry(name, about, os.readlink(each.path) if stat.S_ISLNK(about.st_mode) else "")  # noqa: PTH115 - as above


def digest(listed: list[Entry], content: Callable[[Entry], str]) -> str:
    """The digest of a context, given the SHA-256 of each file's content in hexadecimal."""
    found = hashlib.sha256()
    for entry in listed:
        found.update(_line(entry, content(entry) if stat.S_ISREG(entry.about.st_mode) else "", entry.about.st_size))
    return f"sha256:{found.hexdigest()}"


def _line(entry: Entry, sha256: str, size_bytes: int) -> bytes:
    mode = entry.about.st_mode
    if stat.S_ISREG(mode):
        parts = [entry.name, "file", stat.S_IMODE(mode), size_bytes, sha256]
    elif stat.S_ISLNK(mode):
        parts = [entry.name, "link", entry.link]
    else:
        parts = [entry.name, "dir" if stat.S_ISDIR(mode) else "fifo", stat.S_IMODE(mode)]
    return json.dumps(parts).encode() + b"\n"


def sha256_of(root: Path, entry: Entry) -> tuple[str, os.stat_result | None]:
    """The SHA-256 of a file's content, and the state it was read in; None if it was written to meanwhile. Raises StageError."""
    try:
        with _open(root, entry.name) as file:
            about = os.fstat(file.fileno())
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # BinaryIO has no readinto
            after = os.fstat(file.fileno())
    except OSError as error:
        raise _unreadable(root, entry.name, error) from error
    return found, about if state(about) == state(after) else None


def state(about: os.stat_result) -> tuple[int, ...]:
    """What cannot stay the same when a file's content changes: unlike the time of modification, nobody sets ctime."""
    return (about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev)


def stream(root: Path, listed: list[Entry], files: dict[str, bytes]) -> Generator[bytes, None, str]:
    """Give a context as a tar archive, piece by piece, and return the digest of what was given.

    The digest is taken from the bytes that go into the archive, so it tells what was built even if somebody edits a file
    meanwhile. `files` go into it beside the context, and are not in the digest. Raises StageError.
    """
    found = hashlib.sha256()
    for entry in listed:
        found.update(_line(entry, *(yield from _member(root, entry))))
    for name, data in files.items():
        yield _file(name, data)
    yield bytes(2 * tarfile.BLOCKSIZE)
    return f"sha256:{found.hexdigest()}"


def _member(root: Path, entry: Entry) -> Generator[bytes, None, tuple[str, int]]:
    info = tarfile.TarInfo(entry.name)
    info.mode, info.mtime = stat.S_IMODE(entry.about.st_mode), max(0, int(entry.about.st_mtime))
    if stat.S_ISREG(entry.about.st_mode):
        return (yield from _content(root, entry, info))
    if stat.S_ISLNK(entry.about.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
    elif stat.S_ISDIR(entry.about.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISFIFO(entry.about.st_mode):
        info.type = tarfile.FIFOTYPE
    else:
        raise _device(root, entry)
    yield _header(info)
    return "", 0


def _content(root: Path, entry: Entry, info: tarfile.TarInfo) -> Generator[bytes, None, tuple[str, int]]:
    """A file: its header with the size that it has now, and just so many bytes of it."""
    found = hashlib.sha256()
    try:
        with _open(root, entry.name) as file:
            left = info.size = os.fstat(file.fileno()).st_size
            yield _header(info)
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise StageError(f"{entry.name} became shorter while it was read", where=str(root), cls="retryable")
                left -= len(chunk)
                found.update(chunk)
                yield chunk
    except OSError as error:
        raise _unreadable(root, entry.name, error) from error
    yield _padding(info.size)
    return found.hexdigest(), info.size


def stage(root: Path, listed: list[Entry], folder: Path) -> str:
    """Copy a context into `folder`, which is empty, and return the digest of what was copied. Raises StageError, OSError."""
    found = hashlib.sha256()
    for entry in listed:
        mode, path = entry.about.st_mode, folder / entry.name
        sha256, size_bytes = "", 0
        if stat.S_ISREG(mode):
            sha256, size_bytes = _copy(root, entry, path)
        elif stat.S_ISLNK(mode):
            path.symlink_to(entry.link)
        elif stat.S_ISDIR(mode):
            path.mkdir()
        elif stat.S_ISFIFO(mode):
            os.mkfifo(path)
        else:
            raise _device(root, entry)
        found.update(_line(entry, sha256, size_bytes))
    for entry in reversed(listed):  # folders last: they may be read-only, and their times change as they are filled
        if not stat.S_ISLNK(entry.about.st_mode):
            (folder / entry.name).chmod(stat.S_IMODE(entry.about.st_mode))
        if stat.S_ISDIR(entry.about.st_mode):
            os.utime(folder / entry.name, ns=(0, entry.about.st_mtime_ns))
    return f"sha256:{found.hexdigest()}"


def _copy(root: Path, entry: Entry, path: Path) -> tuple[str, int]:
    """Copy a file; its time is the old one to the second, and below that says what is in it.

    BuildKit does not take a file anew that has the size and time it had when it was last sent: a change that hides behind
    these would build the old content. An image's layers keep times to the second.
    """
    found, size_bytes = hashlib.sha256(), 0
    with path.open("xb") as copy:
        try:
            with _open(root, entry.name) as file:
                while chunk := file.read(CHUNK_BYTES):
                    copy.write(chunk)
                    found.update(chunk)
                    size_bytes += len(chunk)
        except OSError as error:
            raise _unreadable(root, entry.name, error) from error
    below_s = int(found.hexdigest()[:12], 16) % NS
    os.utime(path, ns=(0, entry.about.st_mtime_ns // NS * NS + below_s))
    return found.hexdigest(), size_bytes


def _device(root: Path, entry: Entry) -> StageError:
    hint = "Leave it out by .dockerignore."
    return StageError(f"{entry.name} of the build context is a device", where=str(root), hint=hint)


def _file(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return _header(info) + data + _padding(len(data))


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


def _open(root: Path, name: str) -> BinaryIO:
    """Open a file, but no link that has taken its place since it was listed."""
    path = os.path.join(root, name)  # noqa: PTH118 - pathlib takes ten times as long, for each of many files
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    return os.fdopen(descriptor, "rb")


def _unreadable(root: Path, name: str, error: OSError) -> StageError:
    return StageError(f"{name} of the build context cannot be read: {error.strerror or error}", where=str(root))
