"""How long a deployment of 30 functions takes: AWS SAM CLI, raw boto3, and ours, in turns, on one embedded AWS; medians.

Nothing changed, one function changed, all changed, and a new stack. A proxy counts the calls of AWS that each makes. CPU is that of
all its processes, which other work on the machine changes little; memory is the largest of them. TOWPATH_BENCH_TURNS sets the number of turns.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from chaos.front import Calls, Front
from integration.stages.deploy.releases import manifest, many_functions, write_many
from integration.stages.deploy.running import embedded_aws, new_account
from support import rival

from stages.aws.session import connect
from stages.contract import Access, Request, Target, read_result, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FUNCTIONS = 30
TURNS = int(os.environ.get("TOWPATH_BENCH_TURNS", "5"))
REGION = "eu-central-1"
TASKS = ("creation", "nothing changed", "one changed", "all changed")
TOWPATH = Path(sys.executable).parent / "towpath"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

RAW = """
import sys, time, boto3
stack, template, way = sys.argv[1:4]
client = boto3.client("cloudformation")
arn = client.create_change_set(StackName=stack, ChangeSetName=f"raw-{time.time_ns()}", ChangeSetType=way, TemplateBody=open(template).read())["Id"]
try:
    client.get_waiter("change_set_create_complete").wait(ChangeSetName=arn, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})
except Exception:
    reason = client.describe_change_set(ChangeSetName=arn)["StatusReason"]
    assert "didn't contain changes" in reason, reason
    client.delete_change_set(ChangeSetName=arn)
    sys.exit()
