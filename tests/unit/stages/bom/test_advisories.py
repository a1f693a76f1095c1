"""Folders of advisories, good and bad."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from stages.bom import advisories
from stages.contract import InvalidInput
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("PyPI", "foo-bar")


def document(**more: Any) -> bytes:
    affected = [{"package": {"ecosystem": "PyPI", "name": "Foo_Bar"}, "versions": ["1"]}]
    return json.dumps({"id": "X-1", "affected": affected, **more}).encode()


def problem(folder: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        advisories.load(folder, "adv", set())
    return str(caught.value.problems[0])


def test_json_and_zips_in_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").write_bytes(document())
    (tmp_path / "README.md").write_text("not read")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X-2.json", document(id="X-2"))
        archive.writestr("X-3.json", document(id="X-3", withdrawn="2024-01-01T00:00:00Z"))
        archive.writestr("notes.txt", "not read")
    got = advisories.load(tmp_path, "adv", {KEY})
    assert [(each.document["id"], each.file) for each in got.by_package[KEY]] == [
        ("X-2", "adv/all.zip/X-2.json"),
        ("X-1", "adv/deep/a.json"),
    ]
    assert (got.count, got.ecosystems) == (2, {"PyPI"})


def test_the_digest_is_of_what_is_read_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(document())
    first = advisories.load(tmp_path, "adv", set()).digest
    (tmp_path / "README.md").write_text("x")
    assert advisories.load(tmp_path, "other", set()).digest == first
    (tmp_path / "a.json").write_bytes(document(id="X-2"))
    assert advisories.load(tmp_path, "adv", set()).digest != first


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'"x"', b"{}", b'{"id": 1}', b'{"id": "x", "affected": [{"package": {"name": "x"}}]}', b'{"id": "x", "affected": 1}', b'{"id": "x", "affected": "all"}',
     b'{"id": "x", "affected": [{"package": {"name": 1, "ecosystem": "PyPI"}}]}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_what_is_no_advisory_is_told_with_its_file(tmp_path: Path, data: bytes) -> None:
    """Passing over it would be a database with a hole that nobody knows of."""
    (tmp_path / "a.json").write_bytes(data)
    assert problem(tmp_path).startswith("adv/a.json: it is")


@pytest.mark.parametrize("data", [b"", b"PK", b"noise" * 100])
def test_a_broken_zip(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    assert problem(tmp_path).startswith("adv/a.zip: it cannot be read")


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.json", document())
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"X-1", b"X-9", 1))
    assert "adv/a.zip" in problem(tmp_path)


def test_a_bomb_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", b" " * (LIMITS.advisory_bytes + 1))
    assert "adv/a.zip/x.json: it is larger" in problem(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing else")
    assert "adv holds no advisories" in problem(tmp_path)
