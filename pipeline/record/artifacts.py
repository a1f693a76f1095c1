"""Artifacts: folders of files, stored by content, known by the digest of their manifest. Format version 1 (docs/adr/0002).

    {"files":[{"path":"release.json","sha256":"sha256:…","size":812}],"v":1}

in canonical JSON, files sorted by path. The manifest and every file are blobs of the store, so equal content is kept once.

What a stage leaves behind is hostile until proven plain. Collection walks by directory descriptors and never follows a
link: anything that is not a regular file with one name, or a folder, is refused.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed, VerificationFailed
from pipeline.record import digest
from pipeline.record.store import ahead
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from pipeline.record.store import Store

VERSION = 1
_TRIES = 3


@dataclass(frozen=True)
class File:
    """One file of an artifact."""

    path: str
    sha256: str
    size: int


def blob_key(sha256: str) -> str:
    """Give the key under which content of this digest is kept."""
    algorithm, _, value = sha256.partition(":")
    return f"blobs/{algorithm}/{value[:2]}/{value}"


def put_blob(store: Store, data: bytes) -> str:
    """Store bytes by content and give their digest. Raises VerificationFailed if the store holds others under it."""
    sha256 = digest.of_bytes(data)
    _put(store, sha256, data, len(data))
    return sha256


def put_blobs(store: Store, contents: Iterable[bytes]) -> None:
    """Store the bytes of several by content."""
    ahead.each(store, lambda data: put_blob(store, data), contents)


def _put(store: Store, sha256: str, data: bytes | Path, size_bytes: int) -> None:
    """Store content; what is there already must at least have its size, or whoever reads it would be the one to find out."""
    key, there = blob_key(sha256), None
    for _ in range(_TRIES):
        if store.put_new(key, data):
            return
        if there := store.open(key):
            break  # else a prune has just taken away what was there, or is about to put it back
    with there or io.BytesIO() as stream:
        found_bytes = stream.seek(0, io.SEEK_END)
    if found_bytes != size_bytes:
        hint = f"Remove it, so that it is written again, and look at the disk: {store.location}/{key}"
        raise VerificationFailed(
            f"the store holds {found_bytes:,} bytes under {sha256}, which has {size_bytes:,}", hint=hint
        )


def read_blob(store: Store, sha256: str, what: str) -> bytes:
    """Give the bytes of this digest. Raises VerificationFailed if they are missing or others."""
    data = store.read(blob_key(sha256)) if digest.is_digest(sha256) else None
    if data is None:
        raise _gone(store, sha256, what)
    if digest.of_bytes(data) != sha256:
        raise VerificationFailed(f"{what}: the store holds other bytes under {sha256}")
    return data


def put_json(store: Store, value: Any) -> str:
    """Store a value as canonical JSON and give its digest."""
    return put_blob(store, digest.canonical(value))


def read_json(store: Store, sha256: str, what: str) -> Any:
    """Give the value stored under this digest. Raises VerificationFailed."""
    try:
        return digest.parse(read_blob(store, sha256, what))
    except (ValueError, RecursionError) as error:
        raise VerificationFailed(f"{what}: {sha256} is not JSON") from error


def collect(store: Store, work: Path, name: str, inspect: Callable[[str, BinaryIO], None] | None = None) -> str:
    """Store all files of a stage's output and give the artifact's digest. Raises StageFailed for what may not be collected.

    `inspect` looks at each file, by its path in the output, before it is stored, and raises StageFailed to refuse it; it may be
    called by several threads.
    """
    folder = work / "outputs" / name
    for each in (folder.parent, folder):
        if each.is_symlink() or not each.is_dir():
            raise _refused(each.relative_to(work).as_posix(), "it is a symbolic link, or no folder")
    try:
        files = ahead.each(store, lambda path: _collect_file(store, folder, path, inspect), _walk(folder))
    except PermissionError as error:
        raise _refused(str(error.filename or name), "it cannot be read") from error
    in_order = sorted(files, key=lambda file: file.path)
    return put_json(store, {"v": VERSION, "files": [vars(file) for file in in_order]})


def manifest(store: Store, sha256: str) -> list[File]:
    """Give the files of an artifact. Raises VerificationFailed."""
    value = read_json(store, sha256, "artifact")
    try:
        files = [File(str(each["path"]), str(each["sha256"]), int(each["size"])) for each in value["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"artifact {sha256} is not a manifest of files") from error
    for file in files:
        if not _is_plain(file.path):
            raise VerificationFailed(f"artifact {sha256} names a file outside itself: {file.path!r}")
    return files


def materialise(store: Store, sha256: str, folder: Path) -> None:
    """Write an artifact's files below `folder`, read-only, each checked on the way. Raises VerificationFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    ahead.each(store, lambda file: _copy_out(store, file, folder / file.path), manifest(store, sha256))
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o555 if each.is_dir() else 0o444)


