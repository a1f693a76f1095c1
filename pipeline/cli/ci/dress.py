"""The dress in which a CI system's log is read: groups, annotations, files that it shows or hands on. One small module for each."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.cli.ci import buildkite, github, gitlab

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import TowpathError


class Dress(Protocol):
    """What each module has. All but `leave` are pure, and give whole lines to print, or nothing.

    `mark` is text that nobody else knows, and another for each group.
    """

    @property
    def KNOWN_BY(self) -> str:  # noqa: N802 - a constant of the module
        """The variable by which the system is known."""

    def begin(self, stage: str, mark: str) -> str:
        """Begin the group of a stage."""

    def end(self, stage: str, mark: str) -> str:
        """End it."""

    def problem(self, level: str, message: str, place: Place) -> str:
        """Annotate: `level` is `error` or `warning`."""

    def leave(self, told: Told, environ: Mapping[str, str]) -> None:
        """Write the files that the system takes up."""


DRESSES: dict[str, Dress] = {"github": github, "gitlab": gitlab, "buildkite": buildkite}


@dataclass(frozen=True)
class Place:
    """A place in a file of the repository, as far as it is known. Lines and columns count from 1."""

    file: str | None = None
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Told:
    """What a command has to tell at its end: the run's summary, as `status --json` gives it, and the gates at which it waits."""

    state: dict[str, Any]
    gates: list[dict[str, Any]]


def choose(wish: str, environ: Mapping[str, str]) -> Dress | None:
    """Give the dress that was asked for, or that of the system we run on; None for plain text."""
    if wish != "auto":
        return DRESSES.get(wish)
    return next((each for each in DRESSES.values() if environ.get(each.KNOWN_BY)), None)


def problems(error: TowpathError) -> list[tuple[str, str | None]]:
    """Give each problem of an error with its place, in words."""
    listed = getattr(error, "problems", None)
    if listed:
        return [(f"{each.message}\n{each.hint}" if each.hint else each.message, each.where or None) for each in listed]
    return [(each.message, each.where) for each in (error, *error.also)]


_PLACE = re.compile(r"(?P<file>[^:]+?)(?::(?P<line>\d+))?(?::(?P<column>\d+))?")


def place(where: str | None, folder: Path, root: Path) -> Place:
    """Give a place within the repository, whose root is given; one that is no file of it is none."""
    found = _PLACE.fullmatch(where or "")
    if not found:
        return Place()
    path = Path(os.path.realpath(folder / found["file"]))
    base = Path(os.path.realpath(root))
    if not path.is_file() or not path.is_relative_to(base):
        return Place()
    line, column = (int(found[each]) if found[each] else None for each in ("line", "column"))
    return Place(str(path.relative_to(base)), line, column)
