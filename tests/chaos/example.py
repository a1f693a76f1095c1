"""The example pipeline with a gate before production, driven stage by stage from snapshots, and what must hold in the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.exceptions import ClientError
from chaos import gated, runner
from support.machine import copy_example

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.front import Calls, When
    from chaos.runner import Done, Runners

STAGES = ("build", "scan", "package", "deploy-staging", "smoke", "deploy-production")
Part = Literal["build", "scan", "package", "deploy-staging", "smoke", "propose", "apply"]
PARTS: tuple[Part, ...] = ("build", "scan", "package", "deploy-staging", "smoke", "propose", "apply")
"""What is driven by itself: a stage, or a half of the gated one."""

STREAMED = 2
"""An answer that comes in more pieces is a stream: a build, a push, an export."""
PASSING = frozenset({"endpoints", "outputs", "time_s", "stack_id"})
"""What facts tell that is another each time."""


@dataclass(frozen=True)
class Fault:
    """Where to kill: at a point of the runner's own, or at a call of a stage's.

    `lives_on`: the stage's process does not end with its runner.
    """

    point: str | None = None
    call: tuple[When, str] | None = None
    lives_on: bool = False

    @property
    def what(self) -> str:
        """The class that it is counted in."""
        if self.call is None:
            return "the runner: writes, processes"
        service = self.call[1].split()[0]
        kind = service if service in ("engine", "registry", "endpoint") else "AWS"
        return f"calls: {kind}{', the stage lives on' if self.lives_on else ''}"

    @property
    def may_be_missed(self) -> bool:
        """Whether it depends on the time that things take if it is passed: another look, another segment of a log."""
        return "#" in str(self) or ".jsonl" in str(self)

    def __str__(self) -> str:
        where = self.point or " ".join(self.call or ())
        return f"{where}, the stage lives on" if self.lives_on else where


@dataclass
class Prepared:
    """A copy of the example, with a snapshot of it as it was before each of its stages up to the last one prepared."""

    runners: Runners
    folder: Path
    accounts: str
    base_image: str
    own_registry: bool

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def snapshot(self, stage: str) -> Path:
        return self.folder / f"before-{stage}"

    def make(self, last: str) -> None:
        copy_example(self.project, self.accounts, own_registry=self.own_registry)
        gated.keys(self.folder)
        pipeline = self.project / "pipeline.yaml"
        text = pipeline.read_text().replace("public.ecr.aws/lambda/python:3.12", self.base_image)
        pipeline.write_text(text + gated.PEOPLE_YAML)
        environments = self.project / "pipeline.d/environments.yaml"
        before, production = environments.read_text().split("\nproduction:\n")
        gate = "  approvals: {people: 2, from: [release]}\n  scan: required"
        environments.write_text(f"{before}\nproduction:\n{re.sub('  approvals: none.*', gate, production, count=1)}")
        gated.commit(self.project)
        for stage in STAGES[: STAGES.index(last) + 1]:
            shutil.copytree(self.project, self.snapshot(stage), symlinks=True)
            if stage != last:
                run = "new" if stage == STAGES[0] else "latest"
                done = self.runners.run(self.project, "stage", "run", stage, "--run", run)
                assert done.status == 0, done


@dataclass
class Example:
    """The example with one part to drive. `direct` is the embedded AWS's own address, past the fronts."""

    prepared: Prepared
    calls: Calls
    direct: str
    part: Part
    trust: Path
    reference: dict[str, Any] = field(default_factory=dict)
    pid: int = 0

    @property
    def project(self) -> Path:
        return self.prepared.project

    @property
    def stage(self) -> str:
        return "deploy-production" if self.part in ("propose", "apply") else self.part

    # Before a drive

    def lead_up(self) -> None:
        """Bring the project, and what the part acts on, to where the part begins."""
        runner.restore(self.prepared.snapshot(self.stage), self.project)
        if self.part == "package":
            with suppress(ClientError):
                self.client("ecr", self.registry).delete_repository(repositoryName="demo-app", force=True)
        elif self.stage.startswith("deploy"):
            self.remove_stack()
        if self.part == "apply":
            done = self.run("resume")
            assert done.status == 75, done
            self.approve()
        self.calls.reset()

    def remove_stack(self) -> None:
        client = self.client("cloudformation", self.account)
        with suppress(ClientError):
            client.delete_stack(StackName=self.stack)
            client.get_waiter("stack_delete_complete").wait(StackName=self.stack, WaiterConfig={"Delay": 1})

    def approve(self) -> None:
        for person in gated.APPROVERS:
            argv = ("approve", "latest", self.stage, "--reason", "seen", "--sign-with", f"../keys/{person}")
            done = self.run(*argv)
            assert done.status == 0, done

    def undisturbed(self) -> list[Fault]:
        """Do the part without a fault, keep what comes of it, and give every fault there is."""
        self.lead_up()
        done = self.begin(None)
        points, made = done.points, list(self.calls.made)
        assert done.status == (75 if self.part == "propose" else 0), done
        if self.part == "propose":
            self.approve()
            done = self.run("resume")
            assert done.status == 0, done
        self.reference = self.state()
        if self.stage.startswith("deploy"):
            assert self.reference["executed"] == 1
            assert self.reference["stack"].count("CREATE_COMPLETE") == 1
            assert self.reference["ledger"].count("deployment.finished") == 1
            assert not self.reference["change sets that wait"]
        elif self.part == "package":
            assert len(self.reference["pushes"]) == len(self.reference["images"]) == 2
        faults = [Fault(point=point) for point in points]
        for call in made:
            whens: list[When] = ["before", "amid", "after"] if call.pieces > STREAMED else ["before", "after"]
            faults += [Fault(call=(when, call.name)) for when in whens]
        return faults + [Fault(call=("before", call.name), lives_on=True) for call in made if not call.by_engine]

    # A drive

    def begin(self, fault: Fault | None) -> Done:
        """Do the part, once, and die at the fault."""
        self.calls.fault, self.calls.lives_on = (fault.call, fault.lives_on) if fault else (None, False)
        self.calls.end = self.kill
        argv = ("stage", "run", self.stage, "--run", "latest" if self.part != "build" else "new")
        kill_at, orphans = (fault.point, fault.lives_on) if fault else (None, False)
        start = self.prepared.runners.run
        done = start(self.project, *argv, kill_at=kill_at, orphans=orphans, started=self.started)
        self.calls.fault = None
        return done

    def started(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> list[Done]:
        """Go on as the commands say that one should, to the end of the part, and of the run where production follows."""
        said = [self.run("stage", "run", self.stage, "--run", "latest")]
        if gated.NOTHING_YET.search(said[-1].err):
            said.append(self.run("stage", "run", self.stage, "--run", "new"))
        if self.part == "propose":
            assert said[-1].status == 75, said[-1]
            self.approve()
            said.append(self.run("resume"))
        assert said[-1].status == 0, "\n".join(map(str, said))
        return said

    def drive(self, fault: Fault) -> list[str] | None:
        """Kill at the fault, go on, and give what does not hold then; None if the point was not passed this time."""
        self.lead_up()
        killed = self.begin(fault)
        if not killed.killed:
            assert killed.status in (0, 75), killed
            return None
        kept = runner.objects(self.project)
        try:
            self.finish()
        except AssertionError as error:
            return [f"no way on: {error}"]
        return [*self.compare(), *gated.lost(killed, kept, runner.objects(self.project)), *self.verify()]

    # After a drive

    def state(self) -> dict[str, Any]:
        """What an end has in common with that of an undisturbed run: stages, images, stacks, calls that change something."""
        stages = json.loads(self.run("status", "--json").out)["stages"]
        told: dict[str, Any] = {name: (each["state"], _lasting(each["facts"])) for name, each in stages.items()}
        told["artifacts"] = {name: stages[name]["outputs"] for name in ("build", "scan", "package")}
        if self.part == "package":
            images = self.client("ecr", self.registry).list_images(repositoryName="demo-app")["imageIds"]
            told["images"] = sorted((each.get("imageTag", ""), each["imageDigest"]) for each in images)
            told["pushes"] = sorted(
                call.name
                for call in self.calls.made
                if "PUT" in call.name and "/manifests/" in call.name and call.accepted
            )
        if self.stage.startswith("deploy"):
            told |= self.deployed()
        return told

    def deployed(self) -> dict[str, Any]:
        client = self.client("cloudformation", self.account)
        events = client.describe_stack_events(StackName=self.stack)["StackEvents"]
        whole = [each["ResourceStatus"] for each in events if each["ResourceType"] == "AWS::CloudFormation::Stack"]
        waiting = client.list_change_sets(StackName=self.stack)["Summaries"]
        functions = self.client("lambda", self.account).list_functions()["Functions"]
        images = [
            self.client("lambda", self.account).get_function(FunctionName=each["FunctionName"])["Code"]["ImageUri"]
            for each in functions
        ]
        entries = gated.lasting(gated.ledger(self.project, self.account))
        return {
            "stack": sorted(each for each in whole if not each.startswith("REVIEW")),
            "change sets that wait": [
                each["ChangeSetName"] for each in waiting if each.get("ExecutionStatus") == "AVAILABLE"
            ],
            "functions": sorted(images),
            "executed": len(self.calls.accepted("cloudformation ExecuteChangeSet")),
            "ledger": entries,
        }

    def compare(self) -> list[str]:
        state = self.state()
        return [
            f"{name} is {state.get(name)}, undisturbed {self.reference.get(name)}"
            for name in sorted(state.keys() | self.reference.keys())
            if state.get(name) != self.reference.get(name)
        ]

    def verify(self) -> list[str]:
        verified = self.run("audit", "verify", "--all", "--trust", str(self.trust))
        return [f"audit verify: {verified}"] * (verified.status not in (0, 7))

    def run(self, *argv: str) -> Done:
        return self.prepared.runners.run(self.project, *argv)

    def client(self, service: str, account: str) -> Any:
        make: Any = boto3.client
        return make(
            service,
            region_name="eu-central-1",
            endpoint_url=self.direct,
            aws_access_key_id=account,
            aws_secret_access_key="embedded",
        )

    @property
    def registry(self) -> str:
        return (self.prepared.accounts if self.prepared.own_registry else "1111") + "1" * 8

    @property
    def account(self) -> str:
        return self.prepared.accounts + ("2" if self.stage == "deploy-staging" else "3") * 8

    @property
    def stack(self) -> str:
        return "demo-app-staging" if self.stage == "deploy-staging" else "demo-app-production"


def _lasting(facts: Any) -> Any:
    """Facts without what is another each time."""
    if isinstance(facts, dict):
        return {name: _lasting(value) for name, value in facts.items() if name not in PASSING}
    return [_lasting(each) for each in facts] if isinstance(facts, list) else facts
