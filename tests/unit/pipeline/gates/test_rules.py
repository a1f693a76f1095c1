from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.approvers import NOW, PROPOSAL, SigningKey, document, rules

from pipeline.errors import VerificationFailed
from pipeline.gates import decide
from pipeline.gates.decide import Received
from pipeline.gates.freezes import Freeze
from pipeline.gates.rules import LONGEST_S, NOBODY, Rules, compare, from_json, problems, together

ALICE, OTHER = SigningKey("alice").line, SigningKey("other").line
BASE = rules(2)


def with_keys(person: str, *words: str) -> dict[str, Any]:
    return {"approvers": {**BASE.approvers, person: tuple(SigningKey(word).line for word in words)}}


def known(**changed: str | None) -> dict[str, Any]:
    merged = {**BASE.identities, **changed}
    return {"identities": {each: person for each, person in merged.items() if person}}


# Their form


def test_rules_come_back_as_they_were_recorded() -> None:
    limited = dataclasses.replace(BASE, validity={ALICE: (None, "2027-01-01T00:00:00Z")})
    for each in (BASE, limited, NOBODY):
        assert from_json(each.as_json(), "ledger").as_json() == each.as_json()


def test_equal_rules_have_one_digest_in_whatever_order_they_are_written() -> None:
    turned = Rules(
        BASE.people,
        {person: tuple(reversed(keys)) for person, keys in reversed(list(BASE.approvers.items()))},
        dict(reversed(list(BASE.identities.items()))),
        BASE.expires_s,
        BASE.scan,
    )
    assert turned.digest == BASE.digest
    assert compare(BASE, turned).kind == "equal"


@pytest.mark.parametrize("missing", sorted(BASE.as_json()))
def test_rules_that_say_nothing_of_something_are_none(missing: str) -> None:
    """A gate whose rules lost `people` must not read as a gate for nobody."""
    value = BASE.as_json()
    del value[missing]
    with pytest.raises(VerificationFailed, match="ledger"):
        from_json(value, "ledger")


@pytest.mark.parametrize("value", [None, {}, [], "none", 0, {"v": 1}, {"v": True}, {"v": 2}])
def test_what_are_no_rules(value: Any) -> None:
    with pytest.raises(VerificationFailed):
        from_json(value, "ledger")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 1.0),
        ("people", "2"),
        ("people", True),
        ("people", -1),
        ("people", None),
        ("expires_s", 1e9),
        ("expires_s", 10**12),
        ("scan", "no"),
        ("scan", []),
        ("approvers", {}),
        ("approvers", {"alice": ALICE, "bob": OTHER}),
        ("approvers", {"alice": [], "bob": [OTHER]}),
        ("approvers", {"alice": [ALICE], "bob": [5]}),
        ("identities", {"alice": 5}),
        ("identities", {"Alice": "alice"}),
        ("identities", [["alice", "alice"]]),
        ("validity", {ALICE: ["yesterday", None]}),
        ("validity", {ALICE: ["2026-01-01T00:00:00", None]}),
        ("validity", {ALICE: [5, None]}),
        ("validity", {ALICE: [None]}),
        ("more", 1),
    ],
)
def test_values_that_are_not_such_as_are_recorded(key: str, value: Any) -> None:
    with pytest.raises(VerificationFailed):
        from_json({**copy.deepcopy(BASE.as_json()), key: value}, "ledger")


# Rules that can never be met


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"people": 4}, "4 people must approve, and only 3 may: alice, bob, carol"),
        ({"approvers": {}}, "2 people must approve, and there is nobody who may"),
        ({"people": 0}, "nobody need approve, and yet approvers are named"),
        ({"expires_s": 0}, f"approvals count for 1 to {LONGEST_S:,} seconds, not 0"),
        (with_keys("bob"), "'bob' may approve, and has no key"),
        (with_keys("bob", "alice"), "one key stands 2 times, with alice and bob: who signs with it cannot be told"),
        (
            {"approvers": {**BASE.approvers, "bob": (f"{ALICE} alice@laptop",)}},
            "not written as type and base64, and no more",
        ),
        ({"validity": {OTHER: ("2026-01-01T00:00:00Z", None)}}, "a key counts that is nobody's"),
        ({"validity": {ALICE: (None, None)}}, "or nothing is said"),
        ({"approvers": {**BASE.approvers, "bob": ("ssh-ed25519 AAAA",)}}, "a key of 'bob' is not taken"),
    ],
)
def test_rules_that_can_never_be_met_are_told(changed: dict[str, Any], said: str) -> None:
    assert [each for each in problems(dataclasses.replace(BASE, **changed)) if said in each] != []


