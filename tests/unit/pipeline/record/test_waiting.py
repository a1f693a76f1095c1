from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.approvers import rules
from support.gated import ASKED, decide, gated

from pipeline.errors import Rejected, Waiting
from pipeline.record import runs, waiting
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.record.store.directory import DirectoryStore

A, B = "20260101-000000-aaaa", "20260102-000000-bbbb"


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ([], {}),
        (["format.json"], {}),
        ([f"{B}.deploy.1", f"{A}.deploy.2"], {A: [("deploy", 2)], B: [("deploy", 1)]}),
        ([f"{A}.deploy.1", f"{A}.deploy.1.over"], {}),
        ([f"{A}.deploy.1.over"], {}),
        ([f"{A}.deploy.1", f"{A}.deploy.1.over", f"{A}.deploy.2"], {A: [("deploy", 2)]}),
        ([f"{A}.deploy.1", f"{A}.smoke.1", f"{A}.smoke.1.over"], {A: [("deploy", 1)]}),
        ([f"{A}.deploy", "x.deploy.1", f"{A}.deploy.01", f"{A}.deploy.1.other", ".over"], {}),
    ],
)
def test_what_is_left_is_told_by_names_alone(names: list[str], left: waiting.Waiting) -> None:
    assert waiting.left(names) == left
    assert waiting.left(reversed(names)) == left


def propose(house: House) -> str:
    run_id = house.open(gated(house, rules()), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    return run_id


@pytest.fixture
def indexed(house: House) -> House:
    assert waiting.listed(house.store) == {}
    return house


def test_the_engine_keeps_the_index(indexed: House) -> None:
    run_id, other = propose(indexed), propose(indexed)
    assert waiting.listed(indexed.store) == {run_id: [("migrate", 1)], other: [("migrate", 1)]}
    decide(indexed, run_id, "alice")
    indexed.drive(run_id)
    assert waiting.listed(indexed.store) == {other: [("migrate", 1)]}
    decide(indexed, other, "bob", "reject")
    with pytest.raises(Rejected):
        indexed.drive(other)
    assert waiting.listed(indexed.store) == {}


def test_an_index_that_is_not_there_is_made_of_the_runs(house: House) -> None:
    run_id, other = propose(house), propose(house)
    decide(house, other, "alice")
    house.drive(other)
    (house.store.root / "runs/20260101-000000-aaaa/open").mkdir(parents=True)
    before = waiting.listed(house.store)
    shutil.rmtree(house.store.root / "waiting")
    store = open_store(house.store.root, create=False)
    assert waiting.listed(store) == before == {run_id: [("migrate", 1)]}
    names = store.names("waiting")
    assert names == [f"{run_id}.migrate.1", "format.json"]


def test_a_list_reads_only_what_waits(indexed: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        run_id = propose(indexed)
        decide(indexed, run_id, "alice")
        indexed.drive(run_id)
    monkeypatch.setattr(runs, "load", None)
    monkeypatch.setattr(type(indexed.store), "read", None)
    assert waiting.listed(indexed.store) == {}


def test_who_may_only_read_gets_the_list(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = propose(house)
    shutil.rmtree(house.store.root / "waiting")

    def refuse(_store: DirectoryStore, key: str, _data: bytes) -> bool:
        from pipeline.record.store import StoreError

        raise StoreError(f"{key}: not yours to write")

    monkeypatch.setattr(type(house.store), "put_new", refuse)
    assert waiting.listed(house.store) == {run_id: [("migrate", 1)]}
    waiting.over(house.store, run_id, "migrate", 1)
    assert waiting.listed(house.store) == {run_id: [("migrate", 1)]}
