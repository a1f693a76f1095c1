"""What stands in a ledger is judged again by an audit: a ledger that lies is refused, even one that the gate's own key signed.

`forge` writes a ledger anew from an event on, signed by whoever is asked to, with every link in order. So what is refused
here is refused for what it says, and not for its form.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from security.conftest import Record
from support.approvers import SigningKey, one_covered, rules
from support.gated import ASKED, TARGET, decide, deployed, gated, release
from support.plans import House, killed_in
from support.signing import new_key, trust_line

from pipeline import barriers, gating, locks
from pipeline.audit import verify
from pipeline.errors import Blocked, Waiting
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY
from pipeline.record import artifacts, ledger, ledgers, runs
from pipeline.record.chain import Event, decode, encode
from pipeline.record.digest import of_bytes
from pipeline.record.store.directory import open_store
from pipeline.record.writer import event_key
from pipeline.signing import signers
from pipeline.standings import Wish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.gates.rules import Rules
    from pipeline.signing.keys import Key

NAME = ledger.name_of(TARGET)
ENROLLED, INTENDED, FINISHED = 1, 2, 3
SECOND, CHANGED, WEAKER = 4, 6, 7
"""Events of the ledger: the first deployment's, the second's intent, and the change of rules before the third's."""


@dataclass
class Book(Record):
    """A record with three deployments to one target: by two people, by two again, and one that makes the rules weaker."""

    third: str = ""

    def events(self) -> list[Event]:
        return list(ledgers.read(open_store(self.root, create=False), NAME).events)

    def object(self, seq: int) -> Path:
        return self.path(event_key(NAME, seq))

    def forge(self, at: int, change: Callable[[dict[str, Any]], None], key: Key | None = None) -> None:
        """Change the data of an event, and write it and all that follow anew."""
        key = key or self.key
        events = self.events()
        prev = events[at - 1].digest if at else None
        for event in events[at:]:
            data = copy.deepcopy(event.data)
            data["writer"]["key"] = key.public.line
            if event.seq == at:
                change(data)
            line = encode(event.seq, prev, event.type, data, datetime.fromisoformat(event.at))
            self.object(event.seq).write_bytes(ledgers.encode(line, key))
            prev = of_bytes(line)

    def found(self, *wanted: str) -> str:
        """What an audit of these runs (default: all) finds, one line each."""
        store = open_store(self.root, create=False)
        audit = verify.Audit(store, signers.load_trust(self.trust))
        found = [str(each) for run in wanted or runs.run_ids(store) for each in audit.run(run).findings]
        return "\n".join(found + [str(each) for each in ([] if wanted else audit.rest())])


def everybody(people: int) -> Rules:
    """Rules by which who asked for the run (dora) and who wrote its commits (eve) are among those who may approve others'."""
    able = ("alice", "bob", "carol", "dora", "eve")
    keys = {each: (SigningKey(each).line, SigningKey(f"{each}-2").line) for each in able}
    return rules(people=people, approvers=keys)


@pytest.fixture(scope="session")
def _books(tmp_path_factory: pytest.TempPathFactory) -> Book:
    folder = tmp_path_factory.mktemp("books")
    project = folder / "project"
    project.mkdir()
    house = House(project, open_store(folder / "store", create=True))
    made = []
    for number, people in enumerate((2, 2, 1)):
        run_id = house.open(gated(house, everybody(people), f"echo {number}"), **ASKED)
        with pytest.raises(Waiting):
            house.drive(run_id)
        for person in ("alice", "bob"):
            decide(house, run_id, person)
        assert house.drive(run_id).done("migrate")
        made.append(run_id)
    trust = folder / "trust"
    trust.write_text(trust_line(house.key.public, "builder,gate"))
    return Book(house.store.root, made[0], made[1], house.key, trust, made[2])


@pytest.fixture
def book(_books: Book, tmp_path: Path) -> Book:
    shutil.copytree(_books.root, tmp_path / "copy")
    return Book(tmp_path / "copy", _books.run, _books.other, _books.key, _books.trust, _books.third)


