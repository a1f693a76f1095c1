"""A store in a directory: each object a file, written aside, flushed to the disk, then linked to its name.

`link` fails if the name is taken and never shows half a file, which is all that `put_new` promises. Works on local file
systems and on NFS (link is atomic there); not on file systems without hard links.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import VerificationFailed
from pipeline.record.store import StoreError, check_format
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO


class DirectoryStore:
    """See the module. Made by `open_store`."""

    local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._made: set[Path] = set()

    def put_new(self, key: str, data: bytes | Path) -> bool:
        path = self.root / key
        if path.exists() and _is_fresh(key, path):  # spares the copy; the link below is what decides
            return False
        try:
            aside = self._write_aside(data)  # first: where the disk is full, not even an empty folder is left
        except OSError as error:
            raise _failed("write", path, error) from error
        try:
            self._make(path.parent)
            os.link(aside, path)
            _flush_directory(path.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise _failed("write", path, error) from error
        finally:
            aside.unlink(missing_ok=True)
        return True

    def read(self, key: str) -> bytes | None:
        file = self.open(key)
        if file is None:
            return None
        with file:
            if os.fstat(file.fileno()).st_size > LIMITS.read_bytes:
                text = f"{self.root / key} is larger than {LIMITS.read_bytes:,} bytes, which nothing is that is read as a whole"
                raise VerificationFailed(text, where=key)
            return file.read()

    def open(self, key: str) -> BinaryIO | None:
        path = self.root / key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # what is no file must not keep us waiting
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed("read", path, error) from error
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            if stat.S_ISDIR(mode):
                return None
            raise VerificationFailed(f"{path} is no plain file, as every object is", where=key)
        return os.fdopen(descriptor, "rb")

    def read_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        return map(self.read, keys)

    def names(self, prefix: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.root / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _failed("list", self.root / prefix, error) from error

    def walk(self, prefix: str) -> list[str]:
        found: list[str] = []
        top = self.root / prefix
        for folder, _, names in os.walk(top, onerror=_listed(top)):
            below = Path(folder).relative_to(self.root)
            found += [(below / name).as_posix() for name in names]
        return sorted(found)

    def written_at(self, key: str) -> float | None:
        try:
            return (self.root / key).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def now(self) -> float:
        return time.time()

    def rewritten(self, prefix: str) -> None:
        """A directory keeps no versions."""
        del prefix

    def remove(self, key: str, before: float) -> bool:
        if not key.startswith(("blobs/", "aside/")):
            raise StoreError(f"{key} is no content, and nothing else may be removed", where=key)
        path, aside = self.root / key, self.root / "aside" / f"removed-{secrets.token_hex(8)}"
        try:
            if path.stat().st_mtime >= before:
                return False
            self._make(aside.parent)
            path.rename(aside)  # out of the way of who puts it again, and only then looked at for good
            if again := aside.stat().st_mtime >= before:
                with suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
            _flush_directory(path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed("remove", path, error) from error
        return not again

    def _make(self, folder: Path) -> None:
        """Make a folder with its parents, each durable in the one above it."""
        if folder in self._made or folder.is_dir():
            self._made.add(folder)
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_directory(folder.parent)
        self._made.add(folder)

    def _write_aside(self, data: bytes | Path) -> Path:
        self._make(self.root / "aside")  # a store that travelled may have lost it, as an empty folder
        descriptor, name = tempfile.mkstemp(dir=self.root / "aside")
        try:
            with os.fdopen(descriptor, "wb") as aside:
                if isinstance(data, bytes):
                    aside.write(data)
                else:
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, aside, 1 << 20)
                aside.flush()
                os.fchmod(aside.fileno(), 0o440)
                os.fsync(aside.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)


def open_store(root: Path, *, create: bool) -> DirectoryStore:
    """Open the store in a directory, made first if `create`. Raises StoreError, UsageError."""
    store = DirectoryStore(root)
    if create:
        try:
            (root / "aside").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failed("make", root, error) from error
    check_format(store, create=create)
    return store


def _is_fresh(key: str, path: Path) -> bool:
    """Make the time of content that is put again that of now, so that no prune takes it away; False if one just has."""
    if key.startswith("blobs/"):
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # of another user: then only what is old anyway is removed
            return True
    return True


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(top: Path) -> Callable[[OSError], None]:
    """What becomes of an error while a tree is listed: a folder that is not there, or no longer, is empty."""

    def look(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise _failed("list", top, error) from error

    return look


def _failed(verb: str, path: Path, error: OSError) -> StoreError:
    hint = "Free some space, then: towpath resume" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return StoreError(f"cannot {verb} {path}: {error.strerror or error}", hint=hint)
