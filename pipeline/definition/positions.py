"""Where each key and value of a definition stands, through all its includes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stages import safeyaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
"""The way to a value: ("stages", "build", "needs", 0)."""


class Place(NamedTuple):
    """What a Problem says of a place: `Problem(message, *place, hint)`. Lines and columns count from 1."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    quote: str | None = None


@dataclass(frozen=True)
class Spot:
    """A place before its line is quoted."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class Located:
    """Where a value and its key stand, and how the value is written if it is no map and no list."""

    value: Spot
    key: Spot | None = None
    text: str | None = None


@dataclass(frozen=True)
class Positions:
    """Looks up places. What is not there (a default, a missing key) is where the nearest thing around it is."""

    located: Mapping[Path, Located]
    texts: Mapping[str, str]

    def value(self, *path: str | int) -> Place:
        """The place of a value; in a file of its own, if it is included."""
        return self._place(self._nearest(path).value)

    def key(self, *path: str | int) -> Place:
        """The place of a key; of the value, where there is no key (an item of a list)."""
        nearest = self._nearest(path)
        return self._place(nearest.key or nearest.value)

    def text(self, *path: str | int) -> str | None:
        """A number, truth value or text as it is written: `1.10`, which as a number is 1.1."""
        located = self.located.get(path)
        return located.text if located else None

    def _nearest(self, path: Path) -> Located:
        while path and path not in self.located:
            path = path[:-1]
        return self.located[path]

    def _place(self, spot: Spot) -> Place:
        quote = safeyaml.quote(self.texts[spot.file], spot.line, spot.column)
        return Place(spot.file, spot.line, spot.column, quote)