def test_an_untouched_one_is_authentic(book: Book) -> None:
    types = [event.type for event in book.events()]
    assert types[CHANGED] == ledger.RULES_CHANGED
    assert types[WEAKER] == types[SECOND] == types[INTENDED] == ledger.DEPLOYMENT_INTENDED
    assert book.found() == ""
    said = book.verify(code=0)
    assert "alice, bob" in said
    book.verify("--all", code=0)
    book.verify("--all", code=7, trusted=False)


# Its form


@pytest.mark.parametrize("seq", range(9))
def test_every_byte_counts(book: Book, seq: int) -> None:
    path = book.object(seq)
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 25)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        assert event_key(NAME, seq) in book.found(book.run).splitlines()[0]


@pytest.mark.parametrize("seq", range(8))
def test_an_event_dropped(book: Book, seq: int) -> None:
    book.object(seq).unlink()
    assert f"{event_key(NAME, seq)}: is missing" in book.verify(code=4)


def test_events_swapped(book: Book) -> None:
    one, two = book.object(2), book.object(4)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert event_key(NAME, 2) in book.verify(code=4)


def test_its_end_cut_off(book: Book) -> None:
    """The run that was deployed last says so, whoever asks for it or for all."""
    for seq in range(len(book.events()) - 1, CHANGED - 1, -1):
        book.object(seq).unlink()
    assert "holds no intent of migrate.2" in book.verify(book.third, code=4)
    assert "holds no intent of migrate.2" in book.verify("--all", code=4)


def test_only_its_last_outcome_cut_off(book: Book) -> None:
    book.object(len(book.events()) - 1).unlink()
    assert "its end was cut off" in book.verify(book.third, code=4)


def test_all_of_it_removed(book: Book) -> None:
    shutil.rmtree(book.root / "ledgers")
    assert "holds no intent of migrate.2" in book.verify(code=4)


def test_the_ledger_of_another_target_in_its_place(book: Book) -> None:
    other = book.root / "ledgers/aws.333333333333.eu-central-1.other"
    (book.root / NAME).rename(other)
    assert "its events were written for the chain" in book.found()


def test_an_object_that_has_no_place(book: Book) -> None:
    (book.root / NAME / "note").write_text("x")
    assert "note is there" in book.verify(code=4)


# Who wrote it


def test_a_key_that_nobody_enrolled(book: Book) -> None:
    book.forge(INTENDED, lambda _: None, new_key())
    assert "does not enrol as gate" in book.verify(code=4)
    assert "is not what migrate.1" in book.verify("--all", code=4, trusted=False)  # later runs had seen it otherwise


def test_a_key_that_may_seal_runs_only(book: Book, tmp_path: Path) -> None:
    builder = new_key()
    book.trust = tmp_path / "trust"
    book.trust.write_text(trust_line(book.key.public, "builder,gate") + trust_line(builder.public, "builder"))
    book.forge(FINISHED, lambda _: None, builder)
    assert "does not enrol as gate" in book.verify(code=4)


def test_a_signature_moved_to_another_event(book: Book) -> None:
    envelope = ledgers.decode(book.object(2).read_bytes(), "one")
    other = ledgers.decode(book.object(3).read_bytes(), "other")
    moved = type(envelope)(envelope.type, envelope.payload, other.signatures)
    book.object(2).write_bytes(_canonical(moved.as_json()))
    assert "did not make over it" in book.verify(code=4)


def _canonical(value: Any) -> bytes:
    from pipeline.record import digest

    return digest.canonical(value)


# Which approvals it counts


