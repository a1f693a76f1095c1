"""Digests of build contexts that nothing has touched since: so that nothing changed costs no reading.

A wrong answer here would be wrong code deployed, so whatever leaves a doubt is read again:

- A file is known only in the very state it was read in: mode, size, mtime, ctime, inode and device. Any write, rename or change of
  times moves its ctime, which no program can set back.
- A file that was changed less than `SETTLED_NS` before it was read is not kept: within a tick of the file system's clock it
  can be changed again and look the same. The clock is the file system's own where that is behind ours.
- A cache that is of another version, of another folder, or not what its own digest says is as none.

It holds nothing but digests, and may be removed at any time. See docs/adr/0012.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.images import context

if TYPE_CHECKING:
    from stages.images.context import Entry

VERSION = 1
SETTLED_NS = 2_000_000_000
"""Coarser than any clock of a file system: FAT counts in two seconds."""


class StatCache:
    """The cache of one context, in the folder `home`; without one everything is read."""

    def __init__(self, home: Path | None, root: Path, what: str = "") -> None:
        about = root.stat()
        self._root = root
        self._of = [str(root), about.st_dev, about.st_ino, what]
        name = hashlib.sha256(json.dumps(self._of[::3]).encode()).hexdigest()[:32]
        self._whole = home / f"{name}.json" if home else None
        self._files = home / f"{name}.files.json" if home else None

    def digest(self, listed: list[Entry]) -> str:
        """The digest of a context that was just listed. Raises StageError for a file that cannot be read."""
        seen = fingerprint(listed)
        known = self._read(self._whole)
        if known and known["fingerprint"] == seen:
            return str(known["digest"])
        settled_ns = self._now_ns() - SETTLED_NS
        files = _Files((self._read(self._files) or {}).get("files", {}), self._root, settled_ns)
        digest = context.digest(listed, files.sha256)
        self._write(self._files, {"files": files.kept})
        if files.all_kept:
            self._write(self._whole, {"fingerprint": seen, "digest": digest})
        return digest

    def _now_ns(self) -> int:
        """The time, by the file system's clock if that is behind ours: it is the one that stamps files."""
        if self._whole is None:
            return 0
        with suppress(OSError):
            self._whole.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._whole.parent) as probe:
                return min(time.time_ns(), os.fstat(probe.fileno()).st_ctime_ns)
        return 0

    def _read(self, path: Path | None) -> Any:
        """What was written, or None for anything else."""
        try:
            told, _, data = (path.read_bytes() if path else b"").partition(b"\n")
            value = json.loads(data) if told.decode() == hashlib.sha256(data).hexdigest() else {}
        except (OSError, ValueError):
            return None
        return value if value.get("v") == VERSION and value.get("of") == self._of else None

    def _write(self, path: Path | None, value: dict[str, Any]) -> None:
        """Write at once or not at all. A cache that cannot be written is no reason to stop."""
        if path is None:
            return
        data = json.dumps({"v": VERSION, "of": self._of, **value}, separators=(",", ":")).encode()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
                Path(name).replace(path)
            except OSError:
                Path(name).unlink(missing_ok=True)


class _Files:
    """What is known of single files, and what will be: `kept` has those that were met, in the state they were read in."""

    def __init__(self, known: dict[str, list[Any]], root: Path, settled_ns: int) -> None:
        self._known = known
        self._root = root
        self._settled_ns = settled_ns
        self.kept: dict[str, list[Any]] = {}
        self.all_kept = True

    def sha256(self, entry: Entry) -> str:
        known = self._known.get(entry.name)
        if known and known[0] == list(context.state(entry.about)):
            self.kept[entry.name] = known
            return str(known[1])
        sha256, about = context.sha256_of(self._root, entry)
        if about and context.state(about) == context.state(entry.about) and about.st_ctime_ns < self._settled_ns:
            self.kept[entry.name] = [list(context.state(about)), sha256]
        else:
            self.all_kept = False
        return sha256


def fingerprint(listed: list[Entry]) -> str:
    """A digest of the state of every path: as long as it is the same, nothing was touched. A folder has no content but its paths."""
    seen = [
        (name, about.st_mode) if stat.S_ISDIR(about.st_mode) else (name, link, *context.state(about))
        for name, about, link in listed
    ]
    return hashlib.sha256(repr(seen).encode()).hexdigest()  # repr escapes what is not UTF-8
