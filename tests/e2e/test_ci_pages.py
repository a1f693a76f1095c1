"""docs/how-to/gitlab.md and codepipeline.md: what they have jobs and people do is done, each job in a clone and a home of its own.

The stages are programs, as this is about commands and how a run goes from job to job; tests/e2e/test_five_machines.py has the real ones.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from support.machine import Machine
from support.pages import blocks
from support.projects import commit, enrol, enrol_runners

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PIPELINE = """\
version: 1
name: shop
parameters:
  carrier: {type: string, default: engine}
people:
  ada: {emails: [ada@example.com]}
  test: {emails: [test@example.com], logins: [test-on-ci]}
signers: allowed_signers
environments:
  staging: {account: "222222222222", region: eu-central-1, stack: shop, approvals: none}
  production: {account: "333333333333", region: eu-central-1, stack: shop, approvals: {people: 1, from: [ada]}}
stages:
  build: {uses: command, with: {run: ["true"]}}
  scan: {uses: command, needs: [build], with: {run: ["true"]}}
  package: {uses: command, needs: [scan], with: {run: ["true"]}}
  deploy-staging: {uses: command, needs: [package], environment: staging, with: {run: ["true"]}}
  smoke: {uses: command, needs: [deploy-staging], with: {run: ["true"]}}
  deploy-production: {uses: command, needs: [smoke], environment: production, with: {run: ["true"]}}
