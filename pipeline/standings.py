"""How the stages of a run stand: what is done, what may start, what waits for whom. Pure, but for what is asked of outside."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

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
        for name in self.plan.stages:  # each comes after what it needs
            self.found[name] = self._stands(name)

    def look_again(self, names: Iterable[str]) -> None:
        """Look at these stages, and at those that come after them as far as that changes anything."""
        waiting = sorted((self._place[name], name) for name in set(names))
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
        if stands == "ready" and stage.after:
            stands = self._in_turn(stage.after, proposed=last is not None and last.outcome == "waiting")
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
