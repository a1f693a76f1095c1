"""Everything that goes wrong while a stack is deployed: `towpath run` ends clearly, and `towpath resume` ends well.

The commands, the stage's process and botocore's client are the real ones; a scripted AWS shows states that no emulator has.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy import scripted_aws
from integration.stages.deploy.releases import manifest, write_release
from support.machine import Machine
from support.projects import commit, enrol

from stages.contract import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.stages.deploy.scripted_aws import ScriptedAws

PIPELINE = """\
version: 1
name: demo
environments:
  production:
    account: "123456789012"
    region: eu-central-1
    stack: demo
    approvals: {people: 1, from: [ada]}
people:
  ada: {emails: [ada@example.com]}
  author: {emails: [author@example.com]}
signers: allowed_signers
stages:
  package:
    uses: command
    idempotent: true
    with:
      run: [sh, -c, 'cp -r release "$TOWPATH_OUTPUTS/release"']
      outputs: [release]
  deploy:
    uses: deploy
    needs: [package]
    environment: production
"""
TARGET = Target("production", scripted_aws.ACCOUNT, scripted_aws.REGION, stack="demo")


@dataclass
class Project:
    """A project whose one deployment ada has to approve, on a machine that is signed in to the scripted AWS."""

    machine: Machine
    aws: ScriptedAws

    def sign_in(self, access_key: str) -> None:
        text = f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = any\naws_session_token = any\n"
        self.machine.project.parent.joinpath("credentials").write_text(text)

    def release(self, content: str) -> None:
        shutil.rmtree(self.machine.project / "release", ignore_errors=True)
        write_release(self.machine.project / "release", TARGET, content)
        commit(self.machine.project, "author", ".towpath/\n")

    def approve(self, stage: str = "deploy") -> None:
        key = str(self.machine.project.parent / "ada")
        self.machine.towpath("approve", "latest", stage, "--reason", "seen", "--sign-with", key)

    def ungated(self) -> None:
        """Have nobody asked."""
        pipeline = self.machine.project / "pipeline.yaml"
        pipeline.write_text(pipeline.read_text().replace("{people: 1, from: [ada]}", "none"))

    def approved(self) -> None:
        """Open a run, and have what it proposes approved."""
        self.machine.towpath("run", code=75)
        self.approve()

    def fails(self, *arguments: str, code: int) -> dict[str, Any]:
        """Run a command that fails, and give the error it tells."""
        error: dict[str, Any] = json.loads(
            self.machine.towpath(*arguments, "--json", code=code).stderr.splitlines()[-1]
        )
        return error

    def run_id(self) -> str:
        return str(self.machine.json("status", "latest")["run"])

    def resume(self, run: str = "latest") -> None:
        """Go on to a good end, with the approval that there is."""
        state = self.machine.json("resume", run)
        assert state["state"] == "succeeded"
        self.holds(run)

    def holds(self, run: str = "latest") -> None:
        """The record is consistent, ledger included."""
        [found] = self.machine.json("audit", "verify", run, code=7)["runs"]
        assert found["verdict"] == "consistent", found

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.machine.json("status", "latest")["stages"]["deploy"]
        return state

    def log(self) -> list[str]:
        lines = self.machine.towpath("logs", "latest", "deploy", "--json").stdout.splitlines()
        return [json.loads(line)["text"] for line in lines]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE)
    enrol(folder, tmp_path, "ada")
    with scripted_aws.ScriptedAws() as world:
        for content in ("one", "two"):
            world.add_image(manifest(content))
        (tmp_path / "config").write_text(f"[default]\nendpoint_url = {world.url}\n")
        variables = {
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }
        made = Project(Machine(folder, variables), world)
        made.sign_in("AKIDFIRST")
        made.release("one")
        yield made


UPDATED = [
    (0.3, "HelloWorldFunction", "CREATE_IN_PROGRESS", ""),
    (1.2, "HelloWorldFunction", "CREATE_COMPLETE", ""),
    (1.4, "demo", "CREATE_COMPLETE", ""),
]


def test_credentials_that_expire_in_the_middle(project: Project) -> None:
    """CloudFormation goes on meanwhile. Nobody is asked to approve again what had been begun, and nothing is done twice."""
    project.approved()
    project.aws.script = UPDATED
    project.aws.fail(
        "DescribeStackEvents", "ExpiredToken", status=403, message="The security token is expired", times=99
    )
    error = project.fails("resume", code=1)
    assert "the AWS credentials have expired (seen while reading the events of the stack" in error["message"]
    assert "what CloudFormation has begun goes on there" in error["message"]
    run = project.run_id()
    assert error["hint"] == f"Sign in again (`aws sso login`, or a new job), then go on with `towpath resume {run}`."
    assert project.state()["failure"]["class"] == "retryable"
    [found] = project.machine.json("audit", "verify", code=7)["runs"]
    assert found["verdict"] == "incomplete"  # the ledger says what was begun, and nobody knows what came of it
    project.aws.faults.clear()
    project.resume()
    assert len(project.aws.executions) == 1


def test_credentials_that_are_renewed_in_the_middle(project: Project) -> None:
    """Somebody signs in again, or a tool renews the file: the deployment goes on by itself, each event shown once."""

    def expire() -> None:
        project.sign_in("AKIDSECOND")
        project.aws.expired.add("AKIDFIRST")

    project.approved()
    project.aws.script = UPDATED
    project.aws.then["DescribeStackEvents"] = expire
    project.resume()
    assert project.aws.key == "AKIDSECOND"
    told = project.log()
    assert any(line.startswith("the credentials had expired; going on with newer ones, as arn:aws:") for line in told)
    events = [line.split("  ")[:2] for line in told if line.startswith("CREATE_")]
    assert len(events) == len({tuple(each) for each in events}) == 4
    assert len(project.aws.executions) == 1


def test_the_time_limit_is_kept_and_what_goes_on_is_said(project: Project) -> None:
    project.ungated()
    pipeline = project.machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text() + "    timeout: 6s\n")
    project.aws.script = [(8.0, "demo", "CREATE_COMPLETE", "")]
    executed: list[float] = []
    project.aws.then["ExecuteChangeSet"] = lambda: executed.append(time.monotonic())
    error = project.fails("run", code=124)
    assert time.monotonic() - executed[0] < 12
    assert error["message"] == (
        "stage deploy: it ran longer than 6 s; what CloudFormation has begun goes on there, "
        "and `towpath resume` follows it to its end"
    )
    time.sleep(max(0.0, executed[0] + 8.5 - time.monotonic()))
    project.resume()
    assert len(project.aws.executions) == 1


def test_a_stack_that_somebody_else_is_changing(project: Project) -> None:
    """Blocked, at whatever moment it is found; and once they are done it goes on, by the approval that there is."""
    project.aws.stuck("UPDATE_IN_PROGRESS")
    error = project.fails("run", code=6)
    assert "the stack demo is in state UPDATE_IN_PROGRESS" in error["message"]
    project.aws.stack_id = project.aws.status = None
    project.machine.towpath("resume", code=75)
    project.approve()
    project.aws.status = "UPDATE_IN_PROGRESS"
    error = project.fails("resume", code=6)
    assert "somebody else is changing it" in error["message"]
    assert error["hint"] == f"Nothing was done. Wait until it is over, then `towpath resume {project.run_id()}`."
    project.aws.status = "REVIEW_IN_PROGRESS"
    project.resume()


def test_a_creation_that_failed_is_removed_and_made_again(project: Project) -> None:
    """`aws cloudformation deploy` and `sam deploy` leave people with a stack that takes nothing, and no command for it."""
    project.approved()
    project.aws.script = [
        (0.1, "HelloWorldFunction", "CREATE_FAILED", "Source image does not exist"),
        (0.2, "demo", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [HelloWorldFunction]."),
        (0.5, "HelloWorldFunction", "DELETE_COMPLETE", ""),
        (0.6, "demo", "ROLLBACK_COMPLETE", ""),
    ]
    error, run = project.fails("resume", code=1), project.run_id()
    assert error["message"].startswith(
        "stage deploy: HelloWorldFunction (AWS::Lambda::Function) CREATE_FAILED: Source image does not exist\n"
    )
    assert error["message"].endswith("The stack demo ended as ROLLBACK_COMPLETE.")
    free = f"Free the stack: `towpath recover production`. Then `towpath resume {run}`, or `towpath run` if the source has to change."
    assert error["hint"] == f"Correct the cause. {free}"
    project.machine.towpath(
        "recover", "--stack-name", "demo", "--region", "eu-central-1", code=75
    )  # by the rules that the ledger has of it
    project.approve("recover")
    project.resume()
    assert project.aws.status == "DELETE_COMPLETE"
    project.resume(run)
    assert project.aws.status == "CREATE_COMPLETE"


def test_a_rollback_that_failed_goes_on_with_what_is_skipped(project: Project) -> None:
    project.ungated()
    project.release("one")
    project.machine.towpath("run")
    project.release("two")
    project.aws.script = [
        (0.1, "HelloWorldFunction", "UPDATE_FAILED", "Source image does not exist"),
        (
            0.2,
            "demo",
            "UPDATE_ROLLBACK_IN_PROGRESS",
            "The following resource(s) failed to update: [HelloWorldFunction].",
        ),
        (0.3, "HelloWorldFunction", "UPDATE_FAILED", "The function was deleted by hand"),
        (0.4, "demo", "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [HelloWorldFunction]."),
    ]
    project.aws.resources["HelloWorldFunction"] = ("AWS::Lambda::Function", "UPDATE_FAILED", "deleted by hand")
    assert "`towpath recover production`" in project.fails("run", code=1)["hint"]
    run = project.run_id()

    project.aws.script = [
        (0.1, "HelloWorldFunction", "UPDATE_FAILED", "The function was deleted by hand"),
        (0.2, "demo", "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [HelloWorldFunction]."),
    ]
    error = project.fails("recover", "production", code=1)
    assert (
        "HelloWorldFunction (AWS::Lambda::Function) UPDATE_FAILED: The function was deleted by hand" in error["message"]
    )
    assert "`towpath recover production --skip HelloWorldFunction`" in error["hint"]

    state = project.machine.json("recover", "production", "--skip", "HelloWorldFunction")
    assert state["stages"]["recover"]["facts"]["skipped"] == ["HelloWorldFunction"]
    assert (project.aws.skipped, project.aws.status) == (["HelloWorldFunction"], "UPDATE_ROLLBACK_COMPLETE")
    project.holds()
    project.resume(run)
    assert project.aws.status == "UPDATE_COMPLETE"