"""
STORE = "s3://records/shop"


@dataclass
class Place:
    """Where jobs and people work: a repository, a store, and the keys that count."""

    folder: Path
    origin: Path
    count: int = 0
    jobs: list[str] = field(default_factory=list)

    @property
    def store(self) -> str:
        return str(self.folder / "store")

    def machine(self, variables: Mapping[str, str]) -> Machine:
        """A machine that nothing else has been on."""
        self.count += 1
        place = self.folder / f"machine-{self.count}"
        place.mkdir()
        subprocess.run(["git", "clone", "--quiet", f"file://{self.origin}", str(place / "clone")], check=True)
        own = {"HOME": str(place), "XDG_CONFIG_HOME": str(place / "config"), "TOWPATH_STORE": self.store}
        return Machine(place / "clone", {**variables, **own})

    def run(self, commands: list[str], variables: Mapping[str, str], code: int = 0) -> tuple[Machine, str]:
        """Run the commands of a job, as CI systems do."""
        machine = self.machine(variables)
        argv = ["bash", "-eo", "pipefail", "-c", "\n".join(commands)]
        done = subprocess.run(
            argv,
            cwd=machine.project,
            env=environment(machine),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return machine, done.stdout + done.stderr

    def approve(self, page: str) -> None:
        """Type what a page has people do, where nothing is but a key in ~/.ssh."""
        [typed] = [each for each in blocks(page, "sh") if "towpath approve" in each]
        machine = self.machine({"TOWPATH_TRUST": str(self.folder / "trust")})
        ssh = machine.project.parent / ".ssh"
        ssh.mkdir(mode=0o700)
        for name in ("ada", "ada.pub"):
            (ssh / name.replace("ada", "id_ed25519")).write_bytes((self.folder / name).read_bytes())
        (ssh / "id_ed25519").chmod(0o600)
        assert f"export TOWPATH_STORE={STORE}\n" in typed
        script = typed.replace(STORE, self.store)
        argv = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            argv, cwd=ssh, env=environment(machine), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "deploy-production: open" in done.stdout

    def state(self) -> Any:
        machine = Machine(self.origin, {"TOWPATH_STORE": self.store, "XDG_CONFIG_HOME": str(self.folder)})
        return machine.json("status", "latest")


def environment(machine: Machine) -> dict[str, str]:
    from support.machine import TOWPATH

    path = f"{TOWPATH.removesuffix('/towpath')}:{machine.environment['PATH']}"
    return {**machine.environment, "PATH": path, "SSH_AUTH_SOCK": ""}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "pipeline.yaml").write_text(PIPELINE)
    enrol(origin, tmp_path, "ada")
    commit(origin, "test")
    enrol_runners(tmp_path)
    return Place(tmp_path, origin)


def test_gitlab(place: Place) -> None:
    [page] = [yaml.safe_load(each) for each in blocks("how-to/gitlab.md", "yaml")]
    jobs = {name: job for name, job in page.items() if isinstance(job, dict) and "script" in job}
    assert [job["stage"] for job in jobs.values()] == page["stages"]
    assert set(page["variables"]) >= {"TOWPATH_STORE", "AWS_WEB_IDENTITY_TOKEN_FILE"}
    assert page["variables"]["TOWPATH_STORE"] == STORE

    def variables(name: str) -> dict[str, str]:
        gate = "environment" in jobs[name]
        ours = {
            "GITLAB_CI": "true",
            "CI_SERVER_URL": "https://gitlab.com",
            "CI_PROJECT_ID": "7",
            "CI_PIPELINE_ID": "99",
            "CI_JOB_ID": str(place.count),
            "GITLAB_USER_LOGIN": "test-on-ci",
            "AWS_ID_TOKEN": "a-token",
            "TOWPATH_KEY": str(place.folder / ("gate" if gate else "builder")),
            "TOWPATH_TRUST": str(place.folder / "trust"),
        }
        token = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(place.folder / "aws-id-token")}
        return {**page["variables"], **jobs[name]["variables"], **ours, **token}

    def job(name: str, code: int = 0) -> tuple[Machine, str]:
        return place.run([*page["default"]["before_script"], *jobs[name]["script"]], variables(name), code)

    machine, said = job("build")
    assert "section_start:" in said
    run_id = place.state()["run"]
    given = (machine.project / "towpath.env").read_text().splitlines()
    assert given == [f"TOWPATH_RUN={run_id}", "TOWPATH_STATE=unfinished", "TOWPATH_RELEASE="]
    [suite] = ET.parse(machine.project / "junit.xml").getroot()  # noqa: S314 - we wrote it
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "0", "4")
    assert "build: already done in attempt 1" in job("build")[1]
    for name in ("package", "staging", "propose"):
        job(name)
    assert "0 of 1 approved" in job("production", code=75)[1]
    place.approve("how-to/gitlab.md")
    job("production")
    state = place.state()
    assert (state["run"], state["state"], state["requester"]["login"]) == (run_id, "succeeded", "test-on-ci")
    job("production")


def test_codepipeline(place: Place) -> None:
    pipeline, project = (yaml.load(each, _Tags) for each in blocks("how-to/codepipeline.md", "yaml"))  # noqa: S506 - ours
    properties = project["ProductionProject"]["Properties"]
    buildspec = yaml.safe_load(properties["Source"]["BuildSpec"])
    fixed = {each["Name"]: each["Value"] for each in properties["Environment"]["EnvironmentVariables"]}
    assert fixed["TOWPATH_STORE"] == STORE
    actions = {
        each["Name"]: each["Configuration"]
        for stage in pipeline["Resources"]["Pipeline"]["Properties"]["Stages"]
        for each in stage["Actions"]
        if each["ActionTypeId"]["Provider"] == "CodeBuild"
    }
    assert list(actions) == ["Build", "Package", "Staging", "Propose", "Apply"]
    filled = {"#{codepipeline.PipelineExecutionId}": "0f3c2f6e-7d0a", "#{Source.AuthorEmail}": "test@example.com"}

    def action(name: str, code: int = 0) -> str:
        listed = json.loads(actions[name]["EnvironmentVariables"])
        given = {each["name"]: filled.get(each["value"], each["value"]) for each in listed}
        key = "gate" if actions[name]["ProjectName"] in ("towpath-staging", "towpath-production") else "builder"
        secret = {"KEY": (place.folder / key).read_text(), "TRUST": (place.folder / "trust").read_text()}
        commands = [line for phase in ("pre_build", "build") for line in buildspec["phases"][phase]["commands"]]
        return place.run(commands, {"CODEBUILD_BUILD_ID": "x:1", **given, **secret}, code)[1]

    for name in ("Build", "Package", "Staging", "Propose"):
        action(name)
    state = place.state()
    assert state["requester"]["login"] == "test@example.com"
    assert "0 of 1 approved" in action("Apply", code=75)
    place.approve("how-to/codepipeline.md")
    action("Apply")
    assert place.state()["state"] == "succeeded"
    assert place.state()["run"] == state["run"]


class _Tags(yaml.SafeLoader):
    """Takes CloudFormation's short forms as their values."""


_Tags.add_multi_constructor("!", lambda loader, _tag, node: loader.construct_scalar(node))