def test_sound_rules_have_no_problems() -> None:
    assert problems(BASE) == problems(NOBODY) == problems(dataclasses.replace(NOBODY, scan="required")) == []


# Stricter or weaker


@pytest.mark.parametrize(
    ("changed", "kind", "reason"),
    [
        ({}, "equal", None),
        ({"people": 1}, "weaker", "2 people had to approve, now 1 person"),
        ({"people": 3}, "stricter", "2 people had to approve, now 3 people"),
        ({"approvers": {**BASE.approvers, "eve": (OTHER,)}}, "weaker", "'eve' may approve now"),
        (
            {"approvers": {each: BASE.approvers[each] for each in ("alice", "bob")}},
            "stricter",
            "'carol' may not approve any longer",
        ),
        (with_keys("alice", "alice", "alice-2", "other"), "weaker", "'alice' has another key SHA256:"),
        (with_keys("alice", "alice"), "stricter", "'alice' has no longer the key SHA256:"),
        (with_keys("alice", "alice", "other"), "weaker", "'alice' has another key SHA256:"),
        ({"expires_s": 86_401}, "weaker", "approvals counted for 86400 s, now for 86401 s"),
        ({"expires_s": 3_600}, "stricter", "approvals counted for 86400 s, now for 3600 s"),
        ({"scan": "required"}, "stricter", "a scan must have passed now"),
        (known(eve=None), "weaker", "nobody knows any longer that eve is 'eve'"),
        (known(eve="dora"), "weaker", "eve was 'eve', and is 'dora' now"),
        (known(newcomer="newcomer"), "stricter", "newcomer is known to be 'newcomer' now"),
        ({"validity": {ALICE: (None, "2027-01-01T00:00:00Z")}}, "stricter", "counts for another time"),
        ({"people": 3, "expires_s": 86_401}, "weaker", "approvals counted for 86400 s, now for 86401 s"),
    ],
)
def test_what_is_weaker(changed: dict[str, Any], kind: str, reason: str | None) -> None:
    change = compare(BASE, dataclasses.replace(BASE, **changed))
    assert change.kind == kind
    assert [each for each in change.reasons[:1] if reason and reason in each] == change.reasons[:1]


def test_a_key_that_goes_from_one_person_to_another() -> None:
    moved = {**BASE.approvers, "alice": (ALICE,), "bob": (*BASE.approvers["bob"], SigningKey("alice-2").line)}
    change = compare(BASE, dataclasses.replace(BASE, approvers=moved))
    assert change.kind == "weaker"
    assert change.reasons[0].startswith("'bob' has another key")


def test_a_scan_that_need_not_pass_any_longer() -> None:
    assert compare(dataclasses.replace(BASE, scan="required"), BASE).kind == "weaker"
    assert compare(dataclasses.replace(NOBODY, scan="required"), NOBODY).kind == "weaker"


def test_a_key_s_time() -> None:
    def until(since: str | None, until: str | None) -> Rules:
        return dataclasses.replace(BASE, validity={ALICE: (since, until)})

    january, march = "2027-01-01T00:00:00Z", "2027-03-01T00:00:00Z"
    assert compare(until(january, march), BASE).kind == "weaker"
    assert compare(until(None, january), until(None, march)).kind == "weaker"
    assert compare(until(march, None), until(january, None)).kind == "weaker"
    assert compare(until(None, march), until(january, march)).kind == "stricter"
    assert compare(BASE, until(march, None)).kind == "stricter"


