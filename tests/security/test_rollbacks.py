"""The shorter rule is for what the ledger proves: a runner that claims more is refused, and found out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.stacks import Town, pipeline

from pipeline import barriers, gating, inherit
from pipeline.audit import rules as audited
from pipeline.audit.verify import Audit
from pipeline.errors import Blocked, StageFailed, Waiting
from pipeline.gates import rollbacks
from pipeline.record import ledger
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.record.ledger import Deployment

TWO = rules(people=2)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Two releases that two people approved each."""
    project = tmp_path / "project"
    project.mkdir()
    town = Town(project, open_store(tmp_path / "store", create=True))
    for name in ("one", "two"):
        approved(town, town.release(name, TWO), "alice", "bob")
    return town


def approved(town: Town, run_id: str, *people: str) -> str:
    with pytest.raises(Waiting):
        town.drive(run_id)
    for person in people:
        town.decide(run_id, person)
    town.drive(run_id)
    return run_id


def first(town: Town) -> str:
    return next(ledger.deployments(town.book.events)).run


def broken(town: Town, run_id: str) -> str:
    found = Audit(town.store, None).run(run_id).findings
    return "\n".join(str(each) for each in found if each.grade == "broken")


def lying(town: Town, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A runner that takes any claim for proven."""
    origin = next(ledger.deployments(town.book.events))
    monkeypatch.setattr(barriers, "goes_back_to", lambda *_: origin)
    monkeypatch.setattr(gating, "_not_what_ran", lambda *_: [])
    return origin


def test_a_release_that_never_ran_there(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    never = town.release("never", TWO)
    town.upto(never, "package", "deploy-staging", "smoke")
    lying(town, monkeypatch)
    forged = approved(town, town.take_part(never, "rollback"), "alice")
    assert "to a release of which this ledger has no deployment" in broken(town, forged)
    assert "1 of 2 approved" in broken(town, forged)


def test_what_ran_there_with_other_parameters(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    one = town.load(first(town))
    lying(town, monkeypatch)
    stages = pipeline(town, "one", TWO, {"Greeting": "owned"})
    told = inherit.as_json(one, inherit.begin_at(town.plans[one.id], one, ["deploy-production"]))
    way = {"kind": "rollback", "environments": ["production"], "plan": one.plan}
    forged = approved(town, town.begin(*stages, inherits=told, way=way), "alice")
    assert "had not deployed: another parameters" in broken(town, forged)
    assert f"has another plan than the part of run {one.id}'s that is for production" in broken(town, forged)


def test_what_was_gone_back_from(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, bad = ledger.deployments(town.book.events)
    approved(town, town.take_part(first(town), "rollback"), "alice")
    monkeypatch.setattr(barriers, "goes_back_to", lambda *_: bad)
    monkeypatch.setattr(gating, "_not_what_ran", lambda *_: [])
    forged = approved(town, town.take_part(bad.run, "rollback"), "alice")
    assert "to a release of which this ledger has no deployment before what stood" in broken(town, forged)
    assert "had gone back there, and that holds up all others" in broken(town, forged)


def test_a_promotion_that_is_let_through_as_a_rollback(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    three = town.release("three", TWO)
    town.upto(three, "package", "deploy-staging", "smoke")
    lying(town, monkeypatch)
    forged = approved(town, town.take_part(three, "promote"), "alice")
    assert "was judged by other rules than those in force" in broken(town, forged)


def test_a_way_that_is_changed_in_the_opening_alone(town: Town) -> None:
    back = approved(town, town.take_part(first(town), "rollback"), "alice")
    assert broken(town, back) == ""
    run = town.load(back)
    whole = inherit.whole(town.store, run)
    for change in ({"kind": "other"}, {"environments": ["staging"]}, {"plan": "sha256:" + "0" * 64}):
        data = {**run.data, "way": {**run.data["way"], **change}}
        assert audited.descent(dataclasses.replace(run, data=data), town.load, whole, whole.digest), change
    none: dict[str, Any] = {**run.data, "inherits": None}
    assert audited.descent(dataclasses.replace(run, data=none), town.load, whole, whole.digest)
    assert audited.descent(run, town.load, whole, whole.digest) == []


def test_a_deployment_while_others_are_held(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    late = town.release("late", TWO)
    town.upto(late, "package", "deploy-staging", "smoke")
    back = approved(town, town.take_part(first(town), "rollback"), "alice")
    monkeypatch.setattr(barriers, "bars", lambda *_: None)
    approved(town, late, "alice", "bob")
    assert f"though run {back} had gone back there, and that holds up all others" in broken(town, late)


def test_a_deployment_after_a_rollback_of_which_nobody_knows_how_it_ended(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, back = town.release("late", TWO), town.take_part(first(town), "rollback")
    with pytest.raises(Waiting):
        town.drive(back)
    town.decide(back, "alice")
    town.stacks["lost"] = True
    with pytest.raises(StageFailed):
        town.drive(back)
    monkeypatch.setattr(barriers, "bars", lambda *_: None)
    approved(town, late, "alice", "bob")
    assert f"though run {back} had begun to go back there, and that holds up all others" in broken(town, late)


def test_a_hold_that_there_was_not(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    late = town.release("late", TWO)
    town.upto(late, "package", "deploy-staging", "smoke")
    held = barriers.Barrier("held", ["held"], "", town.book)
    monkeypatch.setattr(barriers, "bars", lambda *_: held)
    with pytest.raises(Blocked):
        town.drive(late)
    assert "deployments were held up there, and they were not" in broken(town, late)


def test_a_rollback_that_is_said_to_be_none_afterwards(town: Town) -> None:
    """What an intent says of the way is what its run says."""
    back = approved(town, town.take_part(first(town), "rollback"), "alice")
    assert town.book.events[-1].type == ledger.DEPLOYMENT_FINISHED
    assert rollbacks.way(town.load(back).data) == town.book.events[-2].data["way"]
    [made] = [each for each in ledger.deployments(town.book.events) if each.run == back]
    assert made.way == {"kind": "rollback", "run": first(town)}