def approval(
    book: Book, person: str, *, key: str | None = None, received: datetime | None = None, **changed: Any
) -> dict[str, Any]:
    """What a ledger says of an approval that somebody signed for the first run; its document is put into the store."""
    store = open_store(book.root, create=False)
    original = store.read(artifacts.blob_key(book.events()[INTENDED].data["approvals"][0]["document"])) or b""
    good = statements.parse(statements.open_up(original)[0])
    values: dict[str, Any] = {
        "person": person, "reason": "seen", "run": good.run, **vars(good.covers[0]), "made_at": good.made_at, "expires_at": good.expires_at,
    }  # fmt: skip
    values |= changed
    statement = statements.make(values.pop("decision", "approve"), **one_covered(values))
    signing = SigningKey(key or person)
    document = statements.seal_up(statement, signing.sign(statement))
    return {
        "statement": of_bytes(statement),
        "document": artifacts.put_blob(store, document),
        "person": person,
        "key": signing.line,
        "received_at": (received or good.made_at + timedelta(seconds=1)).isoformat(),
    }


def replaced(book: Book, *approvals: dict[str, Any]) -> str:
    """What is said of the first deployment if the ledger has these approvals of it, its first one apart."""

    def change(data: dict[str, Any]) -> None:
        data["approvals"] = [*data["approvals"][:1], *approvals]

    book.forge(INTENDED, change)
    book.verify(code=4)
    return book.found(book.run)


def test_fewer_approvals_than_the_rules_ask_for(book: Book) -> None:
    assert "was let through, and the gate was waiting" in replaced(book)


def test_an_approval_that_is_the_same_twice(book: Book) -> None:
    assert "was let through" in replaced(book, book.events()[INTENDED].data["approvals"][0])


def test_one_person_with_two_keys(book: Book) -> None:
    assert "1 of 2 approved: alice" in replaced(book, approval(book, "alice", key="alice-2"))


@pytest.mark.parametrize(("person", "why"), [("dora", "asked for the run"), ("eve", "wrote commits")])
def test_by_the_requester_or_an_author(book: Book, person: str, why: str) -> None:
    assert f"cannot approve this: {why}" in replaced(book, approval(book, person))


def test_by_a_stranger(book: Book) -> None:
    assert "'mallory' may not approve here" in replaced(book, approval(book, "mallory"))


def test_signed_by_another_than_it_says(book: Book) -> None:
    assert "which is no key of 'bob'" in replaced(book, approval(book, "bob", key="carol"))


def test_replayed_from_another_run(book: Book) -> None:
    other = book.events()[SECOND].data["approvals"][1]
    assert "it is for another run" in replaced(book, other)


def test_replayed_from_another_environment(book: Book) -> None:
    target = {**statements.target_of(TARGET), "environment": "staging"}
    assert "it is for another target.environment" in replaced(book, approval(book, "bob", target=target))


def test_of_another_subject(book: Book) -> None:
    assert "it is for another subject" in replaced(book, approval(book, "bob", subject="sha256:" + "7" * 64))


def test_expired_when_the_gate_was_looked_at(book: Book) -> None:
    now = datetime.now(UTC)
    late = approval(
        book,
        "bob",
        made_at=now - timedelta(hours=2),
        expires_at=now - timedelta(hours=1),
        received=now - timedelta(minutes=90),
    )
    assert "it expired at" in replaced(book, late)


def test_received_longer_ago_than_the_rules_allow(book: Book) -> None:
    now = datetime.now(UTC)
    old = approval(book, "bob", made_at=now - timedelta(days=3), received=now - timedelta(days=2))
    assert "it expired at" in replaced(book, old)


def test_a_reject_that_counts_as_an_approval(book: Book) -> None:
    assert "the gate was rejected" in replaced(book, approval(book, "bob", decision="reject"))


def test_a_document_that_is_gone(book: Book) -> None:
    document = book.events()[INTENDED].data["approvals"][0]["document"]
    book.path(artifacts.blob_key(document)).unlink()
    assert "an approval of run" in book.verify(code=4)


