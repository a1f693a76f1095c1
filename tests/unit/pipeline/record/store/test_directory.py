"""What is a directory's own; what every store promises is in tests/integration/pipeline/record/store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import UsageError
from pipeline.record.store import StoreError
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from pathlib import Path


def test_an_object_is_not_for_writing(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    store.put_new("a/b", b"first")
    assert (tmp_path / "a/b").stat().st_mode & 0o222 == 0


def test_nothing_is_left_aside(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    store.put_new("a", b"1")
    store.put_new("a", b"2")
    assert list((tmp_path / "aside").iterdir()) == []


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


def test_those_who_make_a_store_at_the_same_time_share_it(tmp_path: Path) -> None:
    def begin(number: int, at: int) -> bool:
        return open_store(tmp_path / str(at), create=True).put_new(f"runs/{number}", b"x")

    with ThreadPoolExecutor(8) as pool:
        for at in range(60):
            assert all(pool.map(begin, range(8), [at] * 8))


def test_what_holds_other_things_and_no_format_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for create in (True, False):
        with pytest.raises(UsageError, match="is no store, and holds other things"):
            open_store(tmp_path, create=create)
    assert not (tmp_path / "format.json").exists()
