"""lock and unlock, as people type them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import Machine

from pipeline.cli.lock import chosen
from pipeline.environments import Place
from pipeline.errors import UsageError
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = """
version: 1
name: demo
environments:
  production: {account: "111122223333", region: eu-central-1, stack: demo, approvals: none}
stages:
  migrate: {uses: command, environment: production, with: {run: ['true']}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.yaml").write_text(DEFINITION)
    for arguments in (["init", "-q"], ["config", "user.email", "ada@example.com"]):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    variables = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TOWPATH_CI": "none"}
    return Machine(project, variables)


def test_a_locked_environment_holds_a_run_until_it_is_unlocked(machine: Machine) -> None:
    said = machine.towpath("lock", "production", "--reason", "incident 4711").stdout
    assert "production: locked by ada@example.com since 20" in said
    assert said.rstrip().endswith(": incident 4711")
    assert "incident 4711" in machine.towpath("lock", "production", "--reason", "mine", code=6).stderr
    blocked = machine.towpath("run", code=6)
    assert "incident 4711" in blocked.stderr
    assert "incident 4711" in machine.towpath("status").stdout
    assert "incident 4711" in machine.towpath("gate", "check", "latest", "migrate", code=6).stdout
    assert machine.json("gate", "check", "latest", "migrate", code=6)["state"] == "locked"
    assert machine.json("unlock", "production", "--reason", "over")["lock"] is None
    machine.towpath("resume")
    assert "it is not locked" in machine.towpath("unlock", "production", "--reason", "again", code=2).stderr


def test_a_lock_of_a_target_that_its_environment_has_no_more_is_taken_away_by_name(machine: Machine) -> None:
    old, definition = "aws.111122223333.eu-central-1.demo", machine.project / "pipeline.yaml"
    machine.towpath("lock", "production", "--reason", "incident 4711")
    definition.write_text(DEFINITION.replace("stack: demo", "stack: other"))
    refused = machine.towpath("unlock", "production", "--reason", "over", code=2).stderr
    assert f"it is not locked\n       Locked is: {old}. To unlock it: towpath unlock {old} --reason" in refused
    unlocked = machine.json("unlock", old, "--reason", "over")
    assert (unlocked["ledger"], unlocked["lock"]) == (f"ledgers/{old}", None)


def place(name: str, stack: str = "demo", region: str = "eu-central-1") -> Place:
    return Place(name, Target(name, "111122223333", region, stack=stack), defined=True)


@pytest.mark.parametrize(
    ("name", "ledger"),
    [
        ("live", "eu-central-1.demo"),
        ("production", "us-east-1.moved"),  # as the definition has it, whatever was called so before
        ("staging", "eu-central-1.removed"),
        ("aws.111122223333.eu-central-1.gone", "eu-central-1.gone"),
        ("aws.111122223333.eu-central-1.demo", "eu-central-1.demo"),
    ],
)
def test_an_environment_is_found_by_its_name_or_by_that_of_its_ledger(name: str, ledger: str) -> None:
    defined = [place("live"), place("production", "moved", "us-east-1")]
    others = [place("production", "gone"), place("staging", "removed")]
    assert chosen(name, defined, others) == f"ledgers/aws.111122223333.{ledger}"


def test_of_targets_that_were_called_the_same_none_is_guessed() -> None:
    with pytest.raises(UsageError, match="several targets were called 'production'") as refused:
        chosen("production", [], [place("production"), place("production", region="us-east-1")])
    both = "aws.111122223333.eu-central-1.demo, aws.111122223333.us-east-1.demo"
    assert refused.value.hint == f"Name one of them: {both}"


def test_what_is_wrong_with_what_was_typed(machine: Machine) -> None:
    assert "there is no environment 'prod'" in machine.towpath("lock", "prod", "--reason", "x", code=2).stderr
    assert "reason" in machine.towpath("lock", "production", "--reason", " ", code=2).stderr
    assert "reason" in machine.towpath("lock", "production", "--reason", "a\x1b[2J", code=2).stderr
    machine.towpath("run")
    found = machine.towpath("unlock", "production", "--reason", "x", "--run", "latest", code=2)
    assert "is not deploying there" in found.stderr


def test_a_key_that_is_no_gate_locks_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.towpath("run")
    said = machine.towpath("doctor").stdout
    line = next(each for each in said.splitlines() if "ssh-ed25519" in each).partition("FILE: ")[2]
    trust = tmp_path / "trust"
    trust.write_text(line.replace("builder,gate", "builder") + "\n")
    refused = machine.towpath("lock", "production", "--reason", "x", "--trust", str(trust), code=2)
    assert "is not enrolled as gate" in refused.stderr
    trust.write_text(line + "\n")
    machine.towpath("lock", "production", "--reason", "x", "--trust", str(trust))
