"""Read a file, or all files of a folder, that must be inside the project directory."""

from __future__ import annotations

import itertools
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LINK_HINT = "Correct the link, or put a file in its place."
_MOST_LOOKED_AT = 1_000
_SEGMENT = re.compile(r"[\w.+@=, -]+")


class Refused(Exception):
    """The file is not one that may be read, or it cannot be. The message says which, the hint what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TooLarge(Refused):
    """There are more bytes than may be read."""


class Contents(NamedTuple):
    """What was read, under its name relative to the project, with no link left in it."""

    name: str
    data: bytes


def plain_name(name: str) -> str:
    """Return `name` if it is a plain relative name: folders and a file, no `..`, no URL, no wildcard. Raises Refused."""
    rule = "Write a plain name relative to the project directory, such as pipeline.d/environments.yaml."
    segments = name.split("/")
    if ":" in name:
        raise Refused(f"{name!r} is a URL, or no plain name", rule)
    if name.startswith(("/", "~", "\\")):
        raise Refused(f"{name!r} is not relative to the project directory", rule)
    if ".." in segments:
        raise Refused(f"{name!r} leads upwards", rule)
    if any(character in name for character in "*?[]{}"):
        raise Refused(f"{name!r} has wildcards", rule)
    if not all(_SEGMENT.fullmatch(each) and each != "." and each == each.strip() for each in segments):
        raise Refused(f"{name!r} is not a plain name", rule)
    return name


def read(project: Path, name: str, limit_bytes: int) -> Contents:
    """Read the regular file `name` below `project`, at most `limit_bytes` of it. Raises Refused.

    Links are followed as long as they stay inside. What they lead to is then opened folder by folder without following
    any, so that a link put there in the meantime is not followed either.
    """
    root = Path(os.path.realpath(project))
    try:
        real = Path(os.path.realpath(root / name, strict=True))
        if not real.is_relative_to(root):
            raise Refused(
                f"{name!r} is a link that leads out of the project directory", "Copy the file into the project."
            )
        parts = real.relative_to(root).parts
        return Contents("/".join(parts), _read_file(root, parts, name, limit_bytes))
    except FileNotFoundError:
        if dead := dead_link(root, name):
            raise Refused(dead, LINK_HINT) from None
        raise Refused(f"there is no file {name!r} in the project directory", _similar(root, name)) from None
    except OSError as error:
        raise Refused(f"{name!r} cannot be read: {(error.strerror or str(error)).lower()}") from None


def dead_link(folder: Path, name: str) -> str | None:
    """Say which link in `name`, below `folder`, leads to nothing; None if none does."""
    for part in (*reversed(Path(name).parents), Path(name)):
        link = folder / part
        if link.is_symlink() and not link.exists():
            return f"{part.as_posix()!r} is a link to {str(link.readlink())!r}, where there is nothing"
    return None


def read_folder(project: Path, name: str, most_files: int, limit_bytes: int) -> dict[str, bytes]:
    """Read every file in the folder `name` below `project`, and in the folders in it, by its name from the project.

    Links are refused, and so is a folder with nothing in it. Raises Refused.
    """
    found: dict[str, bytes] = {}
    left_bytes = limit_bytes
    for path in _files_below(project, name):
        if len(found) == most_files:
            raise Refused(f"{name!r} has more than {most_files:,} files")
        try:
            found[path] = read(project, path, left_bytes).data
        except TooLarge:
            raise TooLarge(f"{name!r} has more than {limit_bytes:,} bytes") from None
        left_bytes -= len(found[path])
    if not found:
        raise Refused(f"there are no files in the folder {name!r}")
    return found


def _files_below(project: Path, name: str) -> Iterator[str]:
    root = Path(os.path.realpath(project))
    top = root / name
    if not Path(os.path.realpath(top)).is_relative_to(root):
        raise Refused(
            f"{name!r} is a link that leads out of the project directory", "Copy the folder into the project."
        )
    if not top.is_dir():
        raise Refused(f"there is no folder {name!r} in the project directory", _similar(root, name, folders=True))
    for here, folders, files in os.walk(top, onerror=_refuse):
        folders.sort()
        for each in sorted([*folders, *files]):
            path = Path(here, each).relative_to(root).as_posix()
            if Path(here, each).is_symlink():
                raise Refused(f"{path!r} is a link, and those in a folder are not followed", "Copy what it leads to.")
            if not path.isprintable():
                raise Refused(f"{path!r} is not a plain name", "Rename it.")
            if each in files:
                yield path


def _refuse(error: OSError) -> None:
    raise Refused(f"{error.filename!r} cannot be read: {(error.strerror or str(error)).lower()}")


def _read_file(root: Path, parts: tuple[str, ...], name: str, limit_bytes: int) -> bytes:
    descriptor = _open(root, parts)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{name!r} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit_bytes:
        raise TooLarge(f"{name!r} is larger than {limit_bytes:,} bytes")
    return data


def _open(root: Path, parts: tuple[str, ...]) -> int:
    """Open without following a link, and without waiting for a writer if it is a pipe."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", flags | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
    finally:
        os.close(folder)


def _similar(root: Path, name: str, *, folders: bool = False) -> str:
    """Name the file or folder that may have been meant, beside it or in the project directory."""
    folder = Path(os.path.realpath(root / Path(name).parent))
    near = [root, folder] if folder.is_relative_to(root) and folder.is_dir() else [root]
    found = itertools.chain.from_iterable(itertools.islice(each.iterdir(), _MOST_LOOKED_AT) for each in near)
    names = [str(each.relative_to(root)) for each in found if (each.is_dir() if folders else each.is_file())]
    from difflib import get_close_matches

    nearest = next(iter(get_close_matches(name, names, n=1)), None)
    return f"Did you mean {nearest!r}?" if nearest else "Names are relative to the project directory."
