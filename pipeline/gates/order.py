"""Which deployment to a target is the newest: in the order in which runs were opened, not in that in which they come to it. Pure.

A run carries what was there when it was opened. If a target has since received a deployment from a run that was opened later,
deploying this one's release would silently put something older over something newer: it is outdated.

Of two runs, one was opened later if its opening names the other, by digest, among those that it found. Where neither names the
other they were opened at the same time or far apart, and their ids decide, which sort by the time at which they were made.

A run that takes results over from an older one stands where that one does: it is of the same source. One that goes back to an
older release on purpose is held to something else: nobody has deployed there since it was opened.

A deployment whose end was written down only after another that came after it had succeeded makes nothing outdated: it stands no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.record.ledger import Deployment
    from pipeline.record.replay import Run


@dataclass(frozen=True)
class Opened:
    """A run by its opening: the digest of that, and the runs that it found, each with its opening's. `since` is how long the ledger was."""

    run: str
    digest: str
    found: Mapping[str, str]
    since: int = 0


def of(run: Run, book: str) -> Opened:
    """Say where a run stands, as its opening has it; `book` is the ledger of which it tells how long that was."""
    told = run.data.get("inherits")
    root = told["root"] if told else {"run": run.id, "opening": run.head.digest, **run.data}
    found = {each["run"]: each["opening"] for each in root.get("before") or []}
    seen = (root.get("ledgers") or {}).get(book)
    return Opened(root["run"], root["opening"], found, seen["length"] if seen else 0)


def newer(
    deployments: Iterable[Deployment], ours: Opened, opened: Callable[[Deployment], Opened | None]
) -> Deployment | None:
    """Give the latest deployment by a run that was opened later than ours; None if there is none.

    `opened` gives where the run of a deployment stands, None if its opening is not at hand.
    """
    since = [each for each in deployments if each.seq >= ours.since and not each.late]
    return next((each for each in reversed(since) if _is_later(opened(each) or _alone(each), ours)), None)


def since(deployments: Iterable[Deployment], run: Run, book: str) -> Deployment | None:
    """Give the latest deployment by another run since this one was opened: going back was meant for what stood then."""
    seen = (run.data.get("ledgers") or {}).get(book)
    length = seen["length"] if seen else 0
    found = [each for each in deployments if each.seq >= length and each.run != run.id and not each.late]
    return found[-1] if found else None


def _alone(each: Deployment) -> Opened:
    return Opened(each.run, each.opening, {})


def _is_later(theirs: Opened, ours: Opened) -> bool:
    if theirs.run == ours.run or ours.found.get(theirs.run) == theirs.digest:
        return False
    return theirs.run > ours.run or theirs.found.get(ours.run) == ours.digest
