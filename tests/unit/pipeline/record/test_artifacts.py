from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.folders import nest

from pipeline.errors import StageFailed, VerificationFailed
from pipeline.record import artifacts
from pipeline.record.store.directory import DirectoryStore, open_store
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs/thing"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    return folder


def test_what_is_collected_comes_out_again(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.collect(store, folder.parents[1], "thing")
    artifacts.materialise(store, sha256, tmp_path / "inputs")
    assert (tmp_path / "inputs/deep/er/b.txt").read_text() == "b"
    assert [file.path for file in artifacts.manifest(store, sha256)] == ["a.txt", "deep/er/b.txt"]
    assert (tmp_path / "inputs/a.txt").stat().st_mode & 0o777 == 0o444


def test_equal_content_gives_an_equal_digest(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    first = artifacts.collect(store, folder.parents[1], "thing")
    os.utime(folder / "a.txt", (1, 1))
    artifacts.materialise(store, first, tmp_path / "other/outputs/copy")
    assert artifacts.collect(store, tmp_path / "other", "copy") == first


def test_an_input_is_a_copy_and_not_the_store(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.collect(store, folder.parents[1], "thing")
    artifacts.materialise(store, sha256, tmp_path / "inputs")
    (tmp_path / "inputs/a.txt").chmod(0o644)
    (tmp_path / "inputs/a.txt").write_text("changed by a stage")
    artifacts.materialise(store, sha256, tmp_path / "again")
    assert (tmp_path / "again/a.txt").read_text() == "a"


def test_what_is_nested_without_end_is_refused(store: DirectoryStore, folder: Path) -> None:
    nest(folder, 1_500)
    with pytest.raises(StageFailed, match=r"n/n/n/….*nested more than 64 folders deep"):
        artifacts.collect(store, folder.parents[1], "thing")
    subprocess.run(["rm", "-rf", folder], check=True)


def test_folders_count_as_well(store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record.artifacts.LIMITS", replace(LIMITS, output_files=10))
    for number in range(8):
        (folder / f"empty-{number}").mkdir()
    with pytest.raises(StageFailed, match="limited to 10 files"):
        artifacts.collect(store, folder.parents[1], "thing")


def _link(folder: Path) -> None:
    (folder / "x").symlink_to("/etc/shadow")


def _folder_link(folder: Path) -> None:
    (folder / "x").symlink_to("/etc", target_is_directory=True)


def _hard_link(folder: Path) -> None:
    (folder.parent / "secret").write_text("s")
    os.link(folder.parent / "secret", folder / "x")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "x")


@pytest.mark.parametrize("plant", [_link, _folder_link, _hard_link, _pipe])
def test_only_regular_files_with_one_name_are_collected(store: DirectoryStore, folder: Path, plant: object) -> None:
    assert callable(plant)
    plant(folder)
    with pytest.raises(StageFailed, match=r"the output x is not collected"):
        artifacts.collect(store, folder.parents[1], "thing")


def test_changed_content_is_refused_on_the_way_in(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.collect(store, folder.parents[1], "thing")
    blob = store.root / artifacts.blob_key(artifacts.manifest(store, sha256)[0].sha256)
    blob.chmod(0o644)
    blob.write_text("A")
    with pytest.raises(VerificationFailed, match=r"a\.txt: the store holds other bytes"):
        artifacts.materialise(store, sha256, tmp_path / "inputs")


def test_missing_content_is_refused(store: DirectoryStore, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.collect(store, folder.parents[1], "thing")
    (store.root / artifacts.blob_key(artifacts.manifest(store, sha256)[0].sha256)).unlink()
    with pytest.raises(VerificationFailed, match="is not in the store"):
        artifacts.materialise(store, sha256, tmp_path / "inputs")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//b", "."])
def test_a_manifest_cannot_name_a_file_outside(store: DirectoryStore, path: str) -> None:
    sha256 = artifacts.put_json(store, {"v": 1, "files": [{"path": path, "sha256": "sha256:" + "0" * 64, "size": 0}]})
    with pytest.raises(VerificationFailed, match="outside itself"):
        artifacts.manifest(store, sha256)


def test_a_digest_that_is_a_path_reads_nothing(store: DirectoryStore) -> None:
    with pytest.raises(VerificationFailed):
        artifacts.read_blob(store, "sha256:../../../../etc/hostname", "x")


@pytest.mark.parametrize("linked", ["outputs", "outputs/thing"])
def test_an_output_that_is_a_link_itself_is_refused(
    store: DirectoryStore, folder: Path, tmp_path: Path, linked: str
) -> None:
    (tmp_path / linked).rename(tmp_path / "elsewhere")
    (tmp_path / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StageFailed, match="symbolic link"):
        artifacts.collect(store, tmp_path, "thing")


def test_a_truncated_blob_is_told_when_the_same_content_comes_again(store: DirectoryStore, folder: Path) -> None:
    sha256 = artifacts.collect(store, folder.parents[1], "thing")
    blob = store.root / artifacts.blob_key(artifacts.manifest(store, sha256)[0].sha256)
    blob.chmod(0o644)
    blob.write_text("")
    with pytest.raises(VerificationFailed, match="holds 0 bytes") as caught:
        artifacts.collect(store, folder.parents[1], "thing")
    assert str(blob) in (caught.value.hint or "")
