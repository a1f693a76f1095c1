"""Which deployment to a target is the newest: in the order in which runs were opened, not in that in which they come to it. Pure.

A run carries what was there when it was opened. If a target has since received a deployment from a run that was opened later,
deploying this one's release would silently put something older over something newer: it is outdated.

Of two runs, one was opened later if its opening names the other, by digest, among those that it found. Where neither names the
other they were opened at the same time or far apart, and their ids decide, which sort by the time at which they were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.record.ledger import Deployment


@dataclass(frozen=True)
class Opened:
    """A run by its opening: the digest of that, and the runs that it found, each with its opening's. `since` is how long the ledger was."""

    run: str
    digest: str
    found: Mapping[str, str]
    since: int = 0


def newer(
    deployments: Iterable[Deployment], ours: Opened, found_by: Callable[[Deployment], Mapping[str, str]]
) -> Deployment | None:
    """Give the latest deployment by a run that was opened later than ours; None if there is none.

    `found_by` gives the runs that the opening of a deployment's run names, each with its opening's digest.
    """
    since = [each for each in deployments if each.seq >= ours.since and each.run != ours.run]
    return next((each for each in reversed(since) if _is_later(each, ours, found_by)), None)


def _is_later(each: Deployment, ours: Opened, found_by: Callable[[Deployment], Mapping[str, str]]) -> bool:
    if ours.found.get(each.run) == each.opening:
        return False
    return each.run > ours.run or found_by(each).get(ours.run) == ours.digest
