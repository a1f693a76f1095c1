"""What stages have proposed, and how their gates stand: read from the store, for whoever decides or looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pipeline.cli import common
from pipeline.errors import Blocked, UsageError

if TYPE_CHECKING:
    from pipeline.gating import Gate
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

_OVER = ("rejected", "outdated")
"""States of a gate that no approval changes any more."""


@dataclass(frozen=True)
class Proposed:
    """What a stage of a run has proposed, and how its gate stands."""

    run: Run
    stage: PlannedStage
    gate: Gate

    @property
    def last(self) -> Attempt:
        """The attempt that proposed it."""
        last = self.run.last(self.stage.name)
        if last is None:
            raise AssertionError(f"{self.stage.name} has proposed something in no attempt")
        return last


def find_all(store: Store, run_id: str, stage: str, trust: Trust | None) -> list[Proposed]:
    """Give a stage that has proposed something; of one with several environments all that wait."""
    run, plan = load(store, common.find_run(store, run_id))
    group = [name for name, each in plan.stages.items() if each.group == stage]
    waits = [name for name in group if gate_of(store, run, plan, name, trust)]
    return [find(store, run.id, name, trust) for name in waits or group[:1] or [stage]]


def find(store: Store, run_id: str, stage: str, trust: Trust | None) -> Proposed:
    """Give a stage that has proposed something, and how its gate stands. Raises UsageError if it has not."""
    run, plan = load(store, common.find_run(store, run_id))
    common.known(plan, (stage,))
    gate = gate_of(store, run, plan, stage, trust)
    if gate is None:
        last = run.last(stage)
        state = (last.outcome or "running") if last else "not begun"
        if last and last.failure and last.failure.cls == "blocked":
            raise Blocked(f"stage {stage} of run {run.id}: {last.failure.message}", hint=last.failure.hint)
        raise UsageError(
            f"stage {stage} of run {run.id} waits for nobody: it is {state}", hint="What waits: towpath approvals"
        )
    return Proposed(run, plan.stages[stage], gate)


def of_stage(store: Store, run_id: str, stage: str, trust: Trust | None) -> Proposed | None:
    """Give what a stage has proposed, if that waits."""
    run, plan = load(store, run_id)
    gate = gate_of(store, run, plan, stage, trust)
    return Proposed(run, plan.stages[stage], gate) if gate else None


def all_waiting(store: Store, trust: Trust | None) -> list[Proposed]:
    """Give what can still go on, of the runs that the index names; what cannot is struck off, so that it is not read again."""
    from pipeline.record import waiting

    found: list[Proposed] = []
    for run_id, listed in waiting.listed(store).items():
        run, proposed = of_run(store, run_id, trust)
        found += [each for each in proposed if each.gate.state not in _OVER]
        over = {each.stage.name for each in proposed if each.gate.state in _OVER}
        for stage, number in listed:
            last = run.last(stage) if run else None
            if last and (last.number > number or stage in over):
                waiting.over(store, run_id, stage, number)
    return found


def of_run(store: Store, run_id: str, trust: Trust | None) -> tuple[Run | None, list[Proposed]]:
    """Give a run with what waits in it; None, and a line on standard error, if it cannot be read."""
    from pipeline.errors import TowpathError

    try:
        run, plan = load(store, run_id)
        gates = [(stage, gate_of(store, run, plan, name, trust)) for name, stage in plan.stages.items()]
    except TowpathError as error:
        click.echo(f"{run_id}: {error.message}", err=True)
        return None, []
    return run, [Proposed(run, stage, gate) for stage, gate in gates if gate is not None]


def gate_of(store: Store, run: Run, plan: Plan, stage: str, trust: Trust | None) -> Gate | None:
    """Tell how the gate of a stage stands; None if it has proposed nothing that waits."""
    from pipeline import gating

    last = run.last(stage)
    if last is None or last.outcome != "waiting" or last.proposal is None:
        return None
    if trust:
        common.rely_on(store, run.id, trust)
    return gating.look(store, plan, run, plan.stages[stage], last.proposal, trust=trust)


def load(store: Store, run_id: str) -> tuple[Run, Plan]:
    """Load a run with its plan."""
    from pipeline import plan
    from pipeline.record import runs

    run = runs.load(store, run_id)
    return run, plan.of(store, run)
