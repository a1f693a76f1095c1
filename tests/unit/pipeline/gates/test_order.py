from __future__ import annotations

from typing import Any

import pytest

from pipeline import inherit
from pipeline.gates.order import Opened, newer, of
from pipeline.record.chain import Head
from pipeline.record.ledger import Deployment
from pipeline.record.replay import Run

EARLY, OURS, LATE = "20261123-100000-aaaa", "20261123-110000-aaaa", "20261123-120000-aaaa"


def deployed(seq: int, run: str) -> Deployment:
    return Deployment(seq, "2026-11-23T12:00:00.000Z", run, "deploy", f"opening of {run}", {"user": "ada"})


def ours(found: tuple[str, ...] = (), since: int = 0) -> Opened:
    return Opened(OURS, f"opening of {OURS}", {each: f"opening of {each}" for each in found}, since)


def found(run: str, deployments: list[Deployment], opened: Opened, names: dict[str, list[str]] | None = None) -> bool:
    def place(each: Deployment) -> Opened:
        found = {name: f"opening of {name}" for name in (names or {}).get(each.run, [])}
        return Opened(each.run, each.opening, found)

    made = newer(deployments, opened, place)
    return made is not None and made.run == run


def test_nothing_was_deployed() -> None:
    assert newer([], ours(), lambda _: None) is None


@pytest.mark.parametrize(("run", "outdates"), [(EARLY, False), (OURS, False), (LATE, True)])
def test_where_neither_names_the_other_the_ids_decide(run: str, *, outdates: bool) -> None:
    assert found(run, [deployed(3, run)], ours()) is outdates


def test_who_names_us_was_opened_later_whatever_its_clock_said() -> None:
    assert found(EARLY, [deployed(3, EARLY)], ours(), {EARLY: [OURS]})


def test_whom_we_name_was_opened_before_whatever_its_clock_said() -> None:
    assert not found(LATE, [deployed(3, LATE)], ours(found=(LATE,)))


def test_another_opening_of_that_name_proves_nothing() -> None:
    opened = Opened(OURS, "another opening", {})
    assert not found(EARLY, [deployed(3, EARLY)], opened, {EARLY: [OURS]})


def test_what_was_there_when_we_were_opened_does_not_outdate_us() -> None:
    assert not found(LATE, [deployed(3, LATE)], ours(since=4))
    assert found(LATE, [deployed(3, LATE)], ours(since=3))


def test_a_newer_one_counts_although_an_older_one_came_in_after_it() -> None:
    """Two that were let through side by side may end in either order."""
    assert found(LATE, [deployed(3, LATE), deployed(5, EARLY)], ours())


def test_the_latest_is_named() -> None:
    last = "20261123-130000-aaaa"
    assert found(last, [deployed(3, LATE), deployed(5, last)], ours())


def run(run_id: str, **told: Any) -> Run:
    return Run(run_id, Head(f"runs/{run_id}/open", f"opening of {run_id}", 3), "", "", told)


def test_a_run_that_takes_over_stands_where_the_older_one_does() -> None:
    older = run(OURS, before=[{"run": EARLY, "opening": "e"}], ledgers={"book": {"length": 4}})
    again = run(LATE, before=[{"run": OURS, "opening": "o"}], inherits=inherit.lineage(older))
    third = run("20261123-130000-aaaa", inherits=inherit.lineage(again))
    place = Opened(OURS, f"opening of {OURS}", {EARLY: "e"}, 4)
    assert [of(each, "book") for each in (older, again, third)] == [place] * 3
    between = deployed(5, "20261123-113000-aaaa")
    assert newer([between], of(third, "book"), lambda _: None) == between
    assert newer([deployed(5, LATE)], of(older, "book"), lambda _: of(again, "book")) is None
