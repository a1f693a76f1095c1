"""A ledger that is read again and again while it grows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.signing import new_key

from pipeline.errors import VerificationFailed
from pipeline.record import digest, ledger, ledgers, pages
from pipeline.record.chain import Event
from pipeline.record.store.directory import open_store
from pipeline.signing import dsse, signers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.record.ledger import Ledger
    from pipeline.record.store.directory import DirectoryStore
    from pipeline.signing.keys import Key

NAME = "ledgers/aws.333333333333.eu-central-1.demo"


@pytest.fixture
def key() -> Key:
    return new_key()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return open_store(tmp_path, create=True)


def deploy(store: DirectoryStore, key: Key, run: str) -> None:
    about: dict[str, Any] = {"run": run, "stage": "deploy", "kind": "deploy", "approvals": []}
    entries = [(ledger.DEPLOYMENT_INTENDED, about), (ledger.DEPLOYMENT_FINISHED, {**about, "outcome": "succeeded"})]
    ledgers.append(store, ledgers.read(store, NAME), entries, key)


def counting(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list to which each object's key is added when it is read as one of several."""
    asked: list[str] = []

    def read_each(keys: Iterable[str]) -> Iterator[bytes | None]:
        for each in keys:
            asked.append(each)
            yield store.read(each)

    monkeypatch.setattr(store, "read_each", read_each)
    return asked


