"""A ledger that is read again and again while it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.signing import new_key

from pipeline.errors import VerificationFailed
from pipeline.record import ledger
from pipeline.record.store.directory import open_store
from pipeline.signing import signers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

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
    ledger.append(store, ledger.read(store, NAME), entries, key)


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
    first = ledger.read(store, NAME)
    del asked[:]
    deploy(open_store(store.root, create=False), key, "b")
    second = ledger.read(store, NAME)
    assert asked == [f"{NAME}/0000000{seq}.json" for seq in (3, 4)]
    assert second.events[: len(first.events)] == first.events
    assert second.current
    assert second.current["run"] == "b"
    fresh = ledger.read(open_store(store.root, create=False), NAME)
    assert second == fresh


def test_a_ledger_that_was_cut_or_written_anew_is_read_from_its_beginning(store: DirectoryStore, key: Key) -> None:
    deploy(store, key, "a")
    deploy(store, key, "b")
    assert len(ledger.read(store, NAME).events) == 5
    for path in sorted((store.root / NAME).iterdir())[3:]:
        path.unlink()
    assert len(ledger.read(store, NAME).events) == 3
    for path in (store.root / NAME).iterdir():
        path.unlink()
    other = open_store(store.root, create=False)
    deploy(other, new_key(), "c")
    assert [event.data.get("run") for event in ledger.read(store, NAME).events] == [None, "c", "c"]


def test_what_was_read_without_pinned_keys_does_not_count_with_them(store: DirectoryStore, key: Key) -> None:
    deploy(store, key, "a")
    ledger.read(store, NAME)
    trust = signers.trust(f'gate namespaces="towpath" {new_key().public.line}\n', "trust")
    with pytest.raises(VerificationFailed, match="does not enrol as gate"):
        ledger.read(store, NAME, trust)
