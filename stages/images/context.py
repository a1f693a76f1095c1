"""Build contexts: the files an engine is sent, and the digest of just those bytes.

The digest is taken from the bytes that go into the archive, not from the files before or after, so an image's source hash
tells what was built even if somebody edits a file meanwhile. `.dockerignore` is read by the Docker SDK. The engine gets
what `docker build` sends: links as links, owners as root; nothing outside the context is read. Our own record is never part
of a context: it changes with every run, so every run would build another image.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from typing import IO, TYPE_CHECKING

from stages.contract import StageError

if TYPE_CHECKING:
    from pathlib import Path

OURS = ".towpath"
"""Where the record and the work directories are, at the root of a project."""


def pack(root: Path, dockerfile: str, out: IO[bytes]) -> str:
    """Write the context below `root` to `out` as a tar archive and return its digest.

    The digest covers names, kinds, modes, link targets and contents; not owners and times, which differ between checkouts
    of the same source. Raises StageError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in _names(root, dockerfile):
            archive.inodes.clear()  # type: ignore[attr-defined]  # two names of one file are two files here
            try:
                entry = _add(archive, root, name)
            except OSError as error:
                reason = error.strerror or str(error)
                raise StageError(f"{name} of the build context cannot be read: {reason}", where=str(root)) from error
            if entry:
                digest.update(json.dumps(entry).encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"


def _names(root: Path, dockerfile: str) -> list[str]:
    """The paths below `root` that `.dockerignore` lets through but for our own, and always the Dockerfile."""
    from docker.utils.build import exclude_paths  # late, as the client costs 100 ms

    patterns = [*_ignored(root), OURS]  # the last that fits decides, so no `!` before it brings ours back
    names: set[str] = exclude_paths(str(root), patterns, dockerfile=dockerfile)
    return sorted(names)


def _ignored(root: Path) -> list[str]:
    try:
        text = (root / ".dockerignore").read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        return []
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _add(archive: tarfile.TarFile, root: Path, name: str) -> list[str | int] | None:
    """Add one path, and return what the digest covers of it; None for a socket, which no archive can hold."""
    info: tarfile.TarInfo | None = archive.gettarinfo(str(root / name), arcname=name)
    if info is None:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = max(0, int(info.mtime))
    if not info.isreg():
        archive.addfile(info)
        return [name, info.type.decode(), info.mode, info.linkname]
    with _open(root / name) as file:
        reader = _Digesting(file)
        archive.addfile(info, reader)
    return [name, "file", info.mode, info.size, reader.digest.hexdigest()]


def _open(path: Path) -> IO[bytes]:
    """Open a file, but no link that has taken its place since it was listed."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


class _Digesting:
    """A file that digests what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk
