"""Read a file that must be inside the project directory."""

from __future__ import annotations

import itertools
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from pipeline.definition.hints import closest

_MOST_LOOKED_AT = 1_000
_SEGMENT = re.compile(r"[\w.+@=, -]+")


class Refused(Exception):
    """The file is not one that may be read, or it cannot be. The message says which, the hint what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


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
        raise Refused(f"there is no file {name!r} in the project directory", _similar(root, name)) from None
    except OSError as error:
        raise Refused(f"{name!r} cannot be read: {(error.strerror or str(error)).lower()}") from None


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
        raise Refused(f"{name!r} is larger than {limit_bytes:,} bytes")
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


def _similar(root: Path, name: str) -> str:
    """Name the file that may have been meant, beside it or in the project directory."""
    folder = Path(os.path.realpath(root / Path(name).parent))
    folders = [root, folder] if folder.is_relative_to(root) and folder.is_dir() else [root]
    found = itertools.chain.from_iterable(itertools.islice(each.iterdir(), _MOST_LOOKED_AT) for each in folders)
    names = [str(each.relative_to(root)) for each in found if each.is_file()]
    nearest = closest(name, names)
    return f"Did you mean {nearest!r}?" if nearest else "Names are relative to the project directory."
