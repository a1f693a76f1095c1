from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.approvers import NOW, PROPOSAL, SUBJECT, TARGET, SigningKey, document, rules

from pipeline.gates import decide as gate
from pipeline.gates import statements
from pipeline.gates.decide import Counted, Decision, Received, Refused
from pipeline.gates.rules import NOBODY, Rules
from pipeline.record import digest

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def decided(
    *documents: bytes,
    rules: Rules | None = rules(2),  # noqa: B008
    requester: str | list[str] | None = "dora",
    authors: tuple[str, ...] | None = ("eve@example.com",),
    **changed: Any,
) -> Decision:
    values: dict[str, Any] = {"proposal": PROPOSAL, "now": NOW, "requester": requester, "authors": authors}
    return gate.decide([Received(each, NOW) for each in documents], rules, **{**values, **changed})


def checked(given: bytes, **changed: Any) -> Counted | Refused:
    values: dict[str, Any] = {"proposal": PROPOSAL, "received_at": NOW, "now": NOW, "rules": rules(2)}
    values |= changed
    return gate.check(given, values.pop("rules"), **values)


# One document


def test_an_approval_counts() -> None:
    found = checked(document("alice"))
    assert isinstance(found, Counted)
    assert (found.decision, found.person, found.key, found.until) == (
        "approve",
        "alice",
        SigningKey("alice").line,
        NOW + DAY,
    )


def _other(**changed: str) -> dict[str, Any]:
    return {"target": {**TARGET, **changed}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"nonsense", "the document is not JSON"),
        (document("mallory"), "'mallory' may not approve here; alice, bob, carol may"),
        (document("dora"), "'dora' may not approve here"),
        (document("alice", key="mallory"), "no key of 'alice': it is nobody's who may approve"),
        (document("alice", key="bob"), "no key of 'alice': it is a key of 'bob'"),
        (
            document("alice", run="20261122-090000-123456"),
            "another run: '20261122-090000-123456', not '20261123-120000-abcdef'",
        ),
        (document("alice", stage="deploy-staging"), "another stage: 'deploy-staging', not 'deploy'"),
        (document("alice", **_other(environment="staging")), "another target.environment: 'staging', not 'production'"),
        (document("alice", **_other(account="222222222222")), "another target.account"),
        (document("alice", **_other(region="eu-west-1")), "another target.region"),
        (document("alice", **_other(partition="aws-cn")), "another target.partition"),
        (document("alice", **_other(stack="other")), "another target.stack"),
        (
            document("alice", subject="sha256:" + "6" * 64),
            "another subject: what would be done is no longer what was approved",
        ),
        (document("alice", made_at=NOW + 6 * MINUTE), "it says it was made at 2026-11-23T12:06:00Z, after it came in"),
        (document("alice", made_at=NOW - 2 * DAY, expires_at=NOW), "it expired at 2026-11-23T12:00:00Z"),
    ],
)
def test_what_does_not_count_and_why(given: bytes, said: str) -> None:
    found = checked(given)
    assert isinstance(found, Refused)
    assert said in found.reason


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_changed_statement_does_not_count(decision: str) -> None:
    data, signature = statements.open_up(document("alice", "approve" if decision == "reject" else "reject"))
    value = json.loads(data)
    value["predicate"]["decision"] = decision
    found = checked(statements.seal_up(digest.canonical(value), signature))
    assert isinstance(found, Refused)
    assert "does not hold" in found.reason


def test_a_signature_for_another_purpose_does_not_count() -> None:
    data, _ = statements.open_up(document("alice"))
    found = checked(statements.seal_up(data, SigningKey("alice").sign(data, "git")))
    assert isinstance(found, Refused)
    assert "made for 'git'" in found.reason


def test_clocks_may_differ_by_a_little() -> None:
    assert isinstance(checked(document("alice", made_at=NOW + 5 * MINUTE)), Counted)
    assert isinstance(checked(document("alice"), received_at=NOW + 5 * MINUTE), Counted)
    found = checked(document("alice"), received_at=NOW + 6 * MINUTE)
    assert isinstance(found, Refused)
    assert "by the store's clock" in found.reason


