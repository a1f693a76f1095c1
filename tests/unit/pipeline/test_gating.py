"""Gates as the engine keeps them: real runs of a gated stage, with approvals in the inbox of a real store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import SigningKey, rules
from support.gated import ASKED, TARGET, break_glass, decide, deployed, done, gated, look, release, review
from support.plans import House, killed_in
from support.signing import trust_line

from pipeline import earlier, engine, gating, locks
from pipeline.audit import verify
from pipeline.errors import Blocked, Rejected, StageFailed, VerificationFailed, Waiting
from pipeline.gates import freezes
from pipeline.gates.freezes import Freeze
from pipeline.gates.rules import NOBODY
from pipeline.plan import SecretSource
from pipeline.record import ledger, ledgers
from pipeline.record.replay import Attempt
from pipeline.record.writer import read_chain
from pipeline.signing import signers
from pipeline.standings import Wish
from stages.contract import Proposal

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.gates.rules import Rules
    from stages.contract import Phase


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
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    types = ["chain.opened", "target.enrolled", "deployment.intended", "deployment.finished"]
    assert [event.type for event in book.events] == types
    [approval] = book.events[2].data["approvals"]
    assert (approval["person"], approval["key"]) == ("alice", SigningKey("alice").line)
    assert book.rules == rules().as_json()
    assert book.used == {approval["statement"]}


def test_where_secrets_are_taken_from_is_part_of_what_people_approve(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "correct-horse-battery")
    monkeypatch.setenv("OTHER", "correct-horse-battery")
    subjects = set()
    for source in (SecretSource("variable", "OURS"), SecretSource("variable", "OTHER")):
        stage = dataclasses.replace(gated(house, rules(), "echo $TOKEN"), secrets={"TOKEN": source})
        run_id = house.open(stage, **ASKED)
        waits(house, run_id)
        subjects.add(look(house, run_id).digest)
        decide(house, run_id, "alice")
        assert house.drive(run_id).done("migrate")
        trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
        assert [each for each in verify.Audit(house.store, trust).run(run_id).findings if each.grade == "broken"] == []
    assert len(subjects) == 2


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
    assert "the old ones decide, with what is stricter in the new ones: 2 people had to approve, now 1 person" in waits(
        house, weaker
    )
    decide(house, weaker, "alice")
    assert "1 of 2" in waits(house, weaker)
    decide(house, weaker, "carol")
    house.drive(weaker)
    book = ledgers.read(house.store, ledger.name_of(TARGET))
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


def test_what_is_stricter_in_a_change_that_is_weaker_too_applies_at_once(house: House) -> None:
    house.drive(house.open(gated(house, NOBODY), **ASKED))
    mixed = rules(people=1, glass={"bob": (SigningKey("bob").line,)})
    run_id = house.open(gated(house, mixed, "true # something else"), **ASKED)
    assert "'bob' may break the glass now" in waits(house, run_id)
    decide(house, run_id, "alice")
    house.drive(run_id)
    assert ledgers.read(house.store, ledger.name_of(TARGET)).rules == mixed.as_json()
    findings = verify.Audit(house.store, None).run(run_id).findings
    assert [str(each) for each in findings if each.grade == "broken"] == []


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
    types = [event.type for event in ledgers.read(house.store, ledger.name_of(TARGET)).events]
    assert types[-3:] == ["deployment.intended", "deployment.resumed", "deployment.finished"]


def test_what_fails_after_the_gate_is_told_and_may_be_proposed_again(house: House) -> None:
    run_id = house.open(gated(house, rules(), "exit 3"), **ASKED)
    waits(house, run_id)
    decide(house, run_id, "alice")
    with pytest.raises(StageFailed, match="exit code 3"):
        house.drive(run_id)
    last = ledgers.read(house.store, ledger.name_of(TARGET)).events[-1]
    assert (last.type, last.data["outcome"]) == ("deployment.finished", "failed")


def test_an_older_run_is_outdated_once_a_newer_one_has_deployed(house: House) -> None:
    older = house.open(*release(house), **ASKED)
    newer = house.open(*release(house), **ASKED)
    deployed(house, newer)
    with pytest.raises(Blocked, match=f"outdated: run {newer}.*grace@example.com") as caught:
        house.drive(older, Wish(only=frozenset({"migrate"})))
    assert caught.value.code == 6
    assert "towpath run" in str(caught.value.hint)
    assert done(house) == 0
    [last] = house.load(older).attempts["migrate"]
    assert (last.outcome, last.failure.cls if last.failure else None) == ("failed", "blocked")
    events = read_chain(house.store, f"runs/{older}/migrate.1")
    [looked] = [event for event in events if event.type == "gate.looked-at"]
    assert (looked.data["state"], looked.data["goes_on"]) == ("outdated", False)
    assert house.drive(newer, Wish(only=frozenset({"migrate"}))).done("migrate")


@pytest.mark.parametrize("outcome", ["failed", "succeeded"])
def test_what_failed_or_came_before_outdates_nothing(house: House, outcome: str) -> None:
    first = house.open(*release(house), **ASKED)
    if outcome == "succeeded":
        deployed(house, first)
    second = house.open(*release(house), **ASKED)
    if outcome == "failed":
        deployed(house, house.open(*release(house), **ASKED), outcome)
    assert house.drive(second, Wish(only=frozenset({"migrate"}))).done("migrate")


def test_a_program_that_belongs_to_no_release_is_not_outdated(house: House) -> None:
    older = house.open(release(house)[0], **ASKED)
    deployed(house, house.open(*release(house), **ASKED))
    assert house.drive(older).done("migrate")


def test_what_has_begun_is_finished_although_it_is_outdated(house: House) -> None:
    flag = house.project / "migrate.started"
    older = house.open(*release(house, f"test -e {flag} && exit 0; touch {flag}; sleep 60"), **ASKED)
    assert killed_in(house, older, "migrate").returncode == -signal.SIGKILL
    deployed(house, house.open(*release(house), **ASKED))
    assert house.drive(older, Wish(only=frozenset({"migrate"}))).done("migrate")


FAR = datetime(2991, 1, 1, tzinfo=UTC)
LATER = dataclasses.replace(NOBODY, freezes=(Freeze("far", "2990-01-01 00:00", "2995-01-01 00:00", "UTC"),))
INCIDENT = locks.Act({"email": "grace@example.com"}, "incident 4711")


def half_way(house: House, wanted: Rules, *people: str) -> str:
    """A run whose program was killed in the middle, and would come to its end now."""
    flag = house.project / "migrate.started"
    stage, deploy = release(house, f"test -e {flag} && exit 0; touch {flag}; sleep 60")
    run_id = house.open(dataclasses.replace(stage, rules=wanted.as_json()), deploy, **ASKED)
    for person in people:
        waits(house, run_id, only=frozenset({"migrate"}))
        decide(house, run_id, person)
    assert killed_in(house, run_id, "migrate").returncode == -signal.SIGKILL
    return run_id


def test_a_program_is_not_begun_anew_while_its_target_is_locked(house: House) -> None:
    run_id, only = half_way(house, NOBODY), Wish(only=frozenset({"migrate"}))
    locks.take(house.store, ledger.name_of(TARGET), INCIDENT, key=house.key, trust=None)
    for _ in range(2):
        with pytest.raises(Blocked, match="incident 4711"):
            house.drive(run_id, only)
    assert (done(house), judged(house, run_id)) == (1, [])
    locks.release(house.store, ledger.name_of(TARGET), INCIDENT, None, key=house.key, trust=None)
    assert house.drive(run_id, only).done("migrate")
    assert judged(house, run_id) == []


def test_a_program_is_not_begun_anew_in_a_freeze(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, only = half_way(house, LATER), Wish(only=frozenset({"migrate"}))
    with monkeypatch.context() as patched:
        set_clock(patched, house, FAR)
        with pytest.raises(Blocked, match="frozen: far"):
            house.drive(run_id, only)
    assert (done(house), judged(house, run_id)) == (1, [])
    assert house.drive(run_id, only).done("migrate")
    assert judged(house, run_id) == []


def test_a_program_is_not_begun_anew_where_somebody_went_back_since(house: House) -> None:
    run_id, only = half_way(house, NOBODY), Wish(only=frozenset({"migrate"}))
    deployed(house, house.open(*release(house), **ASKED), way={"kind": "rollback", "run": "old"})
    with pytest.raises(Blocked, match="went back here"):
        house.drive(run_id, only)
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    assert book.hold
    told = {"lifts": book.hold.seq, "run": book.hold.run, "reason": "mended", "requester": {}}
    ledgers.append(house.store, book, [(ledger.HOLD_LIFTED, told)], house.key)
    assert house.drive(run_id, only).done("migrate")


def test_a_program_is_not_begun_anew_once_somebody_has_rejected_it(house: House) -> None:
    run_id, only = half_way(house, rules(), "alice"), Wish(only=frozenset({"migrate"}))
    decide(house, run_id, "bob", "reject", reason="it loses data")
    for _ in range(2):
        with pytest.raises(Rejected, match="it loses data"):
            house.drive(run_id, only)
    assert (done(house), judged(house, run_id)) == (1, [])


def test_an_attempt_that_cannot_even_begin_says_nothing_of_what_was_cut_off(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "correct-horse-battery")
    flag = house.project / "migrate.started"
    stage = gated(house, NOBODY, f"test -e {flag} && exit 0; touch {flag}; sleep 60")
    run_id = house.open(dataclasses.replace(stage, secrets={"TOKEN": SecretSource("variable", "OURS")}), **ASKED)
    assert killed_in(house, run_id, "migrate").returncode == -signal.SIGKILL
    monkeypatch.delenv("OURS")
    with pytest.raises(StageFailed, match="OURS"):
        house.drive(run_id)
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    assert (list(book.intents), book.events[-1].type) == ([(run_id, "migrate")], "deployment.resumed")
    assert judged(house, run_id) == []
    monkeypatch.setenv("OURS", "correct-horse-battery")
    assert house.drive(run_id).done("migrate")
    assert ledgers.read(house.store, ledger.name_of(TARGET)).events[-1].data["outcome"] == "succeeded"
    assert judged(house, run_id) == []


@pytest.mark.parametrize(
    ("outcomes", "adopted"),
    [
        ([("apply", None)], 1),
        ([("apply", None), (None, "failed")], 1),
        ([("apply", "canceled"), (None, "waiting"), (None, "failed"), (None, None)], 1),
        ([("apply", "canceled"), (None, "waiting")], 2),
        ([("propose", "waiting"), (None, "failed")], None),
        ([("apply", None), ("apply", "failed"), (None, "failed")], None),
        ([("apply", None), (None, "succeeded")], None),
    ],
)
def test_with_whose_proposal_to_go_on(
    house: House, outcomes: list[tuple[Phase | None, Any]], adopted: int | None
) -> None:
    run = house.load(house.open(gated(house, NOBODY), **ASKED))
    for number, (phase, outcome) in enumerate(outcomes, 1):
        run.add(Attempt("migrate", number, run.head, "", "", {}, {}, None, phase=phase, outcome=outcome))
    found = earlier.proposed(run, "migrate")
    assert (found.number if found else None) == adopted


@pytest.mark.parametrize(("phase", "state"), [("propose", "locked"), ("apply", "open")])
def test_a_deployment_is_finished_under_a_lock_only_if_it_may_have_begun(
    house: House, phase: Phase, state: str
) -> None:
    """CloudFormation goes on with a change set; one that no attempt was about to execute waits."""
    stage = dataclasses.replace(gated(house, NOBODY), kind="deploy")
    run_id = house.open(stage, **ASKED)
    run, plan = house.load(run_id), house.plans[run_id]
    proposal = Proposal({"release": "sha256:r", "images": {}}, {}, "")
    gate = gating.look(house.store, plan, run, stage, proposal)
    gating.enter(house.store, gate, run, ("deploy", 1), house.key)
    locks.take(house.store, ledger.name_of(TARGET), INCIDENT, key=house.key, trust=None)
    run.add(Attempt("migrate", 1, run.head, run.opened_at, None, {}, {}, None, phase=phase, proposal=proposal))
    gate = gating.look(house.store, plan, run, stage, proposal)
    assert (gate.state, gate.begun) == (state, state == "open")


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("lock", "begins anew, though the target was locked"),
        ("freeze", "begins anew, though the target was frozen"),
        ("reject", "was let through, though 'bob' had rejected it"),
    ],
)
def test_an_audit_finds_what_was_begun_anew_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch, against: str, said: str
) -> None:
    run_id = half_way(house, rules(), "alice") if against == "reject" else half_way(house, LATER)
    if against == "reject":
        decide(house, run_id, "bob", "reject")
        set_clock(monkeypatch, house, datetime.now(UTC) + timedelta(minutes=1))
    elif against == "freeze":
        set_clock(monkeypatch, house, FAR)
    else:
        locks.take(house.store, ledger.name_of(TARGET), INCIDENT, key=house.key, trust=None)
    monkeypatch.setattr(gating, "_asked_again", lambda gate, *_: gate)
    assert house.drive(run_id, Wish(only=frozenset({"migrate"}))).done("migrate")
    assert said in "\n".join(judged(house, run_id))


@pytest.mark.parametrize("first", ["resumed", "new"])
def test_of_one_that_goes_on_and_one_that_comes_new_one_looks_again(house: House, first: str) -> None:
    """Both had looked while the runner was dead, so neither had seen the other."""
    flag = house.project / "migrate.started"
    left = house.open(gated(house, NOBODY, f"touch {flag}; sleep 60"), **ASKED)
    new = house.open(gated(house, NOBODY), **ASKED)
    assert killed_in(house, left, "migrate").returncode == -signal.SIGKILL
    context = house.context(new)
    context.propose_only = True
    with contextlib.suppress(Waiting):
        engine.drive(context, Wish(), 1)
    entries = {"resumed": (look(house, left), house.load(left), 2), "new": (look(house, new), house.load(new), 2)}
    assert {gate.state for gate, _, _ in entries.values()} == {"open"}
    entered, late = sorted(entries, key=lambda each: each != first)
    for name in (entered, late):
        gate, run, number = entries[name]
        if name == late:
            with pytest.raises(Blocked, match="written to by someone else just now"):
                gating.enter(house.store, gate, run, ("command", number), house.key)
        else:
            gating.enter(house.store, gate, run, ("command", number), house.key)


def test_a_proposal_that_waits_is_not_approved_once_it_is_outdated(house: House) -> None:
    waiting, deploy = release(house)
    waiting = dataclasses.replace(waiting, rules=rules().as_json())
    older = house.open(waiting, deploy, **ASKED)
    assert "0 of 1" in waits(house, older, only=frozenset({"migrate"}))
    newer = house.open(*release(house), **ASKED)
    deployed(house, newer)
    gate = look(house, older)
    assert (gate.state, gate.newer.run if gate.newer else None) == ("outdated", newer)
    context = house.context(older)
    context.propose_only = True
    with pytest.raises(Blocked, match=newer):
        engine.drive(context, Wish(only=frozenset({"migrate"})), 1)


def test_a_ledger_that_was_cut_since_the_run_was_opened_lets_nothing_through(house: House) -> None:
    deployed(house, house.open(*release(house), **ASKED))
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    assert book.head
    run_id = house.open(*release(house), **ASKED, ledgers={book.name: book.head.as_json()})
    (house.store.root / book.name / "00000003.json").unlink()
    with pytest.raises(VerificationFailed, match="no longer"):
        house.drive(run_id, Wish(only=frozenset({"migrate"})))


NOW_AND_EVER = (Freeze("now", "2020-01-01 00:00", "2990-01-01 00:00", "UTC"),)


def set_clock(monkeypatch: pytest.MonkeyPatch, house: House, moment: datetime) -> None:
    monkeypatch.setattr(house.store, "now", moment.timestamp)


def test_a_frozen_target_is_not_applied_to_and_what_is_proposed_is_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekend = Freeze("weekend", "fri 16:00", "mon 08:00", "Europe/Berlin")
    friday, monday = datetime(2026, 11, 27, 18, tzinfo=UTC), datetime(2026, 11, 30, 7, tzinfo=UTC)
    run_id = house.open(gated(house, rules(expires_s=30 * 86_400, freezes=(weekend,))), **ASKED)
    set_clock(monkeypatch, house, friday)
    assert "frozen: weekend" in waits(house, run_id)  # people may approve meanwhile
    decide(house, run_id, "alice", made_at=friday, expires_at=monday + timedelta(days=1))
    for each in (house.store.root / gating.inbox(run_id, "migrate")).iterdir():
        os.utime(each, (friday.timestamp(),) * 2)
    with pytest.raises(Blocked, match=r"until 2026-11-30 08:00 Europe/Berlin \(2026-11-30 07:00 UTC\)") as caught:
        house.drive(run_id)
    assert caught.value.code == 6
    assert f"towpath resume {run_id}" in str(caught.value.hint)
    assert (done(house), len(house.load(run_id).attempts["migrate"])) == (0, 1)
    set_clock(monkeypatch, house, monday)
    assert house.drive(run_id).done("migrate")
    assert judged(house, run_id) == []


def judged(house: House, run_id: str) -> list[str]:
    trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    return [str(each) for each in verify.Audit(house.store, trust).run(run_id).findings if each.grade == "broken"]


def test_a_freeze_without_approvals_blocks_and_is_recorded(house: House) -> None:
    run_id = house.open(gated(house, dataclasses.replace(NOBODY, freezes=NOW_AND_EVER)), **ASKED)
    with pytest.raises(Blocked, match="frozen: now"):
        house.drive(run_id)
    [looked] = [
        event for event in read_chain(house.store, f"runs/{run_id}/migrate.1") if event.type == "gate.looked-at"
    ]
    assert (looked.data["state"], looked.data["goes_on"]) == ("frozen", False)
    assert datetime.fromisoformat(looked.data["clock"]).tzinfo is not None
    assert done(house) == 0
    assert judged(house, run_id) == []


def test_the_clock_is_that_of_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    past = (Freeze("past", "2020-01-01 00:00", "2020-02-01 00:00", "UTC"),)
    run_id = house.open(gated(house, dataclasses.replace(NOBODY, freezes=past)), **ASKED)
    set_clock(monkeypatch, house, datetime(2020, 1, 15, tzinfo=UTC))
    with pytest.raises(Blocked, match="frozen: past"):
        house.drive(run_id)


def test_a_freeze_that_was_taken_out_of_the_definition_lasts_until_the_rules_are_changed(house: House) -> None:
    """Whoever edits the definition during a freeze cannot end it."""
    first = house.open(
        gated(
            house, dataclasses.replace(NOBODY, freezes=(Freeze("gone", "2020-01-01 00:00", "2020-02-01 00:00", "UTC"),))
        ),
        **ASKED,
    )
    house.drive(first)
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    stricter = dataclasses.replace(NOBODY, freezes=NOW_AND_EVER).as_json()
    ledgers.append(
        house.store,
        book,
        [(ledger.RULES_CHANGED, {"rules": stricter, "kind": "stricter", "reasons": [], "approvals": [], "run": first})],
        house.key,
    )
    without = house.open(gated(house, NOBODY, "true # something else"), **ASKED)
    with pytest.raises(Blocked, match="frozen: now"):
        house.drive(without)


def test_an_audit_finds_what_was_let_through_in_a_freeze(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = house.open(gated(house, dataclasses.replace(NOBODY, freezes=NOW_AND_EVER)), **ASKED)
    with monkeypatch.context() as patch:
        patch.setattr(freezes, "frozen", lambda *_: None)
        house.drive(run_id)
    [found] = judged(house, run_id)
    assert "was let through" in found
    assert "frozen: now" in found


def test_an_audit_finds_who_froze_a_target_by_a_word_of_its_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = house.open(gated(house, NOBODY), **ASKED)
    with monkeypatch.context() as patch:
        patch.setattr(freezes, "frozen", lambda *_: freezes.Frozen(NOW_AND_EVER, None))
        with pytest.raises(Blocked):
            house.drive(run_id)
    [found] = judged(house, run_id)
    assert "by the rules in force it was not" in found


def test_a_key_that_comes_for_the_first_time_says_so_and_is_enrolled_afterwards(house: House, tmp_path: Path) -> None:
    """Who pins no keys may have one on each machine; who does pin them can take in what such a one wrote."""
    first = house.open(gated(house, NOBODY), **ASKED)
    assert house.drive(first).done("migrate")
    (tmp_path / "another").mkdir()
    other = House(tmp_path / "another/project", house.store, isolation=house.isolation)
    other.project.mkdir()
    run_id = other.open(gated(other, rules()), **ASKED)
    for expected in (None, "succeeded"):
        context = other.context(run_id)
        engine_said = context.reporter
        other.attempt(context, "migrate")
        last = context.run.last("migrate")
        assert last
        assert last.outcome == (expected or "waiting")
        [note] = [each for each in engine_said.notes if "has never written to" in each]  # type: ignore[attr-defined]
        assert other.key.public.fingerprint in note
        if not expected:
            decide(other, run_id, "alice")

    ours = trust_line(house.key.public, "builder,gate")
    with pytest.raises(VerificationFailed):
        ledgers.read(house.store, ledger.name_of(TARGET), signers.trust(ours, "trust"))
    until = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y%m%d%H%M%SZ")
    theirs = trust_line(other.key.public, "builder,gate", f'namespaces="towpath",valid-before="{until}"')
    both = signers.trust(ours + theirs, "trust")
    assert ledgers.read(house.store, ledger.name_of(TARGET), both).head
    assert verify.Audit(house.store, both).run(run_id).findings == []


def test_a_key_that_has_never_written_takes_up_reviews_only_where_it_writes_anyway(
    house: House, tmp_path: Path
) -> None:
    wanted = rules(glass={"carol": (SigningKey("carol-glass").line,)})
    broken = house.open(gated(house, wanted), **ASKED)
    waits(house, broken)
    of = break_glass(house, broken, "carol", "approvals", key="carol-glass")
    assert house.drive(broken).done("migrate")
    review(house, broken, of, "bob")
    (tmp_path / "another").mkdir()
    other = House(tmp_path / "another/project", house.store, isolation=house.isolation)
    other.project.mkdir()
    run_id = other.open(gated(other, wanted), **ASKED)
    head = ledgers.read(house.store, ledger.name_of(TARGET)).head
    waits(other, run_id)
    assert ledgers.read(house.store, ledger.name_of(TARGET)).head == head
    decide(other, run_id, "alice")
    assert other.drive(run_id).done("migrate")
    assert ledgers.read(house.store, ledger.name_of(TARGET)).glass == {}
