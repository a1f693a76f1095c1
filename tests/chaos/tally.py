"""Which fault points are driven, and how many there are."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Record = Callable[[str, object], None]
    """pytest's `record_property`."""

EVERY_POINT = bool(os.environ.get("EVERY_POINT"))
"""Drive all points; else those that must be, and a few others of each part, which are others every day."""
TURN = int(os.environ.get("CHAOS_TURN") or datetime.now(UTC).toordinal())
"""Which points are a day's. It is printed, so that a day can be had again."""
PROPERTY = "fault points"
"""The property of a test that says what it drove: a class of points, how many there are, were driven, and were not passed."""


def add(record: Record, what: str, points: int, driven: int, missed: int = 0) -> None:
    """Note what a test drove with its report: it may run in another process than the one that counts."""
    record(PROPERTY, [what, points, driven, missed])


def summary(properties: Iterable[tuple[str, object]]) -> list[str]:
    """Lines that say how many points there are, by class, of the properties of all tests."""
    counts: dict[str, list[int]] = {}
    for name, value in properties:
        if name == PROPERTY and isinstance(value, list):
            so_far = counts.setdefault(value[0], [0, 0, 0])
            counts[value[0]] = [each + more for each, more in zip(so_far, value[1:], strict=True)]
    if not counts:
        return []
    counts["all"] = [sum(each) for each in zip(*counts.values(), strict=True)]
    return [
        f"{what:<60} {points:>5}, driven {driven:>5}" + (f", {missed} not passed this time" if missed else "")
        for what, (points, driven, missed) in sorted(counts.items(), key=lambda each: (each[0] == "all", each[0]))
    ]
