from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_args

from hypothesis import given
from hypothesis import strategies as st
from support.plans import command

from pipeline.plan import Plan
from pipeline.record.chain import Head
from pipeline.record.replay import Attempt, Outcome, Run
from pipeline.standings import Standings, Wish

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = Head("x", "sha256:0", 1)
NAMES = "abcdefgh"


def _plan(edges: dict[int, set[int]]) -> Plan:
    """A stage may need those before it."""
    stages = {
        name: command(name, "", needs=tuple(NAMES[each] for each in sorted(edges.get(at, ())) if each < at))
        for at, name in enumerate(NAMES)
    }
    return Plan("t", {}, {}, stages)


def _standings(plan: Plan, run: Run, wish: Wish) -> Standings:
    return Standings(plan, run, wish, lambda last: last.number > 1, lambda last: last.number == 1)


def _attempts(outcomes: Iterable[tuple[str, Outcome | None, int]]) -> Iterable[Attempt]:
    for name, outcome, number in outcomes:
        yield Attempt(name, number, HEAD, "", "", {}, {}, None, outcome=outcome, phase="apply")


@given(
    st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7)), max_size=8).map(_plan),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([None, *get_args(Outcome)]), st.integers(1, 3))),
    st.sets(st.sampled_from(NAMES)),
)
def test_looked_at_again_they_stand_as_if_all_were_looked_at(
    plan: Plan, outcomes: list[tuple[str, Outcome | None, int]], failed: set[str]
) -> None:
    run, wish = Run("r", HEAD, "", "", {}), Wish()
    kept = _standings(plan, run, wish)
    for attempt in _attempts(outcomes):
        run.add(attempt)
        if attempt.stage in failed and attempt.outcome == "failed":
            wish = dataclasses.replace(wish, failed_now=wish.failed_now | {attempt.stage})
        kept.wish = wish
        kept.look_again([attempt.stage])
        assert kept.found == _standings(plan, run, wish).found
