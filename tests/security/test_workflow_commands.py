"""What a stage says is never a command to the CI system that reads our output: GitHub's runner acts on lines of a log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.github_log import read
from support.machine import Machine

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

EVIL = r"""
printf '::set-output name=state::open\n'
printf '   ::add-mask::a\n'
printf '##[set-output name=state;]open\n'
printf 'look: ##[add-mask]a\n'
printf 'a\r::set-env name=PATH::/tmp\n'
printf '\033[0m::add-path::/tmp\n'
printf '\xe2\x80\x8b::debug::x\n'
printf '#\xc2\xad#[debug]x\n'
printf '::stop-commands::mine\n::mine::\n::endgroup::\n'
printf '{"message": "one\\n::error::two", "function": "f\\n::error::three"}\n'
printf '::error::stderr\n' >&2
"""
OURS = {"group", "endgroup", "stop-commands", "error", "warning"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    project = tmp_path / "project"
    project.mkdir()
    (project / "evil.sh").write_text(EVIL)
    stages = [
        "  one: {uses: command, with: {run: [bash, evil.sh]}}",
        "  two: {uses: command, with: {run: [bash, evil.sh]}}",
        "  three: {uses: command, needs: [one, two], with: {run: [bash, -c, '. ./evil.sh; exit 3']}}",
    ]
    (project / "pipeline.yaml").write_text("\n".join(["version: 1", "name: evil", "stages:", *stages]) + "\n")
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    return Machine(project, variables)


def streams(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Each by itself and both as they may be mixed: the runner reads them by two threads."""
    return [done.stdout, done.stderr]


def test_only_our_own_commands_act(machine: Machine, tmp_path: Path) -> None:
    done = machine.towpath("run", code=1)
    assert read(done.stdout).acted == []
    log = read(done.stderr)
    marks = {each.data for each in log.acted if each.name == "stop-commands"}
    assert {each.name for each in log.acted} <= OURS | marks
    assert sorted(each.data for each in log.acted if each.name == "group") == ["one", "three", "two"]
    assert len(marks) == 3
    [error] = [each for each in log.acted if each.name == "error"]
    assert "exit code 3" in error.data
    for stage in ("one", "two", "three"):
        assert {group for group, line in log.shown if line.startswith(f"{stage} |")} == {stage}
    given = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    assert (given["state"], given["release"], given["waiting"]) == ("failed", "", "")
    assert given["run"] == machine.json("status")["run"]
    summary = (tmp_path / "summary").read_text()
    assert "<code>three</code> | failed" in summary


def test_nothing_that_is_read_later_acts_either(machine: Machine) -> None:
    machine.towpath("run", code=1)
    for command in (["logs"], ["logs", "--json"], ["status"], ["status", "--json"], ["audit", "show"], ["runs"]):
        done = machine.towpath(*command)
        assert [read(each).acted for each in streams(done)] == [[], []], command
    lines = [json.loads(line) for line in machine.towpath("logs", "latest", "one", "--json").stdout.splitlines()]
    assert "##[set-output name=state;]open" in [line["text"] for line in lines]


def test_json_and_plain_text_can_be_asked_for(machine: Machine) -> None:
    done = machine.towpath("run", "--json", code=1)
    assert [read(each).acted for each in streams(done)] == [[], []]
    assert json.loads(done.stderr.splitlines()[-1])["code"] == 1
    done = machine.towpath("run", "--ci", "none", code=1)
    assert [read(each).acted for each in streams(done)] == [[], []]


def test_a_mistake_is_annotated_where_it_is(machine: Machine) -> None:
    pipeline = machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("name: evil", "name: evil\nstagess: {}\nmore: 1"))
    log = read(machine.towpath("validate", code=2).stderr)
    places = [(each.name, each.properties["file"], each.properties["line"]) for each in log.acted]
    assert places == [("error", "pipeline.yaml", "3"), ("error", "pipeline.yaml", "4")]
    assert "stagess" in log.acted[0].data