def test_an_approval_that_a_deployment_has_used(book: Book) -> None:
    """As if the same run had deployed twice by the same approvals."""
    events = book.events()
    seq, prev = len(events), events[-1].digest
    line = encode(seq, prev, ledger.DEPLOYMENT_INTENDED, {**events[INTENDED].data, "attempt": 2})
    book.path(event_key(NAME, seq)).write_bytes(ledgers.encode(line, book.key))
    assert "was not decided on the ledger as it was then" in book.found(book.run)
    assert decode(line, NAME).seq == seq


# By which rules


def test_rules_that_are_not_those_of_the_plan(book: Book) -> None:
    book.forge(ENROLLED, lambda data: data.update(rules=everybody(1).as_json()))
    assert "stands after other rules than its plan has" in book.found(book.run)


def test_empty_rules(book: Book) -> None:
    book.forge(ENROLLED, lambda data: data.update(rules={}))
    assert "are not rules of a target" in book.verify(code=4)


def test_rules_made_weaker_that_say_they_are_stricter(book: Book) -> None:
    book.forge(CHANGED, lambda data: data.update(kind="stricter"))
    assert "says of the change of rules what it is not" in book.verify(code=4)


@pytest.mark.parametrize("left", [0, 1])
def test_rules_made_weaker_with_too_few_approvals(book: Book, left: int) -> None:
    book.forge(CHANGED, lambda data: data.update(approvals=data["approvals"][:left]))
    said = book.verify(code=4)
    assert event_key(NAME, CHANGED) in said
    assert ("nobody approved that" if not left else "the gate was waiting") in said


def test_rules_made_weaker_with_approvals_of_something_else(book: Book) -> None:
    other = book.events()[SECOND].data["approvals"]
    book.forge(CHANGED, lambda data: data.update(approvals=other))
    assert event_key(NAME, CHANGED) in book.verify(code=4)


def test_rules_made_weaker_in_the_same_change_and_judged_by_themselves(book: Book) -> None:
    book.forge(WEAKER, lambda data: data.update(judged_by=data["judged_by"][:-1] + "0"))
    assert "was judged by other rules than those in force" in book.found(book.third)


# What it says of its runs


@pytest.mark.parametrize("name", ["opening", "subject", "requester", "commit", "kind", "judged_by"])
def test_an_intent_that_says_something_else_of_its_run(book: Book, name: str) -> None:
    book.forge(INTENDED, lambda data: data.update({name: "sha256:" + "0" * 64}))
    book.verify(code=4)
    assert f"has another {name} than run" in book.found(book.run)


@pytest.mark.parametrize("attempt", [1, 7])
def test_an_intent_of_an_attempt_that_did_not_go_on(book: Book, attempt: int) -> None:
    book.forge(INTENDED, lambda data: data.update(attempt=attempt))
    assert "did not look at its gate and go on" in book.found(book.run)


def test_an_outcome_that_was_another(book: Book) -> None:
    book.forge(FINISHED, lambda data: data.update(outcome="failed"))
    assert "tells of another outcome" in book.found(book.run)


def test_a_stack_that_is_said_to_be_deleted(book: Book) -> None:
    book.forge(FINISHED, lambda data: data.update(deleted=True))
    assert "tells of another outcome" in book.found(book.run)


def test_functions_that_were_others(book: Book) -> None:
    book.forge(FINISHED, lambda data: data.update(functions={"Hello": {"image": "x"}}))
    assert "tells of another outcome" in book.found(book.run)


def test_what_began_and_has_no_outcome(book: Book) -> None:
    """As a runner leaves it that was killed in the middle: incomplete, and not broken."""
    for seq in range(len(book.events()) - 1, WEAKER, -1):
        book.object(seq).unlink()
    chain = book.path(f"runs/{book.third}/migrate.2")
    for path in [*sorted(chain.glob("*.json"))[4:], chain / "log/000000.jsonl"]:
        path.unlink()
    assert "migrate.2" in book.verify(book.third, code=7)
    assert "what migrate.2 began has no outcome yet" in book.found(book.third)


def test_a_run_dropped(book: Book) -> None:
    shutil.rmtree(book.root / "runs" / book.other)
    assert f"runs/{book.other}: is missing" in book.verify("--all", code=7)