def test_an_approval_expires_by_the_rules_counted_from_its_receipt() -> None:
    short = rules(2, expires_s=3_600)
    endless = document("alice", expires_at=NOW + 10_000 * DAY)
    assert isinstance(checked(endless, rules=short, now=NOW + 59 * MINUTE), Counted)
    found = checked(endless, rules=short, now=NOW + 60 * MINUTE)
    assert isinstance(found, Refused)
    assert found.reason == "it expired at 2026-11-23T13:00:00Z"


def test_when_it_was_made_makes_no_approval_live_longer_or_shorter() -> None:
    old = document("alice", made_at=NOW - 20 * DAY)
    assert isinstance(checked(old, now=NOW + DAY - MINUTE), Counted)
    assert isinstance(checked(old, now=NOW + DAY), Refused)


def test_an_approval_expires_by_its_own_word() -> None:
    short = document("alice", expires_at=NOW + MINUTE)
    assert isinstance(checked(short, now=NOW + MINUTE - timedelta(seconds=1)), Counted)
    assert isinstance(checked(short, now=NOW + MINUTE), Refused)


@pytest.mark.parametrize("made_at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:58Z"])
def test_times_at_the_ends_of_time(made_at: str) -> None:
    """An approver's statement must not end the runner with an overflow."""
    data, _ = statements.open_up(document("alice"))
    value = json.loads(data)
    value["predicate"] |= {"made_at": made_at, "expires_at": "9999-12-31T23:59:59Z"}
    data = digest.canonical(value)
    assert checked(statements.seal_up(data, SigningKey("alice").sign(data))).digest == digest.of_bytes(data)


def test_a_key_must_have_counted_when_the_approval_came_in() -> None:
    """A leaver's key, with a statement that says it was made while he was still here."""
    ended = rules(2, validity={SigningKey("alice").line: (None, "2026-11-23T11:59:00Z")})
    found = checked(document("alice", made_at=NOW - DAY), rules=ended)
    assert isinstance(found, Refused)
    assert "did not count when the approval came in" in found.reason
    assert isinstance(checked(document("alice"), rules=ended, received_at=NOW - 2 * MINUTE), Counted)
    assert isinstance(checked(document("alice", key="alice-2"), rules=ended), Counted)


def test_an_approval_that_was_used() -> None:
    found = checked(document("alice"))
    again = checked(document("alice"), used={found.digest})
    assert isinstance(again, Refused)
    assert "each approval is for one" in again.reason


def test_a_refusal_says_whose_document_it_claims_to_be() -> None:
    found = checked(document("alice", "reject", stage="other"))
    assert isinstance(found, Refused)
    assert (found.person, found.decision) == ("alice", "reject")


# The gate


@pytest.mark.parametrize(
    ("documents", "state", "missing"),
    [
        ([], "waiting", 2),
        ([document("alice")], "waiting", 1),
        ([document("alice"), document("bob")], "open", 0),
        ([document("alice"), document("bob"), document("carol")], "open", 0),
        ([document("alice"), document("alice", key="alice-2")], "waiting", 1),
        ([document("alice"), document("alice")], "waiting", 1),
        ([document("alice"), document("alice", nonce="1" * 32)], "waiting", 1),
        ([document("alice"), document("bob", key="alice-2")], "waiting", 1),
        ([document("alice"), document("dora")], "waiting", 1),
        ([document("alice"), document("bob"), document("carol", "reject")], "rejected", 0),
        ([document("carol"), document("carol", "reject")], "rejected", 1),
        ([document("alice"), document("bob"), document("dora", "reject")], "open", 0),
        ([document("alice"), document("bob"), document("carol", "reject", stage="other")], "open", 0),
        ([document("alice"), document("bob"), document("carol", "reject", key="mallory")], "open", 0),
    ],
)
def test_two_people_must_approve(documents: list[bytes], state: str, missing: int) -> None:
    decision = decided(*documents)
    assert (decision.state, decision.missing) == (state, missing)
    assert len(decision.counted) + len(decision.refused) == len(documents)


