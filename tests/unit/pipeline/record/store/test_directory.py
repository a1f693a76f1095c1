from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.record.store import StoreError
from pipeline.record.store.directory import open_store


def _contend(arguments: tuple[str, int]) -> list[int]:
    root, me = arguments
    store = open_store(Path(root), create=False)
    return [number for number in range(200) if store.put_new(f"claims/{number}", str(me).encode())]


def test_of_racing_writers_exactly_one_wins_each_key(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.map(_contend, [(str(tmp_path), me) for me in range(4)])
    assert sorted(number for numbers in won for number in numbers) == list(range(200))
    for me, numbers in enumerate(won):
        assert all(store.read(f"claims/{number}") == str(me).encode() for number in numbers)


def test_an_object_is_never_changed(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    assert store.put_new("a/b", b"first")
    assert not store.put_new("a/b", b"second")
    assert store.read("a/b") == b"first"
    assert (tmp_path / "a/b").stat().st_mode & 0o222 == 0


def test_nothing_is_left_aside(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    store.put_new("a", b"1")
    store.put_new("a", b"2")
    assert list((tmp_path / "aside").iterdir()) == []


def test_what_is_absent_is_none_and_lists_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    store.put_new("file", b"")
    assert store.read("no/such") is None
    assert store.open("file/below") is None
    assert store.names("no") == []
    assert store.written_at("no") is None


def test_names_are_sorted_and_direct(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    for key in ("p/b", "p/a", "p/c/d"):
        store.put_new(key, b"")
    assert store.names("p") == ["a", "b", "c"]


def test_a_missing_store_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no store"):
        open_store(tmp_path / "no", create=False)


def test_a_store_whose_first_write_was_cut_off_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    with pytest.raises(UsageError, match="there is no store"):
        open_store(tmp_path, create=False)
    assert open_store(tmp_path, create=True).names("") == ["aside", "format.json"]


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text('{"format": "other"}')
    with pytest.raises(StoreError, match="is not a store"):
        open_store(tmp_path, create=True)


def test_an_unusable_place_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make"):
        open_store(tmp_path / "file" / "store", create=True)