def test_the_run_that_weakened_the_rules_dropped(book: Book) -> None:
    shutil.rmtree(book.root / "runs" / book.third)
    said = book.verify(book.run, code=7)
    assert f"runs/{book.third}: is missing" in said
    assert "made the rules weaker" in said


# What it puts over what


def judged(house: House, run_id: str, grade: str = "broken") -> list[str]:
    trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    found = verify.Audit(house.store, trust).run(run_id).findings
    return [str(each) for each in found if each.grade == grade]


def test_a_runner_that_puts_something_older_over_something_newer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    only = Wish(only=frozenset({"migrate"}))
    older, newer = (house.open(*release(house), **ASKED) for _ in range(2))
    deployed(house, newer)
    with monkeypatch.context() as patch:
        patch.setattr(barriers, "newer_than", lambda *_: None)
        house.drive(older, only)
    [found] = judged(house, older)
    assert f"was let through, though it was outdated: run {newer}" in found


def test_a_runner_that_holds_up_what_is_not_outdated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    only = Wish(only=frozenset({"migrate"}))
    older, newer = (house.open(*release(house), **ASKED) for _ in range(2))
    deployed(house, older)
    lie = next(ledger.deployments(ledgers.read(house.store, NAME).events))
    monkeypatch.setattr(barriers, "newer_than", lambda *_: lie)
    with pytest.raises(Blocked):
        house.drive(newer, only)
    [found] = judged(house, newer)
    assert "says that it was outdated" in found


