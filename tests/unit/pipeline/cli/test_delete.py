"""Which images a deletion is told of: those that the ledgers of a store know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.signing import new_key

from pipeline.cli.delete import _known_images
from pipeline.record import ledger, ledgers
from pipeline.record.store.directory import open_store
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.record.store.directory import DirectoryStore
    from pipeline.signing.keys import Key

OURS = Target("command", "111122223333", "eu-west-1", stack="ours")
THEIRS = Target("command", "111122223333", "eu-west-1", stack="theirs")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return open_store(tmp_path, create=True)


@pytest.fixture
def key() -> Key:
    return new_key()


def done(store: DirectoryStore, key: Key, target: Target, run: str, image: str = "", *, kind: str = "deploy") -> None:
    """Write into a target's ledger what a deployment, or a deletion, leaves there."""
    functions = {"Fn": {"image": image}} if image else {}
    about: dict[str, Any] = {"run": run, "stage": kind, "kind": kind, "approvals": []}
    end = {**about, "outcome": "succeeded", "functions": functions}
    entries = [(ledger.DEPLOYMENT_INTENDED, about), (ledger.DEPLOYMENT_FINISHED, end)]
    ledgers.append(store, ledgers.read(store, ledger.name_of(target)), entries, key)


def test_all_that_a_stack_ever_ran_goes_and_what_another_may_go_back_to_stays(store: DirectoryStore, key: Key) -> None:
    for run, image in (("a", "app@1"), ("b", "app@2")):
        done(store, key, OURS, run, image)
    for run, image in (("c", "app@1"), ("d", "app@3")):
        done(store, key, THEIRS, run, image)
    assert _known_images(store, OURS, None) == {"also": ["app@1", "app@2"], "keep": ["app@1", "app@3"]}


def test_what_a_stack_ran_that_is_deleted_keeps_nothing(store: DirectoryStore, key: Key) -> None:
    done(store, key, THEIRS, "a", "app@1")
    done(store, key, THEIRS, "b", kind="delete")
    assert ledgers.read(store, ledger.name_of(THEIRS)).current is None
    assert _known_images(store, OURS, None) == {}


def test_after_a_deletion_a_deployment_is_what_runs_again(store: DirectoryStore, key: Key) -> None:
    done(store, key, OURS, "a", "app@1")
    done(store, key, OURS, "b", kind="delete")
    done(store, key, OURS, "c", "app@2")
    current = ledgers.read(store, ledger.name_of(OURS)).current
    assert current
    assert current["run"] == "c"
