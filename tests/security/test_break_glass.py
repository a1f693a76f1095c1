"""Breaking the glass lets one deployment through, past what was named and signed, and past nothing else."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import SigningKey, rules
from support.gated import ASKED, TARGET, break_glass, decide, deployed, done, gated, look, release, review
from support.signing import trust_line

from pipeline import gating, inherit, locks, reviews
from pipeline.audit import telling, verify
from pipeline.errors import Blocked, Rejected, StageFailed, UsageError, VerificationFailed, Waiting
from pipeline.gates import statements
from pipeline.gates.freezes import Freeze
from pipeline.gates.rules import NOBODY, compare, from_json, problems
from pipeline.record import artifacts, chain, ledger, ledgers
from pipeline.record.writer import event_key
from pipeline.signing import signers
from pipeline.standings import Wish

if TYPE_CHECKING:
    from support.plans import House

NAME = ledger.name_of(TARGET)
GLASS = {each: (SigningKey(f"{each}-glass").line,) for each in ("carol", "dora")}
FROZEN = (Freeze("now", "2020-01-01 00:00", "2990-01-01 00:00", "UTC"),)
GATED = rules(people=2, glass=GLASS, freezes=FROZEN)


def opened(house: House, wanted: Any = GATED, script: str = "true") -> str:
    run_id = house.open(gated(house, wanted, script), **ASKED)
    with pytest.raises((Waiting, Blocked)):
        house.drive(run_id)
    return run_id


def carol(house: House, run_id: str, *waives: str, **changed: Any) -> str:
    return break_glass(house, run_id, "carol", *waives, **{"key": "carol-glass", **changed})


def judged(house: House, run_id: str, grade: str = "broken") -> list[str]:
    trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    return [str(each) for each in verify.Audit(house.store, trust).run(run_id).findings if each.grade == grade]


def proved(house: House, run_id: str) -> list[str]:
    return telling.proved(verify.Audit(house.store, None).run(run_id))


def book(house: House) -> ledger.Ledger:
    return ledgers.read(house.store, NAME)


def test_it_lets_through_what_it_names_and_stands_open_in_the_ledger(house: House) -> None:
    run_id = opened(house)
    digest = carol(house, run_id, "approvals", "window")
    assert house.drive(run_id).done("migrate")
    [told] = book(house).glass.values()
    assert (told["person"], told["reason"], told["waived"]) == ("carol", "production is down", ["approvals", "window"])
    [intent] = list(ledger.intended(book(house).events))
    assert intent.data["break_glass"]["statements"][0]["statement"] == digest
    assert book(house).used == {digest}
    assert judged(house, run_id) == []
    assert any("nobody has reviewed that" in each for each in judged(house, run_id, "missing"))
    let_through = (
        "migrate was let through by the rules in force, but past approvals and a freeze, as carol broke the glass"
    )
    assert f"{let_through}; what was applied is what was let through." in proved(house, run_id)
    review(house, run_id, digest, "alice")
    reviews.take_up(house.store, NAME, house.key, None)
    assert f"{let_through}, which alice reviewed; what was applied is what was let through." in proved(house, run_id)


def test_whoever_asked_may_break_the_glass_and_somebody_else_reviews_it(house: House) -> None:
    run_id = opened(house)
    of = break_glass(house, run_id, "dora", "approvals", "window", key="dora-glass")
    house.drive(run_id)
    review(house, run_id, of, "dora", key="dora-glass")
    assert reviews.take_up(house.store, NAME, house.key, None).glass  # her own
    review(house, run_id, "sha256:" + "0" * 64, "alice")
    review(house, run_id, of, "mallory")
    review(house, run_id, of, "alice", key="bob")
    review(house, run_id, of, "alice", namespace=statements.NAMESPACE)
    assert reviews.take_up(house.store, NAME, house.key, None).glass
    review(house, run_id, of, "alice")
    assert reviews.take_up(house.store, NAME, house.key, None).glass == {}
    last = book(house).events[-1]
    assert (last.type, last.data["person"], last.data["of"]) == ("break-glass.reviewed", "alice", of)
    assert (judged(house, run_id), judged(house, run_id, "missing")) == ([], [])


def test_a_runner_takes_up_a_review_that_lies_in_the_inbox(house: House) -> None:
    run_id = opened(house)
    of = carol(house, run_id, "approvals", "window")
    house.drive(run_id)
    review(house, run_id, of, "bob")
    later = house.open(gated(house, GATED, "true # another"), **ASKED)
    with pytest.raises(Waiting):
        house.drive(later)
    assert book(house).glass == {}


def test_those_who_broke_it_together_review_none_of_it(house: House) -> None:
    """Nor does who asked for a run that this one takes over from."""
    wanted = rules(
        people=2, glass=GLASS, freezes=FROZEN, approvers={n: (SigningKey(n).line,) for n in ("alice", "eve")}
    )
    older = house.load(house.open(gated(house, wanted), requester={"email": "eve@example.com"}))
    run_id = house.open(gated(house, wanted), **ASKED, inherits={**inherit.lineage(older), "stages": {}})
    with pytest.raises(Waiting):
        house.drive(run_id)
    signed = [carol(house, run_id, "approvals"), break_glass(house, run_id, "dora", "window", key="dora-glass")]
    assert house.drive(run_id).done("migrate")
    for of in signed:
        for person, key in (("carol", "carol-glass"), ("dora", "dora-glass"), ("eve", "eve")):
            review(house, run_id, of, person, key=key)
    assert set(reviews.take_up(house.store, NAME, house.key, None).glass) == set(signed)
    for of in signed:
        review(house, run_id, of, "alice")
    assert reviews.take_up(house.store, NAME, house.key, None).glass == {}


def test_an_audit_finds_that_others_asked_for_it(house: House) -> None:
    run_id = broken_through(house)
    found = forged(house, run_id, lambda data: data["break_glass"].update(requesters=["ada@example.com"]))
    assert "names others who asked for it" in found


@pytest.mark.parametrize("recorded", [True, False])
def test_a_review_is_of_what_its_signer_had_seen(house: House, *, recorded: bool) -> None:
    """A deployment that failed uses nothing up, so the same statement lets the next one through: that is to be reviewed anew."""
    flag = house.project / "mended"
    run_id = opened(house, script=f"test -e {flag}")
    of = carol(house, run_id, "approvals", "window")
    with pytest.raises(StageFailed):
        house.drive(run_id)
    review(house, run_id, of, "bob")
    if recorded:
        assert reviews.take_up(house.store, NAME, house.key, None).glass == {}
    flag.touch()
    assert house.drive(run_id).done("migrate")
    assert set(reviews.take_up(house.store, NAME, house.key, None).glass) == {of}
    review(house, run_id, of, "bob", reason="again")
    assert reviews.take_up(house.store, NAME, house.key, None).glass == {}
    assert judged(house, run_id) == []


@pytest.mark.parametrize("waives", [("approvals",), ("window",), ("scan",), ("approvals", "scan"), ("window", "scan")])
def test_it_lets_nothing_through_that_it_does_not_name(house: House, waives: tuple[str, ...]) -> None:
    run_id = opened(house)
    carol(house, run_id, *waives)
    with pytest.raises((Waiting, Blocked)):
        house.drive(run_id)
    assert (done(house), book(house).head) == (0, None)


@pytest.mark.parametrize("waives", ["digest", "account", "lock", "chain", "outdated", "reject", ""])
def test_nothing_else_can_be_named(house: House, waives: str) -> None:
    run_id = opened(house)
    with pytest.raises(UsageError):
        carol(house, run_id, waives)


def test_a_lock_holds(house: House) -> None:
    run_id = opened(house)
    carol(house, run_id, *statements.WAIVABLE)
    locks.take(house.store, NAME, locks.Act({"user": "ada"}, "incident"), key=house.key, trust=None)
    with pytest.raises(Blocked, match="locked by ada"):
        house.drive(run_id)
    assert done(house) == 0


def test_a_reject_stands(house: House) -> None:
    run_id = opened(house)
    carol(house, run_id, *statements.WAIVABLE)
    decide(house, run_id, "alice", "reject")
    with pytest.raises(Rejected):
        house.drive(run_id)
    assert done(house) == 0


def test_what_is_outdated_stays_so(house: House) -> None:
    waiting, deploy = release(house)
    older = house.open(dataclasses.replace(waiting, rules=GATED.as_json()), deploy, **ASKED)
    with pytest.raises(Waiting):
        house.drive(older, Wish(only=frozenset({"migrate"})))
    carol(house, older, *statements.WAIVABLE)
    deployed(house, house.open(*release(house), **ASKED))
    with pytest.raises(Blocked, match="outdated"):
        house.drive(older, Wish(only=frozenset({"migrate"})))
    assert done(house) == 0


def test_a_ledger_that_does_not_hold_holds_up_everything(house: House) -> None:
    run_id = opened(house)
    carol(house, run_id, *statements.WAIVABLE)
    locks.take(house.store, NAME, locks.Act({"user": "ada"}, "x"), key=house.key, trust=None)
    path = house.store.root / event_key(NAME, 1)
    path.write_bytes(path.read_bytes().replace(b"payload", b"paylaod"))
    with pytest.raises(VerificationFailed):
        house.drive(run_id)
    assert done(house) == 0


def test_a_scan_that_did_not_pass(house: House) -> None:
    run_id = opened(house, rules(glass=GLASS, scan="required"))
    run, config = house.load(run_id), "sha256:" + "1" * 64
    last = run.last("migrate")
    assert last
    assert last.proposal
    with_image = dataclasses.replace(last.proposal, subject={"images": {"F": {"config": config}}})

    def gate() -> gating.Gate:
        plan = house.plans[run_id]
        return gating.look(house.store, plan, run, plan.stages["migrate"], with_image)

    found = gate()
    assert found.state == "refused"
    carol(house, run_id, "scan", covered={"subject": found.digest})
    assert (gate().state, gate().waived) == ("waiting", frozenset({"scan"}))
    carol(house, run_id, "approvals", covered={"subject": found.digest})
    assert (gate().state, gate().waived) == ("open", frozenset({"scan", "approvals"}))


OTHER_RUN = "20261123-120000-abcd"


@pytest.mark.parametrize(
    "changed",
    [
        {"run": OTHER_RUN},
        {"covered": {"stage": "other"}},
        {"covered": {"subject": "sha256:" + "7" * 64}},
        {"covered": {"target": {**statements.target_of(TARGET), "environment": "staging"}}},
        {"covered": {"target": {**statements.target_of(TARGET), "account": "222222222222"}}},
        {"key": "carol"},  # her key for approvals
        {"key": "dora-glass"},  # another's
        {"namespace": statements.NAMESPACE},
        {"made_at": datetime.now(UTC) - timedelta(hours=2), "expires_at": datetime.now(UTC) - timedelta(hours=1)},
        {"made_at": datetime.now(UTC) + timedelta(hours=1), "expires_at": datetime.now(UTC) + timedelta(hours=2)},
    ],
)
def test_what_is_for_something_else_or_not_hers_does_not_count(house: House, changed: dict[str, Any]) -> None:
    run_id = opened(house)
    carol(house, run_id, "approvals", "window", **changed)
    with pytest.raises((Waiting, Blocked)):
        house.drive(run_id)
    assert done(house) == 0


@pytest.mark.parametrize("person", ["alice", "mallory"])
def test_who_is_not_named_for_it_cannot(house: House, person: str) -> None:
    run_id = opened(house)
    break_glass(house, run_id, person, "approvals", "window")
    break_glass(house, run_id, person, "approvals", "window", key="carol-glass", reason="as carol")
    with pytest.raises((Waiting, Blocked)):
        house.drive(run_id)
    assert done(house) == 0


def test_where_nobody_is_named_nobody_can(house: House) -> None:
    run_id = opened(house, rules(freezes=FROZEN))
    for person in ("alice", "carol"):
        break_glass(house, run_id, person, "approvals", "window")
    with pytest.raises((Waiting, Blocked)):
        house.drive(run_id)
    assert done(house) == 0


def test_it_counts_for_a_day_at_most_whatever_it_says(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = opened(house)
    carol(house, run_id, "approvals", "window", expires_at=datetime.now(UTC) + timedelta(days=20))
    later = (datetime.now(UTC) + timedelta(hours=24, minutes=1)).timestamp()
    monkeypatch.setattr(house.store, "now", lambda: later)
    assert look(house, run_id).state == "waiting"


def test_it_is_used_up_by_a_deployment(house: House) -> None:
    run_id = opened(house)
    carol(house, run_id, "approvals", "window")
    house.drive(run_id)
    assert look(house, run_id).state == "waiting"  # the same run, stage and subject once more


def test_it_cannot_be_taken_for_an_approval_nor_an_approval_for_it(house: House) -> None:
    run_id = opened(house, rules(glass=GLASS))
    break_glass(house, run_id, "alice", "approvals", namespace=statements.NAMESPACE)
    assert look(house, run_id).state == "waiting"
    decide(house, run_id, "carol", key="carol-glass")
    gate = look(house, run_id)
    assert (gate.state, gate.waived) == ("waiting", frozenset())


def test_it_makes_no_rules_weaker(house: House) -> None:
    first = opened(house)
    carol(house, first, "approvals", "window")
    house.drive(first)
    weaker = opened(house, rules(people=1, glass=GLASS), "true # another")
    carol(house, weaker, "approvals", "window")
    with pytest.raises(Exception, match="changes no rules"):
        house.drive(weaker)
    assert done(house) == 1
    assert book(house).rules == GATED.as_json()


def test_who_may_is_judged_by_the_rules_in_force(house: House) -> None:
    """Whoever adds himself to those who may has to have that approved first."""
    first = opened(house, rules(people=1))
    decide(house, first, "alice")
    house.drive(first)
    run_id = opened(house, rules(people=1, glass={**GLASS, "mallory": (SigningKey("mallory").line,)}), "true # another")
    break_glass(house, run_id, "mallory", "approvals")
    with pytest.raises(Waiting):
        house.drive(run_id)
    assert done(house) == 1


# What an audit finds


def forged(house: House, run_id: str, change: Any) -> str:
    """What is found once the gate's key has written the intent anew, and what follows it."""
    events, prev = list(book(house).events), None
    for event in events:
        data = dict(event.data)
        if event.type == ledger.DEPLOYMENT_INTENDED:
            change(data)
        line = chain.encode(event.seq, prev, event.type, data, datetime.fromisoformat(event.at))
        (house.store.root / event_key(NAME, event.seq)).write_bytes(ledgers.encode(line, house.key))
        prev = chain.decode(line, NAME).digest
    return "\n".join(judged(house, run_id))


