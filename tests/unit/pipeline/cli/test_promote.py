"""promote and rollback, as far as they are typed wrong, or change nothing outside."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH, Machine
from support.signing import trust_line
from support.stacks import Town, pipeline

from pipeline.gates.rules import NOBODY
from pipeline.plan import SecretSource
from pipeline.record.store.directory import open_store
from pipeline.signing import keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def town(tmp_path: Path) -> Town:
    project = tmp_path / "project"
    project.mkdir()
    return Town(project, open_store(project / ".towpath/store", create=True))


@pytest.fixture
def machine(town: Town) -> Machine:
    assert town.key.path == town.key_path  # it is made on the first occasion
    return Machine(town.project, {"TOWPATH_CI": "none", "TOWPATH_KEY": str(town.key_path)})


def test_what_cannot_be_promoted_is_told_before_a_run_is_opened(town: Town, machine: Machine) -> None:
    run_id = town.release("one")
    town.upto(run_id, "package", "deploy-staging")
    assert "Did you mean 'production'?" in machine.towpath("promote", run_id, "--to", "prodution", code=2).stderr
    refused = machine.towpath("promote", run_id, "--to", "production", code=6).stderr
    assert f"run {run_id} has not passed what comes before production: smoke (not begun)" in refused
    assert f"towpath stage run smoke --run {run_id}" in refused
    town.drive(run_id)
    told = machine.json("promote", run_id, "--to", "production")
    assert [each["run"] for each in told["already"]] == [run_id]
    assert len(machine.json("runs")) == 1


def test_what_cannot_be_gone_back_to_is_told_before_a_run_is_opened(town: Town, machine: Machine) -> None:
    assert "was deployed to 'production'" in machine.towpath("rollback", "production", code=2).stderr
    run_id = town.release("one")
    town.drive(run_id)
    told = [machine.towpath("rollback", "production", *more, code=7).stderr for more in ([], ["--check"])]
    assert "nothing healthy was deployed there before" in told[0]
    assert told[0] == told[1]
    assert "is what stands there" in machine.towpath("rollback", "production", "--to", run_id, code=6).stderr
    assert len(machine.json("runs")) == 1


def test_a_rollback_whose_secrets_are_not_there_is_refused_before_a_run_is_opened(
    town: Town, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "correct-horse")
    for each in ("one", "two"):
        steps = pipeline(town, each, NOBODY, {})
        secret = {"Token": SecretSource("variable", "SHOP_TOKEN")}
        town.drive(town.begin(*(replace(step, secrets=secret) if step.kind == "deploy" else step for step in steps)))
    monkeypatch.delenv("SHOP_TOKEN")
    assert "not set now: SHOP_TOKEN" in machine.towpath("rollback", "production", "--yes", code=2).stderr
    assert len(machine.json("runs")) == 2


def test_on_a_terminal_it_is_asked_whether_it_is_meant_where_no_gate_asks(town: Town, machine: Machine) -> None:
    for each in ("one", "two"):
        town.drive(town.release(each))
    ours, theirs = os.openpty()
    argv = [TOWPATH, "rollback", "production"]
    with subprocess.Popen(
        argv, cwd=machine.project, env=machine.environment, stdin=theirs, stderr=subprocess.PIPE, text=True
    ) as process:
        os.write(ours, b"n\n")
        _, said = process.communicate(timeout=60)
    assert "Roll production back? [y/N]" in said
    assert "declined: nothing was deployed" in said
    assert process.returncode == 5
    assert "Say that it is meant: --yes" in machine.towpath("rollback", "production", code=2).stderr
    assert machine.towpath("rollback", "production", "--json", code=2).stdout == ""
    assert len(machine.json("runs")) == 2
    os.close(ours)
    os.close(theirs)


def test_a_hold_is_lifted_with_a_reason_and_by_who_may(town: Town, machine: Machine, tmp_path: Path) -> None:
    one, two = town.release("one"), town.release("two")
    for each in (one, two):
        town.drive(each)
    back = town.take_part(one, "rollback")
    town.drive(back)
    (town.project / "pipeline.yaml").write_text("not: [a definition\n")  # somebody edits it just now
    for reason in (" ", "a\x1b[2J"):
        assert "reason" in machine.towpath("rollback", "production", "--lift", "--reason", reason, code=2).stderr
    assert "--reason is for --lift" in machine.towpath("rollback", "production", "--reason", "x", code=2).stderr
    lift = ("rollback", "production", "--lift", "--reason", "mended")
    trust, other = tmp_path / "trust", tmp_path / "other.key"
    keys.make(other)
    trust.write_text(trust_line(town.key.public, "builder,gate") + trust_line(keys.load(other).public, "builder"))
    refused = machine.towpath(*lift, "--trust", str(trust), "--key", str(other), code=2).stderr
    assert "is not enrolled as gate" in refused
    assert "has never written to" in machine.towpath(*lift, "--key", str(other), code=2).stderr
    assert bool(town.book.hold)
    assert machine.json(*lift, "--trust", str(trust))["lifted"]["run"] == back
    assert town.book.hold is None
    assert "nothing is held there" in machine.towpath(*lift, code=2).stderr
