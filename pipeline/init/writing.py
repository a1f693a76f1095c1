"""Put the files of a project where they belong: all of them, or none.

They are written into a folder beside the place, which then takes the place's name; into a folder that is there already they
are moved one by one, and moved out again if one cannot be. Nothing that is there is ever replaced.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FINE = {".git"}
"""What a folder may hold that a new project is written to."""


def new_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new project. Raises UsageError if anything is in the way."""
    free(folder)
    add(folder, files)


def free(folder: Path) -> None:
    """Raise UsageError if anything is where a new project is to be."""
    there = _held(folder)
    if there:
        hint = "Name another place with --project FOLDER; to add a pipeline to a SAM project that is there: --from-sam"
        raise UsageError("the folder is not empty, and nothing is overwritten", where=str(folder / there[0]), hint=hint)


def add(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that may be there already. Raises UsageError if one of them is."""
    with _refusals(folder):
        for name in files:
            if os.path.lexists(folder / name):
                hint = "Move it out of the way, or choose another name."
                raise UsageError("it is there already, and nothing is overwritten", where=str(folder / name), hint=hint)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".towpath-init-", dir=_beside(folder)) as name:
            made = Path(name) / "made"
            _write(made, files)
            if folder.exists():
                _move_in(made, folder, files)
            else:
                made.rename(folder)


def _held(folder: Path) -> list[str]:
    with _refusals(folder):
        return sorted({each.name for each in folder.iterdir()} - _FINE) if folder.exists() else []


def _beside(folder: Path) -> Path:
    """The folder to write in first: within what is there already, whose surroundings may be another's."""
    return folder if folder.is_dir() else folder.parent


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if data.startswith(b"#!"):
            path.chmod(0o755)


def _move_in(made: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    moved: list[Path] = []
    folders: list[Path] = []
    try:
        for name in files:
            target = folder / name
            folders += _missing(target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(made / name, target)  # unlike a rename it fails if somebody else was quicker
            moved.append(target)
    except BaseException:
        for each in [*moved, *sorted(folders, reverse=True)]:
            with suppress(OSError):
                each.rmdir() if each.is_dir() else each.unlink()
        raise


def _missing(folder: Path) -> list[Path]:
    return [each for each in (folder, *folder.parents) if not each.exists()]


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = str(getattr(error, "filename", None) or folder)
        raise UsageError(f"cannot be written: {reason}", where=where, hint="Name another place.") from error
