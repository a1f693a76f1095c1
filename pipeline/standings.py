"""How the stages of a run stand: what is done, what may start, what waits for whom. Pure, but for what is asked of outside.

Of a stage with several environments nothing is applied before all of it is proposed: one region that cannot be changed is to be known
before another one is. What cannot be proposed until one of the others has been applied is not waited for.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run

Standing = Literal["done", "ready", "running", "unknown", "failed", "gated", "rejected", "waiting", "unreachable"]
"""`ready`: an attempt may start. `running`: another runner is at it. `unknown`: an attempt died and may not be repeated.
`gated`: people have to approve what it proposes. `rejected`: somebody did not.
`waiting`: something it needs is not done yet. `unreachable`: something it needs will not be done by going on."""


@dataclass(frozen=True)
class Wish:
    """What this command wants. `only`: these stages and no others. `again`: stages whose fate is unknown, to be repeated.

    `failed_now`: stages that failed since the command began. What failed before it began is tried again.
    """

    only: frozenset[str] | None = None
    again: frozenset[str] = frozenset()
    failed_now: frozenset[str] = frozenset()


@dataclass
class Standings:
    """How each stage of a run stands. `alive` tells of an attempt that is not closed whether somebody is at it, `is_held` of a
    proposal that waits whether it has still to.

    Once looked at, only what changes is looked at again, with what comes after it: a plan may have thousands of stages.
    """

    plan: Plan
    run: Run
    wish: Wish
    alive: Callable[[Attempt], bool]
    is_held: Callable[[Attempt], bool]
    found: dict[str, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._place = {name: at for at, name in enumerate(self.plan.stages)}
        self._followers: dict[str, list[str]] = {name: [] for name in self.plan.stages}
        for name, stage in self.plan.stages.items():
            for need in (*stage.needs, *stage.after):
                self._followers[need].append(name)
        self._together = {name: together(self.plan, name) for name in self.plan.stages}
        for name in self.plan.stages:  # each comes after what it needs
            self.found[name] = self._stands(name)

    def look_again(self, names: Iterable[str]) -> None:
        """Look at these stages, and at those that come after them as far as that changes anything."""
        first = {other for name in names for other in (name, *self._together[name])}
        waiting = sorted((self._place[name], name) for name in first)
        while waiting:
            _, name = heapq.heappop(waiting)
            now = self._stands(name)
            if self.found[name] != now:
                self.found[name] = now
                for each in self._followers[name]:
                    heapq.heappush(waiting, (self._place[each], each))

    def _stands(self, name: str) -> Standing:
        stage, last, wish = self.plan.stages[name], self.run.last(name), self.wish
        stands = _reach([self.found[need] for need in stage.needs])
        proposed = last is not None and last.outcome == "waiting"
        if stands == "ready" and stage.after:
            stands = self._in_turn(stage.after, proposed=proposed)
        if stands == "ready" and proposed and unproposed(self.plan, self.run, name):
            stands = "waiting"
        if last and last.outcome == "succeeded":
            stands = "done"
        elif last and last.outcome is None and self.alive(last):
            stands = "running"
        elif name in wish.failed_now:
            stands = "failed"
        elif last and last.outcome == "rejected" and name not in wish.again:
            stands = "rejected"
        elif last and last.outcome == "waiting" and self.is_held(last):
            stands = "gated"
        elif last and last.half_way and not stage.idempotent and name not in wish.again:
            stands = "unknown"
        return stands

    def _in_turn(self, after: Collection[str], *, proposed: bool) -> Standing:
        """How a stage stands that is applied after others: until then it may be attempted only as far as to propose."""
        turn = _reach([self.found[each] for each in after])
        return "ready" if turn == "waiting" and not proposed else turn


def _reach(needs: Collection[Standing]) -> Standing:
    if all(each == "done" for each in needs):
        return "ready"
    hopeful = ("done", "ready", "running", "gated", "waiting")
    return "waiting" if all(each in hopeful for each in needs) else "unreachable"


def together(plan: Plan, name: str) -> list[str]:
    """Give the stages that are to be proposed before this one is applied: those of its group that can be."""
    stage = plan.stages[name]
    if stage.group is None or not stage.rules:
        return []
    group = [each for each in plan.stages.values() if each.group == stage.group and each.name != name]
    return [each.name for each in group if name not in _before(plan, each.needs)]


def unproposed(plan: Plan, run: Run, name: str) -> list[str]:
    """Give what is yet to be proposed before a stage is applied; nothing any more once one of its group has begun to be."""
    others = together(plan, name)
    if any(each.phase == "apply" for other in (name, *others) for each in run.attempts.get(other, [])):
        return []
    return [other for other in others if not _has_proposed(run, other)]


def turn(plan: Plan, run: Run, name: str) -> list[str]:
    """Say for what a stage that may be applied has still to wait; nothing if it is its turn."""
    ahead = [each for each in plan.stages[name].after if not run.done(each)]
    told = [f"it is applied once these have succeeded: {', '.join(ahead)}"] if ahead else []
    if others := [each for each in unproposed(plan, run, name) if each not in ahead]:
        told.append(f"it is applied once these are proposed as well: {', '.join(others)}")
    return told


def held_back(plan: Plan, run: Run) -> Iterator[tuple[str, list[str]]]:
    """Give each group of which nothing is applied, as not all that was to be is proposed, and what is not."""
    groups: dict[str, set[str]] = {}
    for name, stage in plan.stages.items():
        others = unproposed(plan, run, name) if run.last(name) else []
        if stage.group and others:
            groups.setdefault(stage.group, set()).update(others, [] if _has_proposed(run, name) else [name])
    return ((group, [name for name in plan.stages if name in lacking]) for group, lacking in groups.items())


def _has_proposed(run: Run, name: str) -> bool:
    last = run.last(name)
    return last is not None and last.outcome in ("waiting", "rejected", "succeeded")


def _before(plan: Plan, names: Iterable[str]) -> set[str]:
    """All that is applied before what needs these can be proposed."""
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [*plan.stages[name].needs, *plan.stages[name].after]
    return found
