"""Gates as the engine keeps them: real runs of a gated stage, with approvals in the inbox of a real store."""

from __future__ import annotations

import dataclasses
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import SigningKey, rules
from support.gated import ASKED, TARGET, decide, done, gated, look
from support.plans import killed_in

from pipeline import gating
from pipeline.errors import Rejected, StageFailed, Waiting
from pipeline.record import ledger
from pipeline.standings import Wish

if TYPE_CHECKING:
    from support.plans import House


def waits(house: House, run_id: str, **wish: Any) -> str:
    with pytest.raises(Waiting) as caught:
        house.drive(run_id, Wish(**wish))
    return str(caught.value)


def test_nothing_happens_until_enough_people_have_approved(house: House) -> None:
    run_id = house.open(gated(house, rules(people=2)), **ASKED)
    assert "0 of 2 approved" in waits(house, run_id)
    decide(house, run_id, "alice")
    assert "1 of 2 approved: alice" in waits(house, run_id)
    assert done(house) == 0
    assert len(house.load(run_id).attempts["migrate"]) == 1  # waiting makes no attempts
    decide(house, run_id, "bob")
    assert house.drive(run_id).done("migrate")
    assert done(house) == 1


def test_what_was_let_through_stands_in_the_ledger(house: House) -> None:
    run_id = house.open(gated(house, rules()), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    house.drive(run_id)
    book = ledger.read(house.store, ledger.name_of(TARGET))
    types = ["chain.opened", "target.enrolled", "deployment.intended", "deployment.finished"]
    assert [event.type for event in book.events] == types
    [approval] = book.events[2].data["approvals"]
    assert (approval["person"], approval["key"]) == ("alice", SigningKey("alice").line)
    assert book.rules == rules().as_json()
    assert book.used == {approval["statement"]}


@pytest.mark.parametrize("person", ["dora", "eve", "mallory"])
def test_requester_author_and_stranger_do_not_count(house: House, person: str) -> None:
    able = {each: (SigningKey(each).line,) for each in ("alice", "dora", "eve")}
    run_id = house.open(gated(house, rules(approvers=able)), **ASKED)
    waits(house, run_id)
    decide(house, run_id, person)
    waits(house, run_id)
    assert done(house) == 0


def test_one_person_with_two_keys_is_one_person(house: House) -> None:
    run_id = house.open(gated(house, rules(people=2)), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    decide(house, run_id, "alice", key="alice-2", reason="again", stage="migrate")
    assert "1 of 2" in waits(house, run_id)


def test_an_approval_of_another_run_does_not_count(house: House) -> None:
    first, second = (house.open(gated(house, rules()), **ASKED) for _ in range(2))
    waits(house, first)
    waits(house, second)
    decide(house, first, "alice", run=second)
    waits(house, first)
    decide(house, second, "alice", run=first)
    waits(house, second)
    assert done(house) == 0


def test_a_reject_ends_the_proposal_until_it_is_proposed_anew(house: House) -> None:
    run_id = house.open(gated(house, rules()), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "bob", "reject", reason="not on a Friday")
    with pytest.raises(Rejected, match="not on a Friday"):
        house.drive(run_id)
    decide(house, run_id, "alice")
    with pytest.raises(Rejected):
        house.drive(run_id)
    assert done(house) == 0


def test_an_expired_approval_does_not_count(house: House) -> None:
    run_id = house.open(gated(house, rules()), **ASKED)
    waits(house, run_id)
    decide(
        house,
        run_id,
        "alice",
        expires_at=datetime.now(UTC) - timedelta(seconds=1),
        made_at=datetime.now(UTC) - timedelta(hours=1),
    )
    assert "0 of 1" in waits(house, run_id)


def test_an_unknown_requester_opens_nothing(house: House) -> None:
    run_id = house.open(gated(house, rules()), **{**ASKED, "requester": {"user": "nobody-knows"}})
    waits(house, run_id)
    decide(house, run_id, "alice")
    assert "nobody-knows" in waits(house, run_id)
    assert done(house) == 0


def test_weaker_rules_are_judged_by_those_in_force(house: House) -> None:
    run_id = house.open(gated(house, rules(people=2)), **ASKED)
    waits(house, run_id)
    for person in ("alice", "bob"):
        decide(house, run_id, person)
    house.drive(run_id)

    weaker = house.open(gated(house, rules(people=1), "true # something else"), **ASKED)
    assert "the old ones decide: 2 people had to approve, now 1 person" in waits(house, weaker)
    decide(house, weaker, "alice")
    assert "1 of 2" in waits(house, weaker)
    decide(house, weaker, "carol")
    house.drive(weaker)
    book = ledger.read(house.store, ledger.name_of(TARGET))
    assert book.rules == rules(people=1).as_json()
    [changed] = [event for event in book.events if event.type == "rules.changed"]
    assert {each["person"] for each in changed.data["approvals"]} == {"alice", "carol"}


def test_stricter_rules_apply_at_once(house: House) -> None:
    run_id = house.open(gated(house, rules(people=1)), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    house.drive(run_id)
    stricter = house.open(gated(house, rules(people=2), "true # something else"), **ASKED)
    waits(house, stricter)
    decide(house, stricter, "alice")
    assert "1 of 2" in waits(house, stricter)


def test_a_used_approval_is_not_used_again(house: House) -> None:
    """An approval is for one run, so the same one can only be met again in the same run."""
    run_id = house.open(gated(house, rules()), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    gate = look(house, run_id)
    house.drive(run_id)
    after = look(house, run_id)
    assert gate.state == "open"
    assert after.state == "waiting"
    assert after.decision
    assert "used by a deployment before" in after.decision.refused[0].reason


def test_a_required_scan_that_is_missing_cannot_be_approved_away(house: House) -> None:
    run_id = house.open(gated(house, rules(scan="required")), **ASKED)
    waits(house, run_id)
    run = house.load(run_id)
    last = run.last("migrate")
    assert last
    assert last.proposal
    plan = house.plans[run_id]
    config = "sha256:" + "1" * 64
    with_image = dataclasses.replace(last.proposal, subject={"images": {"F": {"config": config}}})
    gate = gating.look(house.store, plan, run, plan.stages["migrate"], with_image)
    assert gate.state == "refused"
    assert config in gate.reasons[0]


def test_proposing_only_goes_no_further_though_the_gate_is_open(house: House) -> None:
    run_id = house.open(gated(house, rules(people=0, approvers={}, expires_s=0)), **ASKED)
    context = house.context(run_id)
    context.propose_only = True
    from pipeline import engine

    engine.drive(context, Wish(), 1)
    assert house.load(run_id).last("migrate").outcome == "waiting"  # type: ignore[union-attr]
    assert done(house) == 0
    house.drive(run_id)
    assert done(house) == 1


def test_killed_after_it_began_it_is_not_asked_for_again(house: House) -> None:
    flag = house.project / "migrate.started"
    run_id = house.open(gated(house, rules(), f"test -e {flag} && exit 0; touch {flag}; sleep 60"), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice", expires_at=datetime.now(UTC) + timedelta(minutes=10))
    assert killed_in(house, run_id, "migrate").returncode == -signal.SIGKILL
    for document in (house.store.root / gating.inbox(run_id, "migrate")).iterdir():
        document.unlink()  # as if it had expired: an approval limits when something begins, not how long it takes
    assert house.drive(run_id).done("migrate")
    types = [event.type for event in ledger.read(house.store, ledger.name_of(TARGET)).events]
    assert types.count("deployment.intended") == 1
    assert types[-1] == "deployment.finished"


def test_what_fails_after_the_gate_is_told_and_may_be_proposed_again(house: House) -> None:
    run_id = house.open(gated(house, rules(), "exit 3"), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    with pytest.raises(StageFailed, match="exit code 3"):
        house.drive(run_id)
    last = ledger.read(house.store, ledger.name_of(TARGET)).events[-1]
    assert (last.type, last.data["outcome"]) == ("deployment.finished", "failed")