def broken_through(house: House) -> str:
    run_id = opened(house)
    carol(house, run_id, "approvals", "window")
    house.drive(run_id)
    assert judged(house, run_id) == []
    return run_id


def test_an_audit_finds_what_was_waived_by_nobody(house: House) -> None:
    run_id = broken_through(house)
    found = forged(house, run_id, lambda data: data["break_glass"].update(statements=[]))
    assert "waives more than whoever broke the glass has signed" in found


def test_an_audit_finds_more_waived_than_signed(house: House) -> None:
    run_id = broken_through(house)
    found = forged(house, run_id, lambda data: data["break_glass"]["waived"].append("scan"))
    assert "waives more than whoever broke the glass has signed" in found


def test_an_audit_finds_that_it_is_not_told(house: House) -> None:
    run_id = broken_through(house)
    found = forged(house, run_id, lambda data: data.pop("break_glass"))
    assert "the gate was waiting" in found
    assert "when the target was frozen" in found


def test_an_audit_finds_the_glass_broken_by_one_who_may_not(house: House) -> None:
    run_id = broken_through(house)
    name = gating.inbox(run_id, "migrate")
    of = break_glass(house, run_id, "mallory", "approvals", "window")
    document = house.store.read(f"{name}/{of[7:]}.json") or b""

    def change(data: dict[str, Any]) -> None:
        told = data["break_glass"]["statements"][0]
        told |= {"document": artifacts.put_blob(house.store, document), "statement": of, "person": "mallory"}

    assert "'mallory' may not break the glass here" in forged(house, run_id, change)