def test_what_was_read_is_not_read_again(store: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(store, key, "a")
    asked = counting(store, monkeypatch)
    first = ledgers.read(store, NAME)
    del asked[:]
    deploy(open_store(store.root, create=False), key, "b")
    second = ledgers.read(store, NAME)
    assert asked == [f"{NAME}/0000000{seq}.json" for seq in (3, 4)]
    assert second.events[: len(first.events)] == first.events
    assert second.current
    assert second.current["run"] == "b"
    fresh = ledgers.read(open_store(store.root, create=False), NAME)
    assert second == fresh


def test_a_ledger_that_was_cut_or_written_anew_is_read_from_its_beginning(store: DirectoryStore, key: Key) -> None:
    deploy(store, key, "a")
    deploy(store, key, "b")
    assert len(ledgers.read(store, NAME).events) == 5
    for path in sorted((store.root / NAME).iterdir())[3:]:
        path.unlink()
    assert len(ledgers.read(store, NAME).events) == 3
    for path in (store.root / NAME).iterdir():
        path.unlink()
    other = open_store(store.root, create=False)
    deploy(other, new_key(), "c")
    assert [event.data.get("run") for event in ledgers.read(store, NAME).events] == [None, "c", "c"]


def test_what_was_read_without_pinned_keys_does_not_count_with_them(store: DirectoryStore, key: Key) -> None:
    deploy(store, key, "a")
    ledgers.read(store, NAME)
    trust = signers.trust(f'gate namespaces="towpath" {new_key().public.line}\n', "trust")
    with pytest.raises(VerificationFailed, match="does not enrol as gate"):
        ledgers.read(store, NAME, trust)


# Pages


@pytest.fixture
def paged(store: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """A ledger of 11 events in two pages of four and three events more, in a store that nobody has read yet."""
    monkeypatch.setattr("pipeline.record.pages.EVENTS", 4)
    for run in "abcde":
        deploy(store, key, run)
    assert store.names(f"pages/{NAME.removeprefix('ledgers/')}") == ["000000.json", "000001.json"]
    return open_store(store.root, create=False)


def read_one_by_one(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, trust: signers.Trust | None = None) -> int:
    """Give how many events are read by themselves; what comes out must be what all events by themselves give."""
    asked = counting(store, monkeypatch)
    found = ledgers.read(store, NAME, trust)
    with monkeypatch.context() as without:
        without.setattr("pipeline.record.pages.EVENTS", 10**6)
        assert found == ledgers.read(open_store(store.root, create=False), NAME, trust)
    return len([each for each in asked if each.startswith("ledgers/")])


def trusting(*keys: Key) -> signers.Trust:
    return signers.trust("".join(f'gate namespaces="towpath" {key.public.line}\n' for key in keys), "trust")


def replaced(store: DirectoryStore, number: int, key: Key, **told: Any) -> None:
    """Put another page in the place of one, with other things told, signed by this key."""
    path = store.root / f"pages/{NAME.removeprefix('ledgers/')}/{number:06d}.json"
    value = {**json.loads(dsse.parse(path.read_bytes(), "page").payload), "writer": {"key": key.public.line}, **told}
    path.unlink()
    store.put_new(
        str(path.relative_to(store.root)),
        digest.canonical(dsse.sign(pages.TYPE, digest.canonical(value), key).as_json()),
    )


def told(store: DirectoryStore, number: int) -> list[list[str]]:
    path = store.root / f"pages/{NAME.removeprefix('ledgers/')}/{number:06d}.json"
    events: list[list[str]] = json.loads(dsse.parse(path.read_bytes(), "page").payload)["events"]
    return events


def test_of_a_long_ledger_pages_are_read(paged: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_one_by_one(paged, monkeypatch, trusting(key)) == 3


def test_a_page_by_a_key_that_does_not_count_is_passed_over(
    paged: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(paged, 1, new_key())
    assert read_one_by_one(paged, monkeypatch, trusting(key)) == 7


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_that_tells_of_other_events_is_passed_over(
    paged: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    events = told(paged, number)
    events[2][1] = events[2][1].replace('"stage":"deploy"', '"stage":"deploz"')
    replaced(paged, number, key, events=events)
    assert read_one_by_one(paged, monkeypatch, trusting(key)) == 11


def test_pages_of_another_ledger_that_hold_together_are_passed_over(
    paged: DirectoryStore, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All links within are right; only the ledger itself tells that these events are not its own."""
    other = open_store(tmp_path / "other", create=True)
    for run in "vwxyz":
        deploy(other, key, run)
    for number in (0, 1):
        replaced(paged, number, key, events=told(other, number))
    assert read_one_by_one(paged, monkeypatch, trusting(key)) == 11


def test_an_event_by_a_key_that_does_not_count_is_refused_in_a_page_too(
    store: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.record.pages.EVENTS", 4)
    retired = new_key()
    deploy(store, retired, "a")
    for run in "bcd":
        deploy(store, key, run)
    assert store.names(f"pages/{NAME.removeprefix('ledgers/')}") == ["000000.json", "000001.json"]
    again = open_store(store.root, create=False)
    assert len(ledgers.read(again, NAME, trusting(key, retired)).events) == 9
    with pytest.raises(VerificationFailed, match="does not enrol as gate"):
        ledgers.read(open_store(store.root, create=False), NAME, trusting(key))
    late = f'gate namespaces="towpath",valid-before="20200101Z" {retired.public.line}\n'
    line = f'gate namespaces="towpath" {key.public.line}\n'
    with pytest.raises(VerificationFailed, match="does not let count"):
        ledgers.read(open_store(store.root, create=False), NAME, signers.trust(late + line, "trust"))


def test_a_ledger_that_was_cut_is_not_what_pages_say(paged: DirectoryStore, key: Key) -> None:
    for path in sorted((paged.root / NAME).iterdir())[6:]:
        path.unlink()
    assert len(ledgers.read(paged, NAME, trusting(key)).events) == 6


def test_pages_that_were_missed_are_made_later(
    paged: DirectoryStore, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (paged.root / "pages").rglob("*.json"):
        path.unlink()
    assert read_one_by_one(paged, monkeypatch) == 11
    deploy(open_store(paged.root, create=False), key, "f")
    assert read_one_by_one(open_store(paged.root, create=False), monkeypatch) == 1


def at_target(*told: tuple[str, str, str]) -> Ledger:
    """A ledger in which runs did something, each by one stage named after its kind: `begins`, `resumes`, or an outcome."""
    types = {"begins": ledger.DEPLOYMENT_INTENDED, "resumes": ledger.DEPLOYMENT_RESUMED}
    attempts: dict[str, int] = {}
    events = []
    for seq, (run, did, kind) in enumerate(told):
        attempts[run] = attempts.get(run, 0) + 1
        data = {"run": run, "stage": kind, "kind": kind, "attempt": attempts[run], "approvals": [], "outcome": did}
        events.append(Event(seq, None, types.get(did, ledger.DEPLOYMENT_FINISHED), "", data, ""))
    return ledger.replay(NAME, events)


GIVEN_UP = ("one", "begins", "deploy")


@pytest.mark.parametrize(
    ("then", "unsettled"),
    [
        ([], {"one"}),
        ([("two", "begins", "deploy")], {"one", "two"}),
        ([("two", "begins", "deploy"), ("two", "failed", "deploy")], {"one"}),
        ([("two", "begins", "deploy"), ("two", "succeeded", "deploy")], set()),
        ([("two", "begins", "delete"), ("two", "succeeded", "delete")], set()),
        ([("two", "begins", "recover"), ("two", "succeeded", "recover")], {"one"}),
        ([("two", "begins", "command"), ("two", "succeeded", "command")], {"one"}),
        ([("two", "begins", "deploy"), ("one", "resumes", "deploy"), ("two", "succeeded", "deploy")], {"one"}),
        ([("two", "begins", "deploy"), ("two", "succeeded", "deploy"), ("one", "resumes", "deploy")], {"one"}),
        ([("two", "begins", "deploy"), ("two", "succeeded", "deploy"), ("one", "begins", "deploy")], {"one"}),
        ([("two", "begins", "deploy"), ("two", "succeeded", "deploy"), ("one", "failed", "deploy")], set()),
    ],
)
def test_what_was_given_up_is_history_once_another_deployment_that_began_later_has_succeeded(
    then: list[tuple[str, str, str]], unsettled: set[str]
) -> None:
    book = at_target(GIVEN_UP, *then)
    assert {run for run, _ in book.unsettled} == unsettled
    assert book.superseded <= set(book.intents)


def test_a_program_that_was_killed_is_history_once_the_same_stage_has_succeeded() -> None:
    killed = ("one", "begins", "command")
    deployed = [("two", "begins", "deploy"), ("two", "succeeded", "deploy")]
    assert at_target(killed, *deployed).unsettled == {("one", "command")}
    assert at_target(killed, ("two", "begins", "command"), ("two", "succeeded", "command")).unsettled == set()