def test_who_asked_and_who_wrote_commits_cannot_approve() -> None:
    for requester, authors in (("Alice", ()), ("dora", ("ALICE@example.com",)), ("alice@example.com", ("alice",))):
        decision = decided(document("alice"), document("bob"), requester=requester, authors=authors)
        assert (decision.state, decision.missing) == ("waiting", 1)
        assert "'alice' cannot approve this" in decision.refused[0].reason


def test_who_asked_under_several_names_is_everybody_whom_they_name() -> None:
    """Whoever asks chooses his own mail address: it must not hide the login that the machine knows."""
    decision = decided(document("alice"), document("bob"), requester=["bob@example.com", "alice", "root"])
    assert [each.person for each in decision.refused] == ["alice", "bob"]
    assert decided(document("alice"), document("bob"), requester=["root", "dora"]).state == "open"
    unknown = decided(document("alice"), document("bob"), requester=["root", "me@localhost"])
    assert unknown.reasons[0].startswith("nobody knows who 'me@localhost' or 'root' is, who asked for the run")


@pytest.mark.parametrize(("requester", "authors"), [("alice", ()), ("dora", ("alice",))])
def test_who_asked_and_who_wrote_commits_can_reject(requester: str, authors: tuple[str, ...]) -> None:
    decision = decided(
        document("alice", "reject"), document("bob"), document("carol"), requester=requester, authors=authors
    )
    assert decision.state == "rejected"
    assert decision.reasons == ["'alice' rejected it: seen on staging"]


def test_a_reject_is_not_forgotten() -> None:
    no = document("alice", "reject", made_at=NOW + DAY, expires_at=NOW + 2 * DAY)
    yes = [document(each, expires_at=NOW + 99 * DAY) for each in ("bob", "carol")]
    used = {found.digest for found in decided(no).counted}
    late = decided(no, *yes, rules=rules(2, expires_s=30 * 86_400), now=NOW + 20 * DAY, used=used)
    assert late.state == "rejected"


@pytest.mark.parametrize(
    ("requester", "authors", "said"),
    [
        (
            "stranger@example.com",
            (),
            "nobody knows who 'stranger@example.com' is, who asked for the run. Add the address or login to `people`.",
        ),
        (None, (), "nobody knows who asked for the run"),
        ("", (), "nobody knows who asked for the run"),
        (
            "dora",
            ("ghost@example.com",),
            "nobody knows who 'ghost@example.com' is, who wrote commits that this deploys. Add the address",
        ),
        ("dora", ("",), "nobody knows who '' is"),
        ("dora", None, "nobody knows who wrote the commits that this deploys"),
    ],
)
def test_strangers_may_be_anybody(requester: str | None, authors: tuple[str, ...] | None, said: str) -> None:
    """An approver who commits under an address nobody knows would approve his own work."""
    decision = decided(document("alice"), document("bob"), document("carol"), requester=requester, authors=authors)
    assert decision.state == "waiting"
    assert [each for each in decision.reasons if each.startswith(said)] != []


@pytest.mark.parametrize(
    "unfit",
    [
        None,
        Rules(1, {}, {}, 3_600, "none"),
        Rules(0, rules(1).approvers, {}, 3_600, "none"),
        Rules(-1, {}, {}, 3_600, "none"),
        dataclasses.replace(rules(1), people=4),
        dataclasses.replace(rules(1), approvers={"alice": (SigningKey("a").line,), "bob": (SigningKey("a").line,)}),
        dataclasses.replace(rules(1), people="0"),  # type: ignore[arg-type]
        dataclasses.replace(rules(1), people=False, approvers={}),
    ],
)
def test_without_rules_or_with_unfit_ones_nothing_opens(unfit: Rules | None) -> None:
    decision = decided(document("alice"), document("bob"), document("carol"), rules=unfit)
    assert decision.state == "waiting"
    assert decision.reasons != []


def test_nobody_need_approve() -> None:
    decision = decided(rules=NOBODY, requester=None, authors=None)
    assert (decision.state, decision.reasons) == ("open", ["nobody need approve here"])