def test_from_nobody_everything_is_stricter_and_to_nobody_everything_weaker() -> None:
    assert compare(NOBODY, BASE).kind == "stricter"
    assert compare(BASE, NOBODY).kind == "weaker"


def test_a_key_counts_from_and_until() -> None:
    limited = dataclasses.replace(BASE, validity={ALICE: ("2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z")})
    assert not limited.valid_at(ALICE, datetime(2026, 11, 23, 11, 59, 59, tzinfo=UTC))
    assert limited.valid_at(ALICE, datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert not limited.valid_at(ALICE, datetime(2026, 11, 24, 12, tzinfo=UTC))
    assert limited.valid_at(OTHER, datetime(2026, 11, 24, 12, tzinfo=UTC))


# What the words mean: what opens under rules that are not weaker would have opened before


@st.composite
def any_rules(draw: st.DrawFn) -> Rules:
    people = draw(st.sets(st.sampled_from(["alice", "bob", "carol"]), min_size=1))
    approvers = {
        each: tuple(
            SigningKey(key).line for key in sorted(draw(st.sets(st.sampled_from([each, f"{each}-2"]), min_size=1)))
        )
        for each in people
    }
    return rules(
        draw(st.integers(1, len(people))),
        approvers=approvers,
        identities={each: draw(st.sampled_from([each, "dora"])) for each in ("alice", "bob", "dora", "eve")},
        expires_s=draw(st.sampled_from([30, 3_600])),
        validity=dict.fromkeys(approvers.get("alice", ())[: draw(st.integers(0, 1))], (None, "2026-11-23T11:00:00Z")),
    )


DOCUMENTS = [document(person, key=key) for person in ("alice", "bob", "carol") for key in (person, f"{person}-2")]


@given(any_rules(), any_rules(), st.sets(st.sampled_from(DOCUMENTS)), st.sampled_from(["alice", "eve"]))
def test_rules_that_are_not_weaker_open_nothing_that_was_shut(
    old: Rules, new: Rules, documents: set[bytes], who: str
) -> None:
    if compare(old, new).kind == "weaker":
        return
    received = [Received(each, NOW) for each in documents]
    then, now = (
        decide.decide(received, each, proposal=PROPOSAL, now=NOW, requester=who, authors=["dora"])
        for each in (old, new)
    )
    assert not (now.state == "open" and then.state != "open")


@given(any_rules(), any_rules(), st.sets(st.sampled_from(DOCUMENTS)), st.sampled_from(["alice", "eve"]))
def test_what_a_weaker_change_is_judged_by_opens_nothing_that_was_shut(
    old: Rules, new: Rules, documents: set[bytes], who: str
) -> None:
    received = [Received(each, NOW) for each in documents]
    then, both = (
        decide.decide(received, each, proposal=PROPOSAL, now=NOW, requester=who, authors=["dora"])
        for each in (old, together(old, new))
    )
    assert not (both.state == "open" and then.state != "open")
    assert problems(together(old, new)) == []


def test_what_is_stricter_in_a_weaker_change_counts_at_once() -> None:
    """Who adds approvals, a freeze and somebody to break the glass in one go does not mean the first two for later."""
    freeze = Freeze("night", "22:00", "06:00", "UTC")
    glass = {"alice": (SigningKey("alice").line,)}
    wanted = rules(2, scan="required", freezes=(freeze,), glass=glass)
    judged_by = together(NOBODY, wanted)
    assert compare(NOBODY, wanted).kind == "weaker"
    assert (judged_by.people, judged_by.scan, judged_by.freezes, judged_by.glass) == (2, "required", (freeze,), {})
    assert together(wanted, NOBODY).as_json() == dataclasses.replace(wanted, glass={}).as_json()


@given(any_rules(), any_rules())
def test_what_is_stricter_one_way_is_weaker_the_other(one: Rules, other: Rules) -> None:
    there, back = compare(one, other).kind, compare(other, one).kind
    assert (there == "equal") == (back == "equal") == (one.as_json() == other.as_json())
    assert there != "stricter" or back == "weaker"
