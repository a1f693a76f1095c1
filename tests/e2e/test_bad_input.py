"""Mistakes as a user makes them: one clear message with place and remedy, the right exit code, nothing half-done."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from pipeline.record import artifacts
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.machine import Machine

pytestmark = pytest.mark.engine

Break = tuple[str, str, str]
"""A file of the project, a text in it, and what to put in its place."""

TEMPLATE = "examples/demo-app/template.yaml"

MISTAKES: dict[str, tuple[Break, str]] = {
    "a misspelt key": (
        ("pipeline.yaml", "    needs: [build]", "    neds: [build]"),
        r"pipeline.yaml:\d+:\d+: .*neds.*\n.*\n.*needs",
    ),
    "an unknown kind": (
        ("pipeline.yaml", "uses: package", "uses: pakage"),
        r"pipeline.yaml:\d+:\d+: .*pakage.*\n.*\n.*package",
    ),
    "a cycle": (
        ("pipeline.yaml", "needs: [build]", "needs: [smoke]"),
        r"need each other: scan -> smoke -> deploy-staging -> package -> scan",
    ),
    "a missing template": (
        ("pipeline.yaml", TEMPLATE, "examples/demo-app/tmplate.yaml"),
        r"pipeline.yaml:\d+:\d+: .*tmplate.yaml.*\n.*\n.*template.yaml",
    ),
    "a missing Dockerfile": (
        (TEMPLATE, "Dockerfile: Dockerfile", "Dockerfile: Dockerfil"),
        r"template.yaml:\d+:\d+: .*Dockerfil",
    ),
    "a context outside": (
        (TEMPLATE, "DockerContext: ./hello_world", "DockerContext: ../../../"),
        r"template.yaml:\d+:\d+: .*outside",
    ),
    "a function without Metadata": ((TEMPLATE, "Metadata:", "Metadat:"), r"template.yaml:\d+:\d+: .*Metadata"),
    "an include outside": (
        ("pipeline.yaml", "!include pipeline.d", "!include ../pipeline.d"),
        r"pipeline.yaml:\d+:\d+: .*upwards",
    ),
    "an include that is a URL": (
        ("pipeline.yaml", "!include pipeline.d", "!include file:///etc"),
        r"pipeline.yaml:\d+:\d+: .*URL",
    ),
}


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".git/" not in str(path)}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file(example: Callable[[], Machine], mistake: str) -> None:
    machine = example()
    (name, old, new), says = MISTAKES[mistake]
    path = machine.project / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    before = everything(machine.project)
    for command in ("validate", "run"):
        said = machine.towpath(command, code=2).stderr
        assert re.search(says, said), said
    assert everything(machine.project) == before
    error = json.loads(machine.towpath("run", "--json", code=2).stderr)
    assert error["code"] == 2
    assert error["problems"][0]["message"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{before}'] * 9)}]\n" for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [BOMB, "[" * 100_000, "{" * 100_000, "a: \x00", "\xff" * 10, "- - -\n a", ""])
@pytest.mark.parametrize("name", ["pipeline.yaml", "pipeline.d/environments.yaml", TEMPLATE])
def test_hostile_and_broken_yaml(example: Callable[[], Machine], name: str, text: str) -> None:
    machine = example()
    (machine.project / name).write_bytes(text.encode("latin-1"))
    said = machine.towpath("validate", code=2, timeout_s=20).stderr
    assert name.rpartition("/")[2] in said, said
    assert len(said) < 5_000


def test_no_engine(example: Callable[[], Machine], tmp_path: Path) -> None:
    machine = example()
    machine.variables = {**machine.variables, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    said = machine.towpath("run", code=1).stderr
    assert "no.sock" in said
    assert machine.json("status")["stages"]["build"]["state"] == "failed"


def test_the_wrong_account(example: Callable[[], Machine]) -> None:
    """Real credentials of one account, a definition that names another: refused before anything is done."""
    machine = example()
    machine.towpath("stage", "run", "build", "--run", "new")
    environments = machine.project / "pipeline.d/environments.yaml"
    environments.write_text(environments.read_text().replace("\n  aws: embedded", "\n  aws: real", 1))
    endpoint = machine.json("embedded", "status")["endpoint_url"]
    machine.variables = {
        **machine.variables,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "999999999999",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    config = machine.project / "aws-config"
    config.write_text(f"[default]\nendpoint_url = {endpoint}\n")
    machine.variables["AWS_CONFIG_FILE"] = str(config)
    said = machine.towpath("run", code=1).stderr
    assert "999999999999" in said
    assert "111111111111" in said, said


def test_a_changed_artifact(example: Callable[[], Machine]) -> None:
    machine = example()
    state = machine.json("stage", "run", "build", "scan", "package", "--run", "new")
    store = open_store(machine.project / ".towpath/store", create=False)
    files = artifacts.manifest(store, state["stages"]["package"]["outputs"]["release"])
    template = next(file for file in files if file.path == "packaged-template.yaml")
    blob = store.root / artifacts.blob_key(template.sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"Timeout: 3", b"Timeout: 9"))
    said = machine.towpath("stage", "run", "deploy-staging", "--run", "latest", code=4).stderr
    assert "packaged-template.yaml" in said


def test_a_template_edited_after_the_run_was_opened(example: Callable[[], Machine]) -> None:
    machine = example()
    run = machine.json("stage", "run", "build", "--run", "new")["run"]
    (machine.project / TEMPLATE).write_text("changed: true\n")
    assert machine.json("stage", "run", "scan", "package", "--run", run)["stages"]["package"]["state"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["status"], "towpath run"),
        (["run", "-p", "base-imgae=x"], "base-image"),
        (["run", "-p", "base-image"], "base-image=VALUE"),
        (["run", "-f", "pipelin.yaml"], "pipeline.yaml"),
        (["stage", "run", "build"], "--run"),
        (["run", "--jobs", "0"], "--jobs"),
        (["run", "-f", "pipeline.yaml", "--project", "examples"], "--project"),
        (["stage", "run", "build", "--run", "latest", "-p", "fail-on=LOW"], "--run new"),
    ],
)
def test_a_mistake_on_the_command_line(example: Callable[[], Machine], arguments: list[str], says: str) -> None:
    machine = example()
    said = machine.towpath(*arguments, code=2).stderr
    assert says in said, said
