"""Runs of small plans made of real programs, without a definition, driven here or by a runner of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import attempt, engine
from pipeline.context import Context, Stop
from pipeline.errors import Blocked
from pipeline.executors.isolation import NONE
from pipeline.executors.process import ProcessExecutor
from pipeline.plan import Plan, PlannedStage
from pipeline.record import artifacts, runs
from pipeline.reporting import Silent
from pipeline.signing import keys
from pipeline.standings import Wish

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.executors.isolation import Isolation
    from pipeline.record.replay import Run
    from pipeline.record.store.directory import DirectoryStore
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


def command(
    name: str, script: str, *, needs: tuple[str, ...] = (), idempotent: bool = True, **more: Any
) -> PlannedStage:
    """A stage that runs a shell script; `outputs=` and `inputs=` name artifacts, `secrets=` where they are taken from."""
    options = {"run": ["/bin/bash", "-ec", script], "outputs": more.get("outputs", []), "variables": {}}
    inputs = more.get("inputs", {})
    return PlannedStage(
        name,
        "command",
        list(needs),
        options,
        inputs,
        None,
        None,
        more.get("timeout_s", 60),
        idempotent,
        secrets=more.get("secrets", {}),
    )


@dataclass
class House:
    """A project with a store."""

    project: Path
    store: DirectoryStore
    plans: dict[str, Plan] = field(default_factory=dict)
    trust: Trust | None = None
    isolation: Isolation = NONE

    @property
    def key_path(self) -> Path:
        return self.project.parent / "runner.key"

    @property
    def key(self) -> Key:
        """The runner's key, made when it is first asked for."""
        keys.make(self.key_path)
        return keys.load(self.key_path)

    def open(self, *stages: PlannedStage, **told: Any) -> str:
        """Open a run of these stages and give its id; `told` is what its opening says beside the plan."""
        plan = Plan("test", {}, {}, {stage.name: stage for stage in stages})
        digest = artifacts.put_json(self.store, plan.as_json())
        run_id = runs.open_run(self.store, {"plan": digest, **told}, self.key)
        self.plans[run_id] = plan
        return run_id

    def context(self, run_id: str) -> Context:
        work = self.project / ".towpath/work"
        run = runs.load(self.store, run_id)
        plan, executor = self.plans[run_id], ProcessExecutor(work, self.isolation)
        return Context(self.store, plan, run, self.project, work, executor, Silent(), self.key, self.trust)

    def drive(self, run_id: str, wish: Wish | None = None, jobs: int = 2, endpoint: str | None = None) -> Run:
        """Go on with a run. `endpoint` is that of an embedded AWS which runs already."""
        context = self.context(run_id)
        context._endpoint += [endpoint] if endpoint else []
        return engine.drive(context, wish or Wish(), jobs)

    def attempt(self, context: Context, stage: str) -> None:
        """Attempt one stage, which nothing stands in the way of."""
        made = attempt.make(context, stage, Stop())
        assert made is not None
        context.run.add(made)

    def load(self, run_id: str) -> Run:
        return runs.load(self.store, run_id)


def engine_run(house: House, run_id: str) -> None:
    """A runner of its own: a process, since signals are handled in a main thread."""
    done = run_process(house, run_id)
    if done.returncode == 6:
        raise Blocked(done.stderr)
    assert done.returncode == 0, done.stderr


RUNNER = """
import json, sys
from pathlib import Path
from pipeline import engine, plan
from pipeline.context import Context, Stop
from pipeline.errors import TowpathError
from pipeline.executors.process import ProcessExecutor
from pipeline.record import artifacts, runs
from pipeline.cli.common import open_store
from pipeline.reporting import Silent
from pipeline.signing import keys
from pipeline.standings import Wish
location, project, run_id = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
key = keys.load(Path(sys.argv[4]))
store = open_store(location, project)
run = runs.load(store, run_id)
compiled = plan.from_json(artifacts.read_json(store, run.plan, "plan"), "plan")
work = project / ".towpath/work"
try:
    context = Context(store, compiled, run, project, work, ProcessExecutor(work), Silent(), key)
    engine.drive(context, Wish(), 2)
except TowpathError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
"""


def runner_argv(house: House, run_id: str) -> list[str]:
    return [sys.executable, "-c", RUNNER, house.store.location, str(house.project), run_id, str(house.key_path)]


def run_process(house: House, run_id: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(runner_argv(house, run_id), capture_output=True, text=True, check=False, timeout=60)


def killed_in(
    house: House, run_id: str, stage: str, number: signal.Signals = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    """Run until the stage has touched its file `<stage>.started`, then send the runner a signal."""
    started = house.project / f"{stage}.started"
    with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True) as runner:
        deadline = time.monotonic() + 20
        while not started.exists() and runner.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        runner.send_signal(number)
        _, said = runner.communicate(timeout=20)
    return subprocess.CompletedProcess([], runner.returncode, "", said)
