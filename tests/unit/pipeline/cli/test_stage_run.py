"""`stage run` as CI systems call it: jobs that race for one run, and jobs that are run again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.machine import Machine

from pipeline.record import runs
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 8
IDENTITY = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "ada/shop",
    "GITHUB_RUN_ID": "123",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A pipeline of as many stages as there are jobs, none of which needs another, and one that needs all."""
    names = [f"s{number}" for number in range(JOBS)]
    stages = [f"  {name}: {{uses: command, with: {{run: ['true']}}}}" for name in names]
    last = f"  last: {{uses: command, needs: [{', '.join(names)}], with: {{run: ['false']}}}}"
    text = [
        "version: 1",
        "name: race",
        "parameters:",
        "  level: {type: string, default: low}",
        "stages:",
        *stages,
        last,
    ]
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.yaml").write_text("\n".join(text) + "\n")
    return Machine(project, {"XDG_CONFIG_HOME": str(tmp_path / "config"), **IDENTITY, "TOWPATH_CI": "none"})


def test_first_jobs_that_race_share_one_run(machine: Machine) -> None:
    racing = [machine.popen("stage", "run", f"s{number}", "--run", "auto", "--json") for number in range(JOBS)]
    states = []
    for each in racing:
        with each:
            out, err = each.communicate(timeout=60)
        assert each.returncode == 0, err
        states.append(json.loads(out))
    [run_id] = {state["run"] for state in states}
    store = open_store(machine.project / ".towpath/store", create=False)
    run = runs.load(store, run_id)
    assert run.data["identity"] == "github https://github.com ada/shop 123"
    assert {name: len(attempts) for name, attempts in run.attempts.items()} == {f"s{n}": 1 for n in range(JOBS)}
    assert machine.json("status", "auto")["run"] == machine.json("status", "latest")["run"] == run_id
    unused = [each for each in machine.json("runs") if each["run"] != run_id]
    assert {each["state"] for each in unused} <= {"unused"}
    machine.towpath("audit", "verify", "auto", code=7)
    assert machine.json("audit", "verify", "--all", code=7)["store"] == []


def test_a_job_that_is_run_again_finds_its_stage_done(machine: Machine) -> None:
    first = machine.json("stage", "run", "s0", "--run", "auto")
    assert first["already_done"] == {}
    machine.variables["GITHUB_RUN_ATTEMPT"] = "2"
    again = machine.json("stage", "run", "s0", "--run", "auto")
    assert again["run"] == first["run"]
    assert again["already_done"]["s0"]["attempt"] == 1
    assert again["stages"] == first["stages"]
    said = machine.towpath("stage", "run", "s0", "s1", "--run", "auto").stderr
    assert "s0: already done in attempt 1 by process" in said
    assert "s1 | succeeded" in said
    machine.variables["GITHUB_RUN_ID"] = "124"
    assert machine.json("stage", "run", "s0", "--run", "auto")["run"] != first["run"]


def test_a_stage_that_failed_is_tried_again(machine: Machine) -> None:
    names = [f"s{number}" for number in range(JOBS)]
    machine.towpath("stage", "run", *names, "--run", "auto")
    machine.towpath("stage", "run", *names, "last", "--run", "auto", code=1)
    state = machine.json("stage", "run", *names, "last", "--run", "auto", code=1)
    assert set(state["already_done"]) == set(names)
    assert state["stages"]["last"]["attempt"] == 2


def test_what_does_not_fit_the_run_that_is_there_is_refused(machine: Machine) -> None:
    machine.towpath("stage", "run", "s0", "--run", "auto", "-p", "level=high")
    machine.towpath("stage", "run", "s1", "--run", "auto", "-p", "level=high")
    assert (
        "level=high, and not low"
        in machine.towpath("stage", "run", "s2", "--run", "auto", "-p", "level=low", code=2).stderr
    )
    pipeline = machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("name: race", "name: other"))
    said = machine.towpath("stage", "run", "s2", "--run", "auto", code=2).stderr
    assert "is of the pipeline 'race'" in said
    assert "--run auto:other" in said
    machine.towpath("stage", "run", "s2", "--run", "auto:other")
    machine.variables["GITHUB_RUN_ID"] = "124"
    assert "there is no run of github" in machine.towpath("status", "auto", code=2).stderr


WITH_A_SECRET = """
version: 1
name: shop
environments: {live: {account: "111122223333", region: eu-west-1, approvals: none}}
secrets: {TOKEN: {variable: SHOP_TOKEN}}
stages:
  first: {uses: command, with: {run: ["true"]}}
  migrate: {uses: command, needs: [first], environment: live, secrets: [TOKEN], with: {run: ["true"]}}
"""


def test_a_secret_that_is_not_there_uses_up_nothing_that_is_proposed(machine: Machine) -> None:
    (machine.project / "pipeline.yaml").write_text(WITH_A_SECRET)
    machine.variables["SHOP_TOKEN"] = "correct-horse"
    machine.towpath("stage", "run", "first", "--run", "auto")
    machine.towpath("stage", "propose", "migrate", "--run", "auto")
    del machine.variables["SHOP_TOKEN"]
    said = machine.towpath("stage", "apply", "migrate", "--run", "auto", code=2).stderr
    assert "not set: SHOP_TOKEN" in said
    machine.variables["SHOP_TOKEN"] = "correct-horse"
    assert machine.json("stage", "apply", "migrate", "--run", "auto")["state"] == "succeeded"
