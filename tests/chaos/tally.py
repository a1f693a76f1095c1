"""Which fault points are driven, and how many there are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

EVERY_POINT = bool(os.environ.get("EVERY_POINT"))
"""Drive all points; else those that must be, and a few others of each part, which are others every day."""
TURN = int(os.environ.get("CHAOS_TURN") or datetime.now(UTC).toordinal())
"""Which points are a day's. It is printed, so that a day can be had again."""


@dataclass
class Tally:
    """How many fault points there are, and what became of them, by class."""

    points: dict[str, int] = field(default_factory=dict)
    driven: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, points: int, driven: int, missed: int = 0) -> None:
        for counts, more in ((self.points, points), (self.driven, driven), (self.missed, missed)):
            counts[what] = counts.get(what, 0) + more