def test_an_audit_finds_a_review_that_is_none(house: House) -> None:
    run_id = broken_through(house)
    [of] = book(house).glass
    forge_review(house, run_id, of, review(house, run_id, of, "carol", key="carol-glass"), "carol-glass")
    [found] = judged(house, run_id)
    assert "'carol' cannot review this: broke the glass" in found


def test_an_audit_finds_a_review_that_was_signed_before(house: House) -> None:
    run_id = opened(house)
    of = carol(house, run_id, "approvals", "window")
    early = review(house, run_id, of, "bob")
    house.drive(run_id)
    assert set(reviews.take_up(house.store, NAME, house.key, None).glass) == {of}
    forge_review(house, run_id, of, early, "bob")
    [found] = judged(house, run_id)
    assert "had not seen that in the ledger yet" in found


def forge_review(house: House, run_id: str, of: str, digest: str, key: str) -> None:
    """Write into the ledger that this review counts, with the gate's own key."""
    document = house.store.read(f"{gating.inbox(run_id, 'migrate')}/{digest[7:]}.json") or b""
    told = {
        "run": run_id, "stage": "migrate", "of": of, "statement": digest, "document": artifacts.put_blob(house.store, document),
        "person": key.removesuffix("-glass"), "key": SigningKey(key).line, "received_at": datetime.now(UTC).isoformat(), "reason": "x",
    }  # fmt: skip
    ledgers.append(house.store, book(house), [(ledger.GLASS_REVIEWED, told)], house.key)


# As part of the rules


def test_who_may_break_the_glass_is_part_of_the_rules() -> None:
    assert from_json(GATED.as_json(), "ledger").as_json() == GATED.as_json()
    assert "glass" not in rules().as_json()
    more = {**GLASS, "eve": (SigningKey("eve").line,)}
    another = {**GLASS, "carol": (*GLASS["carol"], SigningKey("carol-new").line)}
    for wider in (more, another):
        assert compare(rules(glass=GLASS), rules(glass=wider)).kind == "weaker"
        assert compare(rules(glass=wider), rules(glass=GLASS)).kind == "stricter"
    assert compare(NOBODY, dataclasses.replace(NOBODY, glass=GLASS)).kind == "weaker"


def test_a_key_of_two_people_is_nobodys() -> None:
    assert (
        "one key is that of 'alice' and of 'carol'" in problems(rules(glass={"carol": (SigningKey("alice").line,)}))[0]
    )
    assert "may break the glass, and has no key" in problems(rules(glass={"carol": ()}))[0]
    assert problems(rules(glass={"alice": (SigningKey("alice").line,)})) == []
