"""rerun and cancel, as people type them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.machine import Machine
from support.projects import commit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIPELINE = """\
version: 1
name: again
stages:
  make:
    uses: command
    with: {run: [sh, -c, "echo x >> made; cp made $TOWPATH_OUTPUTS/thing/"], outputs: [thing], writes: [.]}
  use:
    uses: command
    needs: [make]
    with: {run: [sh, -c, "test -e ok && cat $TOWPATH_INPUTS/thing/made"], inputs: [thing]}
  after: {uses: command, needs: [use], with: {run: [sh, -c, "touch started; test -e quick || sleep 60"], writes: [.]}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("cp made", "mkdir -p $TOWPATH_OUTPUTS/thing; cp made"))
    commit(tmp_path, "ada", ".towpath/\nmade\nok\nquick\nstarted\n")
    return Machine(tmp_path, {})


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_was_done_is_taken_over_by_a_new_run(machine: Machine) -> None:
    (machine.project / "quick").touch()
    machine.towpath("run", code=1)
    (machine.project / "ok").touch()
    older = machine.json("status")["run"]
    said = machine.towpath("rerun", older, "--from", "use")
    assert f"make | taken over from run {older}, attempt 1" in said.stderr
    assert f"from {older}" in said.stdout
    state = machine.json("status")
    assert state["state"] == "succeeded"
    assert [each["inherited_from"] for each in state["stages"].values()] == [older, None, None]
    assert (machine.project / "made").read_text() == "x\n"
    machine.towpath("audit", "verify", state["run"], code=7)  # nobody said which keys count
    assert f"taken over from run {older}, attempt 1" in machine.towpath("logs", state["run"], "make").stdout


def test_a_source_that_changed_is_refused_by_name_unless_nothing_reads_it(machine: Machine) -> None:
    (machine.project / "quick").touch()
    machine.towpath("run", code=1)
    (machine.project / "pipeline.yaml").write_text(PIPELINE + "# changed\n")
    refused = machine.towpath("rerun", "latest", "--from", "use", code=4)
    assert "files were changed since this run was opened" in refused.stderr
    assert "pipeline.yaml" in refused.stderr


def test_mistakes_are_told_before_a_run_is_opened(machine: Machine) -> None:
    (machine.project / "quick").touch()
    machine.towpath("run", code=1)
    assert "Did you mean 'use'?" in machine.towpath("rerun", "latest", "--from", "used", code=2).stderr
    assert len(machine.json("runs")) == 1
    assert "stage make has succeeded" in machine.towpath("resume", "--again", "make", code=2).stderr
    for names in (["nosuch"], ["use"]):
        machine.towpath("stage", "run", *names, "--run", "new", code=2)
    assert "make has no gate" in machine.towpath("stage", "propose", "make", "--run", "latest", code=2).stderr
    assert len(machine.json("runs")) == 1
    assert "nothing of run" in machine.towpath("cancel", "latest").stderr
    assert machine.towpath("cancel", "latest", "--json").stderr == ""


def test_a_run_is_canceled_by_another_command_and_gone_on_with(machine: Machine) -> None:
    (machine.project / "ok").touch()
    with machine.popen("run") as runner:
        _until((machine.project / "started").exists)
        assert "is under way" in machine.towpath("rerun", "latest", "--from", "make", code=6).stderr
        done = machine.towpath("cancel", "latest")
        assert runner.wait(20) == 143
    assert done.stdout == "after.1  canceled\n"
    assert "asked process" in done.stderr
    assert "after: it was canceled by " in machine.towpath("status").stdout
    (machine.project / "quick").touch()
    assert "was canceled in the middle" in machine.towpath("resume", code=1).stderr
    said = machine.towpath("resume", "--again", "after")
    assert "make was done in attempt 1: thing" in said.stderr