def test_what_cannot_be_told_without_another_runs_opening_is_not_called_broken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a bundle that holds one run."""
    only = Wish(only=frozenset({"migrate"}))
    older, newer = (house.open(*release(house), **ASKED) for _ in range(2))
    deployed(house, newer)
    with monkeypatch.context() as patch:
        patch.setattr(barriers, "newer_than", lambda *_: None)
        house.drive(older, only)
    shutil.rmtree(house.store.root / f"runs/{newer}")
    assert judged(house, older) == []
    assert f"runs/{newer}/open: is not here" in "\n".join(judged(house, older, "missing"))


def test_who_was_held_up_rightly_is_not_called_broken(house: House) -> None:
    older, newer = (house.open(*release(house), **ASKED) for _ in range(2))
    deployed(house, newer)
    with pytest.raises(Blocked):
        house.drive(older, Wish(only=frozenset({"migrate"})))
    assert judged(house, older) == []


def given_up(house: House) -> str:
    """A run that has begun to act on the target, and of which nothing more was heard."""
    run_id = house.open(gated(house, NOBODY), **ASKED)
    book = ledgers.read(house.store, NAME)
    intent = {"run": run_id, "stage": "migrate", "kind": "command", "attempt": 1, "approvals": [], "opening": "x"}
    enrolled = (ledger.TARGET_ENROLLED, {"rules": NOBODY.as_json(), "run": run_id})
    ledgers.append(house.store, book, [enrolled, (ledger.DEPLOYMENT_INTENDED, intent)], house.key)
    return run_id


def test_what_is_superseded_need_not_be_named_and_may_be(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = given_up(house)
    second, third, fourth = (house.open(gated(house, NOBODY), **ASKED) for _ in range(3))
    house.drive(second)
    house.drive(third)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "unsettled", property(lambda book: frozenset(book.intents)))
        house.drive(fourth)
    named = [each.data.get("after") for each in ledger.intended(ledgers.read(house.store, NAME).events)][1:]
    assert named == [[{"run": first, "stage": "migrate"}], [], [{"run": first, "stage": "migrate"}]]
    assert [judged(house, each) for each in (second, third, fourth)] == [[], [], []]


def test_a_runner_that_deploys_while_another_does(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up(house)
    second = house.open(gated(house, NOBODY), **ASKED)
    monkeypatch.setattr(locks, "holders", lambda *_: [])
    house.drive(second)
    [found] = judged(house, second)
    assert "was let through while another run's deployment was under way" in found


ADA = locks.Act({"user": "ada"}, "incident")


def test_a_runner_that_passes_a_lock(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = house.open(gated(house, NOBODY), **ASKED)
    locks.take(house.store, NAME, ADA, key=house.key, trust=None)
    honest = gating._timed
    monkeypatch.setattr(gating, "_timed", lambda gate: honest(replace(gate, ledger=replace(gate.ledger, lock=None))))
    house.drive(run_id)
    [found] = judged(house, run_id)
    assert "was let through, though it was locked by ada since" in found


def test_who_waited_for_a_lock_or_had_begun_before_it_is_not_called_broken(house: House) -> None:
    started = house.project / "migrate.started"
    begun = house.open(gated(house, NOBODY, f"test -e {started} && exit 0; touch {started}; sleep 60"), **ASKED)
    killed_in(house, begun, "migrate")
    locks.take(house.store, NAME, ADA, key=house.key, trust=None)
    waits = house.open(gated(house, NOBODY), **ASKED)
    for run_id in (begun, waits):
        with suppress(Blocked):
            house.drive(run_id)
    locks.release(house.store, NAME, ADA, None, key=house.key, trust=None)
    for run_id in (begun, waits):
        assert house.drive(run_id).done("migrate")
        assert judged(house, run_id) == []


@pytest.mark.parametrize(
    ("said", "early_s", "expected"),
    [
        ({"person": "alice"}, 60, "though 'alice' had rejected it"),
        ({"person": "alice"}, -60, None),
        ({"person": "mallory"}, 60, None),
        ({"person": "alice", "key": "bob"}, 60, None),
        ({"person": "alice", "subject": "sha256:" + "1" * 64}, 60, None),
    ],
)
def test_a_runner_that_does_not_hear_a_reject(
    house: House, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], early_s: float, expected: str | None
) -> None:
    run_id = house.open(gated(house, rules()), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, decision="reject", **said)
    [rejects] = (house.store.root / gating.inbox(run_id, "migrate")).iterdir()
    at = time.time() - early_s
    os.utime(rejects, (at, at))
    decide(house, run_id, "bob")
    honest = gating.received
    deaf = [each for each in honest(house.store, run_id, "migrate") if each.document != rejects.read_bytes()]
    with monkeypatch.context() as patch:
        patch.setattr(gating, "received", lambda *_: deaf)
        assert house.drive(run_id).done("migrate")
    found = "\n".join(judged(house, run_id))
    assert expected in found if expected else found == ""


@pytest.mark.parametrize("kinds", [("lock.released",), ("lock.taken", "lock.taken")])
def test_locks_that_do_not_follow_one_another(house: House, kinds: tuple[str, ...]) -> None:
    book = ledgers.read(house.store, NAME)
    told = {"by": {"user": "ada"}, "reason": "x", "run": None}
    ledgers.append(house.store, book, [(kind, told) for kind in kinds], house.key)
    run_id = house.open(gated(house, NOBODY), **ASKED)
    with suppress(Blocked):
        house.drive(run_id)
    assert any("and the target was" in each for each in judged(house, run_id))


@pytest.mark.parametrize("state", ["locked", "busy"])
def test_a_runner_that_says_of_a_target_that_it_is_held(
    house: House, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    told = {"by": {"user": "ada"}, "at": "then", "reason": "x"}
    run_id = house.open(gated(house, NOBODY), **ASKED)
    honest = gating._timed
    with monkeypatch.context() as patch:
        if state == "locked":
            patch.setattr(gating, "_timed", lambda gate: honest(replace(gate, ledger=replace(gate.ledger, lock=told))))
        else:
            holder = locks.Holder("another", "migrate", 1, 1, "elsewhere", "then", "ada", alive=True)
            patch.setattr(locks, "holders", lambda *_: [holder])
        with pytest.raises(Blocked):
            house.drive(run_id)
    [found] = judged(house, run_id)
    assert "says that" in found
