"""The workflow in docs/how-to/github-actions.md: each job on a machine of its own, and an approver, with nothing shared but a store in S3."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from support.github import Job, Repository
from support.machine import ROOT, TOWPATH, Machine, copy_example
from support.pages import blocks
from support.projects import commit, enrol, enrol_runners

if TYPE_CHECKING:
    from support.github import Run

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PAGE, WORKFLOW = "how-to/github-actions.md", ".github/workflows/deploy.yml"
PEOPLE = """
people:
  ada: {emails: [ada@example.com]}
  test: {emails: [test@example.com], logins: [fork-owner]}
signers: allowed_signers
"""


@pytest.fixture
def aws(embedded: dict[str, str]) -> dict[str, str]:
    """The AWS that all of them reach, each by a bridge; what signing in gives a job."""
    home = Path(embedded["TOWPATH_EMBEDDED_HOME"])
    running = json.loads((home / "daemon.json").read_text())
    account = {
        "TOWPATH_EMBEDDED_HOME": str(home),
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{running['port']}",
        "AWS_ACCESS_KEY_ID": "777777777777",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "eu-central-1",
    }
    bucket: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    boto3.client(
        "s3",
        endpoint_url=account["AWS_ENDPOINT_URL_S3"],
        region_name=account["AWS_REGION"],
        aws_access_key_id=account["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key="any",
    ).create_bucket(Bucket="records", **bucket)
    return {**account, "ports": f"{running['port']} {running['registry_url'].rpartition(':')[2]}"}


@pytest.fixture
def repository(tmp_path: Path, aws: dict[str, str], base_image: str) -> Repository:
    origin = tmp_path / "origin"
    copy_example(origin, "2005", own_registry=True)
    shutil.copytree(ROOT / ".github", origin / ".github")
    [(origin / WORKFLOW).write_text(each) for each in blocks(PAGE, "yaml") if each.startswith("name: Deploy")]
    enrol(origin, tmp_path, "ada")
    pipeline, environments = origin / "pipeline.yaml", origin / "pipeline.d/environments.yaml"
    text = pipeline.read_text().replace("public.ecr.aws/lambda/python:3.12", base_image)
    before, _, _ = text.partition("  # Make a CloudFormation change set")
    stage = "  deploy-production: {uses: deploy, needs: [package], environment: production}\n"
    pipeline.write_text(before + stage + PEOPLE)
    head, production = environments.read_text().split("\nproduction:")
    gated = production.replace("approvals: none", "approvals: {people: 1, from: [ada]}\n  scan: required", 1)
    environments.write_text(f"{head}\nproduction:{gated}")
    commit(origin, "test")
    enrol_runners(tmp_path)

    def load_base_image(machine: Machine) -> None:
        """On GitHub it is pulled."""
        load = ["docker", "--host", machine.variables["DOCKER_HOST"], "load", "--quiet"]
        with subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE) as save:
            subprocess.run(load, stdin=save.stdout, stdout=subprocess.DEVNULL, check=True)
        assert save.returncode == 0

    return Repository(
        origin,
        tmp_path,
        WORKFLOW,
        secrets={"TOWPATH_KEY": (tmp_path / "builder").read_text()},
        environments={"production": {"TOWPATH_KEY": (tmp_path / "gate").read_text()}},
        variables={"TOWPATH_TRUST": (tmp_path / "trust").read_text()},
        prepare={"build": load_base_image},
        account={name: value for name, value in aws.items() if name != "ports"},
        reach=[int(port) for port in aws["ports"].split()],
    )


def approver(repository: Repository) -> Machine:
    """Somebody's machine, with a key in ~/.ssh, credentials for the store, and nothing of the project."""
    home = repository.folder / "adas-machine"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for name in ("ada", "ada.pub"):
        shutil.copy(repository.folder / name, home / ".ssh" / name.replace("ada", "id_ed25519"))
    variables = {name: value for name, value in (repository.account or {}).items() if name.startswith("AWS_")}
    nowhere = {"DOCKER_HOST": f"unix://{home}/there-is-none", "TOWPATH_EMBEDDED_HOME": str(home / "none")}
    own = {"HOME": str(home), "SSH_AUTH_SOCK": "", "TOWPATH_TRUST": str(repository.folder / "trust")}
    return Machine(home, {**variables, **nowhere, **own, "TOWPATH_STORE": "s3://records/shop"})


def approve(machine: Machine) -> str:
    [typed] = [each for each in blocks(PAGE, "sh") if "export TOWPATH_STORE" in each]
    path = f"{Path(TOWPATH).parent}:{machine.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        cwd=machine.project,
        env={**machine.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(repository: Repository, run: Run, name: str) -> Job:
    run.jobs[name] = repository.job(run, name)
    assert run.jobs[name].result == "success", run.failures
    return run.jobs[name]


def test_from_a_push_to_production_with_nothing_shared_but_the_store(repository: Repository) -> None:
    run = repository.start()
    ran(repository, run, "build")
    ran(repository, run, "package")
    run.jobs["staging"] = Job("success")  # as the other stages of its kind
    proposing = ran(repository, run, "propose")
    assert proposing.outputs["waiting"] == "deploy-production"
    assert "waits for approval: nothing is deployed" in proposing.summary
    assert "Add  HelloWorld" in proposing.summary
    assert repository.job(run, "apply").result == "skipped"

    machine = approver(repository)
    assert "deploy-production: open" in approve(machine)
    later = repository.start(run=proposing.outputs["run"])
    ran(repository, later, "apply")

    state = machine.json("status", "latest")
    assert (state["run"], state["state"]) == (proposing.outputs["run"], "succeeded")
    assert f"run {state['run']}  demo-app  authentic" in machine.towpath("audit", "verify", "latest").stdout
    functions = {name: each["image"] for name, each in state["stages"]["package"]["facts"]["functions"].items()}
    running = {name: each["image"] for name, each in state["stages"]["deploy-production"]["facts"]["functions"].items()}
    assert running == functions
    assert all(re.fullmatch(r".*@sha256:[0-9a-f]{64}", image) for image in running.values())
    here = Machine(machine.project)
    endpoints = state["stages"]["deploy-production"]["facts"]["endpoints"]
    assert here.get(endpoints["HolaWorldApi"]) == {"message": "hola mundo"}
    engines = {job.engine for job in (*run.jobs.values(), *later.jobs.values()) if job.engine}
    assert len(engines) == 4
