from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.init import writing

FILES = {"a.txt": b"a", "deep/er/b.sh": b"#!/bin/sh\n"}


def names(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


def test_a_folder_is_made_whole(tmp_path: Path) -> None:
    writing.new_folder(tmp_path / "one" / "two", FILES)
    assert names(tmp_path) == [
        "one",
        "one/two",
        "one/two/a.txt",
        "one/two/deep",
        "one/two/deep/er",
        "one/two/deep/er/b.sh",
    ]
    assert os.access(tmp_path / "one/two/deep/er/b.sh", os.X_OK)
    assert not os.access(tmp_path / "one/two/a.txt", os.X_OK)


def test_an_empty_folder_and_a_repository_without_files_will_do(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    writing.new_folder(tmp_path, FILES)
    assert (tmp_path / "deep/er/b.sh").read_bytes() == b"#!/bin/sh\n"
    assert not list(tmp_path.glob(".towpath*"))


def test_what_is_in_the_way_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError) as caught:
        writing.new_folder(tmp_path, FILES)
    assert caught.value.where == str(tmp_path / "notes")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/er").symlink_to("/nowhere")
    (tmp_path / "a.txt").symlink_to("/nowhere")
    with pytest.raises(UsageError, match=re.escape("nothing is overwritten")):
        writing.add(tmp_path, FILES)
    assert names(tmp_path) == ["a.txt", "deep", "deep/er", "notes"]


def test_what_cannot_be_finished_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").write_text("mine")
    link = os.link

    def full(source: Path, target: Path) -> None:
        if target.name == "b.sh":
            raise OSError(28, "No space left on device", str(target))
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(UsageError, match="No space left") as caught:
        writing.add(tmp_path, FILES)
    assert caught.value.where == str(tmp_path / "deep/er/b.sh")
    assert names(tmp_path) == ["notes"]


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "b.sh":
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left"):
        writing.new_folder(tmp_path / "shop", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        writing.new_folder(tmp_path / "file", FILES)
    with pytest.raises(UsageError, match="cannot be written"):
        writing.new_folder(tmp_path / "file" / "below", FILES)