def test_who_waits_is_told_who_may() -> None:
    decision = decided(document("alice"), rules=rules(2), requester="bob")
    assert decision.reasons == ["1 of 2 approved: alice", "who may approve: carol", "'bob' may not: asked for the run"]
    stuck = decided(rules=rules(2), requester="bob", authors=("alice", "bob", "carol"))
    assert stuck.reasons == [
        "0 of 2 approved",
        "nobody is left who may approve",
        "'alice' may not: wrote commits that this deploys",
        "'bob' may not: wrote commits that this deploys, and asked for the run",
        "'carol' may not: wrote commits that this deploys",
    ]


def test_the_gate_of_a_proposal_s_subject() -> None:
    subject = {"images": {"Hello": {"config": "sha256:1"}}, "v": 1}
    proposal = dataclasses.replace(PROPOSAL, subject=gate.subject_digest(subject))
    yes = document("alice", subject=gate.subject_digest({"v": 1, "images": {"Hello": {"config": "sha256:1"}}}))
    assert decided(yes, rules=rules(1), proposal=proposal).state == "open"
    changed = dataclasses.replace(PROPOSAL, subject=gate.subject_digest({**subject, "v": 2}))
    assert decided(yes, rules=rules(1), proposal=changed).state == "waiting"


# What holds for any documents

PEOPLE = ("alice", "bob", "carol", "dora", "mallory")
POOL = [
    Received(document(person, decision, key=key, subject=subject), NOW + timedelta(hours=hours))
    for person in PEOPLE
    for decision in ("approve", "reject")
    for key in (person, f"{person}-2", "alice")
    for subject, hours in ((SUBJECT, 0), ("sha256:" + "6" * 64, 0), (SUBJECT, -30))
]
APPROVALS = [each for each in POOL if b"approve" in statements.open_up(each.document)[0]]
WHO = st.sampled_from(["alice", "bob", "carol", "dora", "eve", "stranger"])


@settings(max_examples=300)
@given(st.data(), st.lists(st.sampled_from(POOL), max_size=8), st.integers(1, 3), WHO, st.lists(WHO, max_size=2))
def test_gates_open_only_as_they_should(
    data: st.DataObject, received: list[Received], people: int, who: str, authors: list[str]
) -> None:
    def state(documents: list[Received]) -> Decision:
        return gate.decide(documents, rules(people), proposal=PROPOSAL, now=NOW, requester=who, authors=authors)

    decision = state(received)
    # Order decides nothing.
    assert state(data.draw(st.permutations(received))) == decision
    # What was refused changes nothing, whether it is there or not.
    refused = [each for each in POOL if isinstance(checked(each.document, received_at=each.at), Refused)]
    assert state([*received, data.draw(st.sampled_from(refused))]).state == decision.state
    # Taking an approval away opens nothing.
    for each in received:
        if each in APPROVALS and decision.state != "open":
            assert state([other for other in received if other is not each]).state != "open"
    # Open takes as many people as the rules say, each of whom may approve, and nobody unknown.
    if decision.state == "open":
        approved = {each.person for each in decision.counted if each.decision == "approve"}
        assert len(approved) >= people
        assert approved <= {"alice", "bob", "carol"} - {who, *authors}
        assert "stranger" not in (who, *authors)
        assert not any(each.decision == "reject" for each in decision.counted)


# Why approvals are void


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": {"b": 1}}, ["a"]),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 1}, {"x": 3}]}, ["a[1].x"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": 1}, {"a": 1.0}, ["a"]),
        ([1], {}, ["the subject"]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a", "b"]),
    ],
)
def test_fields_that_differ(old: Any, new: Any, fields: list[str]) -> None:
    assert gate.differences(old, new) == fields


@given(st.data())
def test_subjects_of_different_digests_differ_in_a_field(data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a"]) | st.just(1.0),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=6,
    )
    old, new = data.draw(values), data.draw(values)
    assert (gate.differences(old, new) == []) == (gate.subject_digest(old) == gate.subject_digest(new))


def test_a_gate_that_no_approval_opens_says_so() -> None:
    assert not decided().stuck
    assert not decided(document("alice")).stuck
    assert decided(requester="a stranger").stuck
    assert decided(authors=None).stuck
    assert decided(requester="alice", authors=("bob@example.com",)).stuck
    assert not decided(document("alice"), document("bob")).stuck
