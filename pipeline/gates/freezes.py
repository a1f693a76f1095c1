"""Freeze windows: when nothing is applied to a target. Pure: freezes and a moment in, until when it is frozen out.

A freeze lasts from one moment to another, both written in the same one of three ways, on the clocks of a time zone:

    {"name":"year-end","from":"2026-12-18 18:00","to":"2027-01-04 08:00","zone":"Europe/Berlin"}     once
    {"name":"weekend","from":"fri 16:00","to":"mon 08:00","zone":"Europe/Berlin"}                    every week
    {"name":"night","from":"18:00","to":"07:00","zone":"UTC"}                                        every day

Clocks that are put forward or back leave out some times of day and show others twice. A freeze begins at the first moment that its
words can mean, and ends at the last: it is never shorter than somebody may have thought.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOMENT = r"^((2[0-9]{3}-[01][0-9]-[0-3][0-9]|" + "|".join(DAYS) + r") )?([01][0-9]|2[0-3]):[0-5][0-9]$"
"""How a moment is written: a date, a day of the week, or neither, and a time of day."""
ZONE = r"^(UTC|[A-Z][A-Za-z]*(/[A-Za-z0-9_+-]+)+)$"
"""How a time zone is written. What a machine's own zone is called, such as `localtime`, is another zone elsewhere."""

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_MOST_IN_A_ROW = 400
"""Freezes that follow one another without a gap; what goes on for longer has no end that would help anybody."""


@dataclass(frozen=True, order=True)
class Freeze:
    """See the module. `begins` and `ends` are moments as they are written."""

    name: str
    begins: str
    ends: str
    zone: str

    def as_json(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"name": self.name, "from": self.begins, "to": self.ends, "zone": self.zone}

    def __str__(self) -> str:
        return f"{self.name} ({self.begins} to {self.ends}, {self.zone})"


@dataclass(frozen=True)
class Frozen:
    """What keeps a target frozen, and until when if what follows without a gap is counted; None if that has no end."""

    by: tuple[Freeze, ...]
    until: datetime | None

    def __str__(self) -> str:
        names = ", ".join(each.name for each in self.by)
        return f"frozen: {names}, {_shown(self.until, self.by[0].zone)}"


def from_json(value: Mapping[str, Any]) -> Freeze:
    """Read a freeze. Raises KeyError, TypeError, ValueError."""
    if set(value) != {"name", "from", "to", "zone"} or not all(isinstance(each, str) for each in value.values()):
        raise ValueError(f"{value!r} is no freeze")
    return Freeze(value["name"], value["from"], value["to"], value["zone"])


def problem(freeze: Freeze) -> str | None:
    """Say why a freeze is none; nothing if it is one."""
    if not re.fullmatch(ZONE, freeze.zone) or not _is_known(freeze.zone):
        return f"there is no time zone {freeze.zone!r}"
    try:
        begins, ends = _written(freeze.begins), _written(freeze.ends)
    except ValueError as error:
        return f"the freeze {freeze.name!r}: {error}"
    if begins[0] != ends[0]:
        return f"the freeze {freeze.name!r} is from {freeze.begins!r} to {freeze.ends!r}, which are not written in the same way"
    if begins[1] == ends[1] or (begins[0] == "date" and begins[1] > ends[1]):
        return f"the freeze {freeze.name!r} ends before it begins: from {freeze.begins!r} to {freeze.ends!r}"
    return None


def frozen(freezes: Collection[Freeze], moment: datetime) -> Frozen | None:
    """Say what keeps a target frozen at a moment; None if nothing does."""
    by = tuple(each for each in freezes if _ends(each, moment))
    if not by:
        return None
    until: datetime = moment
    for _ in range(_MOST_IN_A_ROW):
        ends = [end for each in freezes if (end := _ends(each, until))]
        if not ends:
            return Frozen(by, until)
        until = max(ends)
    return Frozen(by, None)


def covers(freeze: Freeze, other: Freeze) -> bool:
    """Tell whether a freeze lasts for as long as another, wherever that can be told by comparing the two."""
    (kind, begins), (_, ends) = _written(freeze.begins), _written(freeze.ends)
    (other_kind, other_begins), (_, other_ends) = _written(other.begins), _written(other.ends)
    if kind != other_kind:
        return False
    if kind == "date":
        first, last = _span(freeze, begins, ends)
        other_first, other_last = _span(other, other_begins, other_ends)
        return first <= other_first and other_last <= last
    period = _WEEK if kind == "day" else _DAY
    late = (other_begins - begins) % period
    return freeze.zone == other.zone and late + (other_ends - other_begins) % period <= (ends - begins) % period


def _is_known(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


_EPOCH = datetime(2001, 1, 1)  # noqa: DTZ001 - a Monday on the clocks of no zone
"""What days of the week and times of day are counted from."""


def _written(text: str) -> tuple[str, datetime]:
    """Give in which way a moment is written, and the moment on the clocks of its zone. Raises ValueError."""
    if not re.fullmatch(MOMENT, text):
        raise ValueError(f"{text!r} is no moment such as '2026-12-18 18:00', 'fri 16:00' or '18:00'")
    day, _, at = text.rpartition(" ")
    clock = time.fromisoformat(at)
    if not day:
        return "time", datetime.combine(_EPOCH, clock)
    if day in DAYS:
        return "day", datetime.combine(_EPOCH + DAYS.index(day) * _DAY, clock)
    return "date", datetime.combine(datetime.fromisoformat(day), clock)


def _ends(freeze: Freeze, moment: datetime) -> datetime | None:
    """Give when the freeze that lasts at a moment ends; None if none does."""
    spans = (_span(freeze, begins, ends) for begins, ends in _near(freeze, moment))
    return max((last for first, last in spans if first <= moment < last), default=None)


def _near(freeze: Freeze, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Give when a freeze begins and ends, around a moment, on the clocks of its zone."""
    (kind, begins), (_, ends) = _written(freeze.begins), _written(freeze.ends)
    if kind == "date":
        yield begins, ends
        return
    period = _WEEK if kind == "day" else _DAY
    lasts = (ends - begins) % period
    now = moment.astimezone(ZoneInfo(freeze.zone)).replace(tzinfo=None)
    last = begins + (now - begins) // period * period
    for start in (last - period, last, last + period):
        yield start, start + lasts


def _span(freeze: Freeze, begins: datetime, ends: datetime) -> tuple[datetime, datetime]:
    """Give the first moment that a beginning can mean, and the last that an end can."""
    return min(_moments(begins, freeze.zone)), max(_moments(ends, freeze.zone))


def _moments(clock: datetime, zone: str) -> tuple[datetime, datetime]:
    """Give the moments that a time on the clocks of a zone can mean. One that is left out is what either side takes it for."""
    at = clock.replace(tzinfo=ZoneInfo(zone))
    return at.replace(fold=0).astimezone(UTC), at.replace(fold=1).astimezone(UTC)


def _shown(until: datetime | None, zone: str) -> str:
    if until is None:
        return "without an end"
    utc = until.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"until {utc}" if zone == "UTC" else f"until {until.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone} ({utc})"
    )
