"""What a stage's proposal is compared with, for people to see: artifacts of this run, and of the run that stands at its target.

It is shown and decides nothing, so what the record does not have, or has otherwise than its digest says, is left out: whoever relies on
the record has it audited. What was shown stands in the attempt's chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import TowpathError
from pipeline.record import ledger, ledgers, runs
from stages.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


@dataclass(frozen=True)
class Shown:
    """An artifact by its digest, and the attempt that handed it on."""

    run: str
    stage: str
    attempt: int
    artifact: str

    def as_json(self) -> dict[str, Any]:
        """What the record says of it."""
        return {"run": self.run, "stage": self.stage, "attempt": self.attempt, "artifact": self.artifact}


def find(store: Store, plan: Plan, run: Run, stage: PlannedStage, trust: Trust | None) -> dict[str, Shown]:
    """Find what there is to show of what the stage's kind asks for."""
    found: dict[str, Shown] = {}
    for name in KINDS[stage.kind].evidence:
        own = _handed_on(plan, run, _needed(plan, stage), name)
        standing = _standing(store, stage, name, trust)
        found |= {name: own} if own else {}
        found |= {f"standing-{name}": standing} if standing else {}
    return found


def _needed(plan: Plan, stage: PlannedStage) -> list[str]:
    """The stages that a stage needs, near and far, in the plan's order."""
    seen, rest = set(), list(stage.needs)
    while rest:
        name = rest.pop()
        if name not in seen and name in plan.stages:
            seen.add(name)
            rest += plan.stages[name].needs
    return [name for name in plan.stages if name in seen]


def _handed_on(plan: Plan, run: Run, stages: list[str], name: str) -> Shown | None:
    """The artifact of the last of some stages that hands on one of this name."""
    for each in reversed(stages):
        done = run.done(each)
        if name in plan.stages[each].outputs and done and name in done.outputs:
            return Shown(run.id, each, done.number, done.outputs[name])
    return None


def _standing(store: Store, stage: PlannedStage, name: str, trust: Trust | None) -> Shown | None:
    """The artifact of the run whose deployment stands at a stage's target, by the stages that deployed from it."""
    if stage.target is None or not stage.rules:
        return None
    try:
        current = ledgers.read(store, ledger.name_of(stage.target), trust).current
        if current is None:
            return None
        run = runs.load(store, current["run"])
        plan = plans.of(store, run)
        deployed = plan.stages.get(current["stage"])
        return _handed_on(plan, run, _needed(plan, deployed), name) if deployed else None
    except (TowpathError, KeyError, TypeError, ValueError):
        return None
