from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline import source
from pipeline.errors import VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "app.py").write_text("one\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_commit(project: Path) -> None:
    state = source.state(project)
    assert state["clean"]
    assert len(state["commit"]) == 40
    source.compare(state, source.state(project))


def test_our_own_folder_does_not_make_it_unclean(project: Path) -> None:
    (project / ".towpath").mkdir()
    (project / ".towpath/x").write_text("")
    assert source.state(project)["clean"]


def test_another_commit_is_refused(project: Path) -> None:
    opened = source.state(project)
    git(project, "commit", "--allow-empty", "-qm", "two")
    with pytest.raises(VerificationFailed, match="this run was opened at"):
        source.compare(opened, source.state(project))


def test_a_changed_file_is_named(project: Path) -> None:
    opened = source.state(project)
    (project / "app.py").write_text("two\n")
    with pytest.raises(VerificationFailed, match=r"files were changed .*: app\.py"):
        source.compare(opened, source.state(project))


def test_what_a_stage_leaves_untracked_is_recorded_and_not_refused(project: Path) -> None:
    opened = source.state(project)
    (project / "cache").write_text("")
    state = source.state(project)
    assert not state["clean"]
    source.compare(opened, state)


def test_what_was_no_commit_to_begin_with_cannot_be_held_to_one(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "app.py").write_text("draft\n")
    opened = source.state(project)
    (project / "app.py").write_text("other draft\n")
    source.compare(opened, source.state(project))
    without = source.state(tmp_path_factory.mktemp("plain"))
    assert without == {"commit": None, "clean": None, "changed": []}
    source.compare(without, opened)


def test_to_look_at_a_project_runs_no_program_that_it_names(project: Path, tmp_path: Path) -> None:
    """Catches a stage's way out: Git runs what a project's configuration says, as whoever runs Git."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'run'}\n")
    program.chmod(0o755)
    git(project, "config", "core.fsmonitor", str(program))
    (project / "app.py").write_text("two\n")
    assert source.state(project)["changed"] == ["app.py"]
    assert not (tmp_path / "run").exists()
    git(project, "status")
    assert (tmp_path / "run").exists()  # or this test shows nothing
