"""What is put into zip archives, and that it is the same whoever puts it there."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from stages import template as templates
from stages.build import artifacts
from stages.contract import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = b"""\
Resources:
  Zipped: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: code, Handler: app.handler, Runtime: python3.12}}
  One: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: code/app.py, Handler: app.handler, Runtime: python3.12}}
  Machine: {Type: 'AWS::Serverless::StateMachine', Properties: {DefinitionUri: machine.json}}
  Again: {Type: 'AWS::Serverless::StateMachine', Properties: {DefinitionUri: machine.json}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "code" / "lib").mkdir(parents=True)
    (root / "code" / "app.py").write_text("def handler(*_): ...\n")
    (root / "code" / "lib" / "tool").write_text("#!/bin/sh\n")
    (root / "code" / "lib" / "tool").chmod(0o700)
    (root / "machine.json").write_text("{}")
    return root


def _load(root: Path, template: bytes = TEMPLATE) -> templates.Application:
    application, problems = templates.load(lambda _: template, "template.yaml", {})
    assert not problems
    return application


def _gather(root: Path, output: Path) -> list[dict[str, Any]]:
    return artifacts.gather(_load(root), root, output)


def test_folders_and_code_are_zipped_and_documents_are_not(root: Path, tmp_path: Path) -> None:
    rows = {row["id"]: row for row in _gather(root, tmp_path / "out")}
    with zipfile.ZipFile(tmp_path / "out" / rows["Zipped"]["file"]) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        assert modes == {"app.py": 0o644, "lib/tool": 0o755}
        assert archive.read("app.py") == b"def handler(*_): ...\n"
    with zipfile.ZipFile(tmp_path / "out" / rows["One"]["file"]) as archive:
        assert archive.namelist() == ["app.py"]
    assert (tmp_path / "out" / rows["Machine"]["file"]).read_bytes() == b"{}"
    assert rows["Machine"]["file"] == rows["Again"]["file"]
    assert rows["Machine"]["path"] == ["Resources", "Machine", "Properties", "DefinitionUri"]


def test_the_same_content_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """Catches archives that hold times, owners, or the order of a directory."""
    first = _gather(root, tmp_path / "one")
    (root / "code" / "app.py").rename(root / "aside")
    (root / "code" / "zzz").write_text("")
    (root / "aside").rename(root / "code" / "app.py")
    (root / "code" / "zzz").unlink()
    os.utime(root / "code" / "app.py", (1, 1))
    (root / "code" / "app.py").chmod(0o600)
    assert _gather(root, tmp_path / "two") == first
    (root / "code" / "lib" / "tool").chmod(0o600)
    assert _gather(root, tmp_path / "three") != first


def test_history_and_record_are_left_out(root: Path, tmp_path: Path) -> None:
    first = _gather(root, tmp_path / "one")
    for name in (".git", ".towpath"):
        (root / "code" / name).mkdir()
        (root / "code" / name / "x").write_text("x")
    assert _gather(root, tmp_path / "two") == first


def test_a_zip_archive_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(root / "layer.zip", "w") as archive:
        archive.writestr("x", "y")
    text = b"Resources:\n  L: {Type: 'AWS::Serverless::LayerVersion', Properties: {ContentUri: layer.zip}}\n"
    (row,) = artifacts.gather(_load(root, text), root, tmp_path / "out")
    assert (tmp_path / "out" / row["file"]).read_bytes() == (root / "layer.zip").read_bytes()


def test_links_are_followed_but_not_out_of_the_project(root: Path, tmp_path: Path) -> None:
    (root / "shared.py").write_text("shared")
    (root / "code" / "shared.py").symlink_to("../shared.py")
    rows = {row["id"]: row for row in _gather(root, tmp_path / "out")}
    with zipfile.ZipFile(tmp_path / "out" / rows["Zipped"]["file"]) as archive:
        assert archive.read("shared.py") == b"shared"
    (root / "code" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="the link code/passwd leads out of the project"):
        _gather(root, tmp_path / "again")


def test_a_link_into_itself_ends(root: Path, tmp_path: Path) -> None:
    (root / "code" / "self").symlink_to(".")
    with pytest.raises(InvalidInput, match="leads into itself"):
        _gather(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("named", "problem"),
    [("absent", "does not exist"), ("../outside", "is outside the project")],
)
def test_what_is_not_there_is_told_with_its_place(root: Path, named: str, problem: str) -> None:
    (root.parent / "outside").mkdir()
    text = f"Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: {{CodeUri: {named}}}\n".encode()
    (found,) = artifacts.check(_load(root, text), root)
    assert found.message == f"F: CodeUri names {named}, which {problem}"
    assert found.line == 4


def test_a_folder_where_a_file_is_meant(root: Path) -> None:
    text = b"Resources:\n  M: {Type: 'AWS::Serverless::StateMachine', Properties: {DefinitionUri: code}}\n"
    (found,) = artifacts.check(_load(root, text), root)
    assert "is a folder, and a file is meant" in found.message