client.execute_change_set(ChangeSetName=arn)
waiter = "stack_create_complete" if way == "CREATE" else "stack_update_complete"
client.get_waiter(waiter).wait(StackName=stack, WaiterConfig={"Delay": 0.05, "MaxAttempts": 6000})
print(client.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs"))
"""
PIPELINE = """\
version: 1
name: bench
environments:
  bench: {{account: "{account}", region: eu-central-1, stack: {stack}, approvals: none}}
stages:
  package:
    uses: command
    with: {{run: [sh, -c, 'cp -r release "$TOWPATH_OUTPUTS/release"'], outputs: [release]}}
  deploy: {{uses: deploy, needs: [package], environment: bench}}
"""


@dataclass
class World:
    """An account on the embedded AWS, behind a proxy that counts."""

    target: Target
    calls: Calls
    url: str
    folder: Path

    @property
    def account(self) -> str:
        return self.target.account

    @property
    def variables(self) -> dict[str, str]:
        inherited = rival.variables(self.folder)
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever installs a program has it compiled, or once
        return {
            **inherited,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": str(self.folder / "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"],
        }


@dataclass(frozen=True)
class Taken:
    """What one run took."""

    wall_s: float
    cpu_s: float
    calls: int
    memory_mib: float


def run(world: World, commands: Sequence[Sequence[Any]], folder: Path) -> Taken:
    """Run commands one after the other, with the largest memory that a process of theirs had."""
    world.calls.reset()
    memory_kib, cpu_s, started = 0, 0.0, time.perf_counter()
    for argv in commands:
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                list(map(str, argv)),
                cwd=folder,
                env=world.variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (folder / "said").read_text()[-3000:]
        memory_kib, cpu_s = max(memory_kib, used.ru_maxrss), cpu_s + used.ru_utime + used.ru_stime
    return Taken(time.perf_counter() - started, cpu_s, len(world.calls.made), memory_kib / 1024)


@dataclass
class Contender:
    """One way to deploy. `number` tells its stacks apart."""

    world: World
    name: str
    folder: Path
    number: int = 0

    @property
    def stack(self) -> str:
        return f"{self.folder.name}-{self.number}"

    def deploy(self, contents: Sequence[str], *, new: bool) -> Taken:
        self.number += new
        self.prepare(contents)
        return run(self.world, self.commands(new=new), self.folder)

    def leave(self) -> None:
        """Delete the stack, so that the account has no more functions than those of one."""
        delete = f"import boto3; boto3.client('cloudformation').delete_stack(StackName={self.stack!r})"
        subprocess.run([sys.executable, "-I", "-c", delete], env=self.world.variables, check=True)

    def prepare(self, contents: Sequence[str]) -> None:
        (self.folder / "template.yaml").write_text(many_functions(self.world.target, contents))

    def commands(self, *, new: bool) -> list[list[Any]]:
        raise NotImplementedError


class Sam(Contender):
    def commands(self, *, new: bool) -> list[list[Any]]:
        repository = f"{self.world.account}.dkr.ecr.{REGION}.amazonaws.com/app"
        options = ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
        named = ["--template-file", "template.yaml", "--stack-name", self.stack, "--image-repository", repository]
        return [[rival.program(), "deploy", *named, *options, "--region", REGION]]


class Raw(Contender):
    def commands(self, *, new: bool) -> list[list[Any]]:
        return [[sys.executable, "-I", "-c", RAW, self.stack, "template.yaml", "CREATE" if new else "UPDATE"]]


@dataclass
class Stage(Contender):
    """The two phases of the kind, as the runner starts them."""

    handle: str = ""
    handles: list[str] = field(default_factory=list)

    def prepare(self, contents: Sequence[str]) -> None:
        self.handle = f"bench-{self.number}-{len(self.handles)}"
        self.handles.append(self.handle)
        shutil.rmtree(self.folder / "inputs", ignore_errors=True)
        write_many(self.folder / "inputs/release", self.world.target, contents)
        shutil.rmtree(self.folder / "outputs", ignore_errors=True)
        (self.folder / "outputs").mkdir()

    def deploy(self, contents: Sequence[str], *, new: bool) -> Taken:
        self.number += new
        self.prepare(contents)
        target = Target("bench", self.world.account, REGION, stack=self.stack)
        asked = Request(
            "deploy", "propose", self.handle, {}, {"release": "inputs/release"}, target=target, access=Access()
        )
        argv = [sys.executable, "-I", "-m", "stages", "deploy"]
        write(self.folder / "request.json", asked)
        proposed = run(self.world, [argv], self.folder)
        proposal = read_result(self.folder / "result.json").proposal
        again = {**vars(asked), "phase": "apply", "proposal": proposal, "fresh": True}
        write(self.folder / "request.json", Request(**again))
        applied = run(self.world, [argv], self.folder)
        memory = max(proposed.memory_mib, applied.memory_mib)
        calls = proposed.calls + applied.calls
        return Taken(proposed.wall_s + applied.wall_s, proposed.cpu_s + applied.cpu_s, calls, memory)


class Pipeline(Contender):
    """`towpath run` of a pipeline with two stages, the first of which hands over a release: a record, a gate, a ledger, sandboxes."""

    def prepare(self, contents: Sequence[str]) -> None:
        shutil.rmtree(self.folder / "release", ignore_errors=True)
        write_many(self.folder / "release", self.world.target, contents)
        text = PIPELINE.format(account=self.world.account, stack=self.stack)
        (self.folder / "pipeline.yaml").write_text(text)

    def commands(self, *, new: bool) -> list[list[Any]]:
        return [[TOWPATH, "run"]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "home").mkdir()
    with embedded_aws(tmp_path / "home") as url:
        account, calls = new_account(), Calls()
        ecr = connect(Target("bench", account, REGION, embedded=True), Access(endpoint_url=url)).ecr
        ecr.create_repository(repositoryName="app")
        for content in ("one", "two"):
            ecr.put_image(repositoryName="app", imageManifest=manifest(content), imageTag=content)
        front = Front(calls, int(urlsplit(url).port or 0))
        (tmp_path / "config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = {front.address}\n")
        yield World(Target("bench", account, REGION, embedded=True), calls, front.address, tmp_path)
        front.close()


def test_deploy(world: World) -> None:
    ways = {"sam deploy": Sam, "raw boto3": Raw, "towpath: stage": Stage, "towpath run": Pipeline}
    made: list[Contender] = [way(world, name, world.folder / way.__name__.lower()) for name, way in ways.items()]
    taken: dict[str, dict[str, list[Taken]]] = {task: {each.name: [] for each in made} for task in TASKS}
    for each in made:
        each.folder.mkdir()
    for turn in range(TURNS + 1):  # the first one warms caches
        for each in made:
            one, two = ["one"] * FUNCTIONS, ["two"] * FUNCTIONS
            for task, contents in zip(TASKS, (one, one, ["two", *one[1:]], ["one", *two[1:]]), strict=True):
                told = each.deploy(contents, new=task == "creation")
                if turn:
                    taken[task][each.name].append(told)
            each.leave()
    for task, found in taken.items():
        _print(task, found)


def _print(task: str, found: dict[str, list[Taken]]) -> None:
    print(f"\n{FUNCTIONS} functions, {task}")
    raw = statistics.median(each.wall_s for each in found["raw boto3"])
    for name, told in found.items():
        walls = [each.wall_s for each in told]
        median = statistics.median(walls)
        cpu_s, calls, memory_mib = (
            statistics.median(getattr(each, what) for each in told) for what in ("cpu_s", "calls", "memory_mib")
        )
        print(
            f"  {name:<16} {median:6.2f} s [{min(walls):.2f}-{max(walls):.2f}]  raw {median - raw:+.2f} s"
            f"  {cpu_s:5.2f} s of CPU  {calls:4.0f} calls  {memory_mib:4.0f} MiB"
        )
