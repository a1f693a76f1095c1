from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import command

from pipeline.plan import Plan
from pipeline.record.chain import Head
from pipeline.record.replay import Attempt, Outcome, Run
from pipeline.standings import Standings, Wish, held_back, together

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.plan import PlannedStage
    from stages.contract import Phase

HEAD = Head("x", "sha256:0", 1)
NAMES = "abcdefgh"


def _plan(edges: dict[int, set[int]], groups: dict[int, str] | None = None) -> Plan:
    """A stage may need those before it. Those of a group come after the first of them."""
    stages: dict[str, PlannedStage] = {}
    for at, name in enumerate(NAMES):
        made = command(name, "", needs=tuple(NAMES[each] for each in sorted(edges.get(at, ())) if each < at))
        if group := (groups or {}).get(at):
            canary = [each.name for each in stages.values() if each.group == group][:1]
            made = dataclasses.replace(made, rules={"people": 0}, group=group, after=canary)
        stages[name] = made
    return Plan("t", {}, {}, stages)


def _standings(plan: Plan, run: Run, wish: Wish) -> Standings:
    return Standings(plan, run, wish, lambda last: last.number > 1, lambda last: last.number == 1)


def _attempts(outcomes: Iterable[tuple[str, Outcome | None, int]]) -> Iterable[Attempt]:
    for name, outcome, number in outcomes:
        phase: Phase = "propose" if outcome == "waiting" else "apply"
        yield Attempt(name, number, HEAD, "", "", {}, {}, None, outcome=outcome, phase=phase)


@given(
    st.builds(
        _plan,
        st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7)), max_size=8),
        st.dictionaries(st.integers(0, 7), st.sampled_from("gh"), max_size=8),
    ),
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


REGIONS = {0: "deploy", 1: "deploy", 2: "deploy"}
"""Of a plan in which nothing needs anything: three regions, `a` is the canary."""


def _stands(plan: Plan, *attempts: tuple[str, Outcome | None, Phase], failed: str = "") -> dict[str, str]:
    run = Run("r", HEAD, "", "", {})
    for name, outcome, phase in attempts:
        run.add(Attempt(name, 2, HEAD, "", "", {}, {}, None, outcome=outcome, phase=phase))
    found = Standings(plan, run, Wish(failed_now=frozenset(failed)), lambda _: False, lambda _: False).found
    return {name: found[name] for name in "abc"}


@pytest.mark.parametrize(
    ("attempts", "failed", "stand"),
    [
        ([], "", "ready ready ready"),
        ([("a", "waiting", "propose")], "", "waiting ready ready"),
        ([("a", "waiting", "propose"), ("b", "waiting", "propose")], "", "waiting waiting ready"),
        ([("a", "waiting", "propose"), ("b", "failed", "propose")], "b", "waiting failed ready"),
        (
            [("a", "waiting", "propose"), ("b", "waiting", "propose"), ("c", "rejected", "propose")],
            "",
            "ready waiting rejected",
        ),
        ([("b", "waiting", "propose"), ("c", "waiting", "propose")], "", "ready waiting waiting"),
        (
            [("a", "succeeded", "apply"), ("b", "waiting", "propose"), ("c", "failed", "propose")],
            "",
            "done ready ready",
        ),
        ([("a", None, "apply"), ("b", "waiting", "propose"), ("c", "failed", "propose")], "", "ready waiting ready"),
    ],
    ids=[
        "none",
        "canary",
        "two",
        "one-failed",
        "one-rejected",
        "canary-last",
        "changed-already",
        "died-while-applying",
    ],
)
def test_nothing_of_a_group_is_applied_before_all_of_it_is_proposed(
    attempts: list[tuple[str, Outcome | None, Phase]], failed: str, stand: str
) -> None:
    assert " ".join(_stands(_plan({}, REGIONS), *attempts, failed=failed).values()) == stand


def test_what_cannot_be_proposed_before_another_one_is_applied_is_not_waited_for() -> None:
    migration_after_the_deployment = _plan({2: {0}, 3: {1}}, {0: "deploy", 1: "deploy", 2: "migrate", 3: "migrate"})
    stages = dict(migration_after_the_deployment.stages)
    stages["b"] = dataclasses.replace(stages["b"], after=["a", "c"])
    plan = dataclasses.replace(migration_after_the_deployment, stages=stages)
    assert {name: together(plan, name) for name in "abcd"} == {"a": ["b"], "b": ["a"], "c": [], "d": ["c"]}


def test_who_keeps_a_group_from_being_changed_is_named() -> None:
    plan, run = _plan({}, REGIONS), Run("r", HEAD, "", "", {})
    assert list(held_back(plan, run)) == []
    for name, outcome in (("a", "waiting"), ("b", "failed"), ("c", "waiting")):
        run.add(Attempt(name, 1, HEAD, "", "", {}, {}, None, outcome=outcome, phase="propose"))  # type: ignore[arg-type]
    assert list(held_back(plan, run)) == [("deploy", ["b"])]