def _copy_out(store: Store, file: File, path: Path) -> None:
    source = store.open(blob_key(file.sha256)) if digest.is_digest(file.sha256) else None
    if source is None:
        raise _gone(store, file.sha256, file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with path.open("rb") as copy:
        found, size_bytes = digest.of_stream(copy)
    if (found, size_bytes) != (file.sha256, file.size):
        hint = "The record was changed after it was written. Do not deploy from it."
        raise VerificationFailed(f"{file.path}: the store holds other bytes under {file.sha256}", hint=hint)


def _gone(store: Store, sha256: str, what: str) -> VerificationFailed:
    from pipeline.record import prunes  # late: it is seldom needed, and needs us

    prune = prunes.of(store, sha256)
    if prune:
        return VerificationFailed(f"{what}: {sha256} {prune}", hint="Start anew, from the source: towpath run")
    return VerificationFailed(f"{what}: {sha256} is not in the store")


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return (
        bool(path)
        and not path.startswith("/")
        and not any(part in ("", ".", "..") for part in parts)
        and "\0" not in path
    )


def _collect_file(
    store: Store, folder: Path, path: str, inspect: Callable[[str, BinaryIO], None] | None = None
) -> File:
    """Open a file without following any link on its way, and store what was opened."""
    with _open_beneath(folder, path) as source:
        about = os.fstat(source.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            raise _refused(path, "it is not a regular file with one name")
        if inspect:
            inspect(path, source)
            source.seek(0)
        sha256, size_bytes = digest.of_stream(source)
        source.seek(0)
        _put(store, sha256, Path(f"/proc/self/fd/{source.fileno()}"), size_bytes)
    return File(path, sha256, size_bytes)


def _open_beneath(folder: Path, path: str) -> Any:
    *parents, name = path.split("/")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here), "rb")
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    finally:
        os.close(here)


def _walk(folder: Path) -> Iterator[str]:
    """Give the path of every file below `folder`; links and devices are refused, counts and sizes limited."""
    count = size_bytes = 0
    for here, folders, names, descriptor in os.fwalk(folder, onerror=_raise, follow_symlinks=False):
        below = Path(here).relative_to(folder)
        if len(below.parts) > LIMITS.output_depth:
            raise _refused(
                f"{'/'.join(below.parts[:3])}/…", f"it is nested more than {LIMITS.output_depth} folders deep"
            )
        for name in (*folders, *names):
            about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            path = (below / name).as_posix()
            if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
                raise _refused(path, f"it is a {_file_type(about.st_mode)}")
            count += 1
            size_bytes += about.st_size if stat.S_ISREG(about.st_mode) else 0
            if count > LIMITS.output_files or size_bytes > LIMITS.output_bytes:
                raise _refused(
                    path, f"outputs are limited to {LIMITS.output_files:,} files and {LIMITS.output_bytes:,} bytes"
                )
            if not _is_plain(path) or not path.isprintable():
                raise _refused(repr(path), "its name is not printable")
            if stat.S_ISREG(about.st_mode):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _file_type(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")


def _refused(path: str, why: str) -> StageFailed:
    return StageFailed(
        f"the output {path} is not collected: {why}", hint="A stage hands on regular files only; copy what is meant."
    )
