"""The example pipeline, by its commands, as a user would."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import docker
import pytest
from support.machine import second_machine

from pipeline.record import artifacts
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.machine import Machine

pytestmark = pytest.mark.engine

STAGES = ["build", "scan", "package", "deploy-staging", "smoke", "deploy-production"]


def release(machine: Machine, state: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The release that the run packaged: release.json, and the template's bytes."""
    store = open_store(machine.project / ".towpath/store", create=False)
    folder = machine.project / f"release-{state['run']}"
    artifacts.materialise(store, state["stages"]["package"]["outputs"]["release"], folder)
    return json.loads((folder / "release.json").read_text()), (folder / "packaged-template.yaml").read_bytes()


def endpoints(state: dict[str, Any], stage: str) -> dict[str, str]:
    found: dict[str, str] = state["stages"][stage]["facts"]["endpoints"]
    return found


def test_from_source_to_production(example: Callable[[], Machine]) -> None:
    check_main_job(example(), r"\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com/demo-app")


def check_main_job(machine: Machine, repository: str, *parameters: str) -> None:
    """Run the example from its source to production, and hold what runs against what was packaged.

    `repository` is a pattern, `parameters` are options of `towpath run`. The same runs on a real account: tests/live.
    """
    assert "6 stages" in machine.towpath("validate").stdout
    assert [stage["name"] for stage in machine.json("plan")["stages"]] == STAGES
    state = machine.json("run", *parameters)
    assert {name: stage["state"] for name, stage in state["stages"].items()} == dict.fromkeys(STAGES, "succeeded")

    for stage in ("deploy-staging", "deploy-production"):
        assert machine.get(endpoints(state, stage)["HelloWorldApi"]) == {"message": "hello world"}
        assert machine.get(endpoints(state, stage)["HolaWorldApi"]) == {"message": "hola mundo"}

    pinned, template = release(machine, state)
    uris = re.findall(rb"ImageUri: *(\S+)", template)
    assert len(uris) == 2
    assert all(re.fullmatch(repository.encode() + rb"@sha256:[0-9a-f]{64}", uri) for uri in uris)
    for stage in ("deploy-staging", "deploy-production"):
        running = {name: each["image"] for name, each in state["stages"][stage]["facts"]["functions"].items()}
        assert running == {name: each["image"] for name, each in pinned["functions"].items()}

    original = (machine.project / "examples/demo-app/template.yaml").read_text().splitlines()
    assert [line for line in template.decode().splitlines() if line not in original] == [
        line for line in template.decode().splitlines() if "ImageUri:" in line
    ]

    run = state["run"]
    assert machine.json("status", run) == machine.json("status", "latest")
    assert [each["run"] for each in machine.json("runs")] == [run]
    said = machine.towpath("logs", run).stdout
    assert "HelloWorldFunction" in said
    lines = [json.loads(line) for line in machine.towpath("logs", run, "deploy-staging", "--json").stdout.splitlines()]
    assert {line["stage"] for line in lines} == {"deploy-staging"}


def test_a_scan_stands_between_the_images_and_everything_else(example: Callable[[], Machine]) -> None:
    """One planted advisory of severity HIGH: nothing is pushed, and the run says what is wrong and what mends it."""
    machine = example()
    planted = machine.project / "examples/advisories/debian/DSA-5532-1.json"
    planted.write_text(planted.read_text().replace('"fixed": "3.', '"fixed": "9.'))
    state = machine.json("run", code=1)
    stages = {name: stage["state"] for name, stage in state["stages"].items()}
    assert stages == {**dict.fromkeys(STAGES, "pending"), "build": "succeeded", "scan": "failed"}
    assert state["stages"]["scan"]["facts"]["scan"]["verdict"] == "FAIL"
    said = machine.towpath("logs", state["run"], "scan").stdout
    assert re.search(r"HIGH DSA-5532-1 \(CVE-2023-5363\) in libssl3 \S+: fixed in 9\.", said)
    passed = machine.json("run", "--parameter", "fail-on=CRITICAL", code=0)
    assert passed["stages"]["scan"]["facts"]["scan"]["verdict"] == "PASS"


def test_functions_run_from_the_very_images_that_were_pushed(example: Callable[[], Machine]) -> None:
    machine = example()
    state = machine.json("run")
    machine.get(endpoints(state, "deploy-staging")["HelloWorldApi"])
    pinned, _ = release(machine, state)
    configs = {each["config"] for each in pinned["functions"].values()}
    engine = docker.from_env()
    try:
        running = {container.attrs["Image"] for container in engine.containers.list()}
    finally:
        engine.close()
    assert configs & running


def test_nothing_changed_deploys_nothing(example: Callable[[], Machine]) -> None:
    machine = example()
    first, second = machine.json("run"), machine.json("run")
    assert second["state"] == "succeeded"
    assert release(machine, first)[1] == release(machine, second)[1]
    assert "nothing to change" in machine.towpath("logs", second["run"], "deploy-production").stdout.lower()


def test_one_stage_a_command_and_the_rest_on_another_machine(example: Callable[[], Machine], tmp_path: Path) -> None:
    """Build here; move the store; package, deploy and call where neither images nor source have ever been."""
    here = example()
    run = here.json("stage", "run", "build", "--run", "new", "--parameter", "carrier=oci-layout")["run"]

    moved = tmp_path / "elsewhere"
    shutil.copytree(here.project / ".towpath/store", moved / ".towpath/store")
    with second_machine(moved) as there:
        for stage in STAGES[1:-1]:
            there.json("stage", "run", stage, "--run", run)
        state = there.json("stage", "run", STAGES[-1], "--run", run)
        assert state["state"] == "succeeded"
        assert there.get(endpoints(state, "deploy-production")["HolaWorldApi"]) == {"message": "hola mundo"}
        assert there.json("resume", run)["stages"]["build"]["attempt"] == 1


def test_a_folder_named_stages_in_the_project_is_not_imported(example: Callable[[], Machine]) -> None:
    machine = example()
    for package in ("stages", "pipeline"):
        decoy = machine.project / package
        decoy.mkdir()
        for module in ("__init__", "__main__", "contract", "build"):
            (decoy / f"{module}.py").write_text("import os; os.mkdir('imported')\n")
    machine.towpath("validate")
    machine.towpath("stage", "run", "build", "--run", "new")
    assert not list(machine.project.rglob("imported"))
