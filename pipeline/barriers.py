"""What keeps a stage of a run from its target, whatever people approve: another run's deployment that is under way, one that makes
this outdated, a rollback that holds all others up. It is looked for before anything is proposed, and again at the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline import locks
from pipeline.errors import VerificationFailed
from pipeline.gates import order, rollbacks
from pipeline.record import ledger, ledgers, runs

if TYPE_CHECKING:
    from pipeline.locks import Holder
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

_ROLL_BACK_ANEW = "Look at what stands there now, then decide again: towpath rollback"
_START_ANEW = "What is there now would be replaced by something older. Start anew, with today's source: towpath run"


@dataclass(frozen=True)
class Barrier:
    """Why a stage is not even to propose anything at its target, and what to do about it."""

    state: Literal["outdated", "held", "busy"]
    reasons: list[str]
    hint: str
    ledger: Ledger
    newer: Deployment | None = None


def barrier(store: Store, plan: Plan, run: Run, stage: PlannedStage, trust: Trust | None = None) -> Barrier | None:
    """Say what keeps a stage from its target that no approval changes, before it proposes anything; None if nothing does."""
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    if held := [each for each in locks.holders(store, book, run.id) if each.alive]:
        return Barrier("busy", [busy_with(each) for each in held], once_over(run), book)
    return bars(store, plan, run, stage, book)


def bars(store: Store, plan: Plan, run: Run, stage: PlannedStage, book: Ledger) -> Barrier | None:
    """The same, but for others that are at work there. Raises VerificationFailed, as `newer_than` does."""
    newer = newer_than(store, plan, run, stage, book)
    if newer:
        hint = _ROLL_BACK_ANEW if rollbacks.is_rollback(run.data) else _START_ANEW
        return Barrier("outdated", [outdated_by(newer, run)], hint, book, newer)
    return hold_against(plan, run, stage, book)


def hold_against(plan: Plan, run: Run, stage: PlannedStage, book: Ledger) -> Barrier | None:
    """Say by which rollback a stage is held up, if it is."""
    hold = book.held_against(run.id)
    if hold and plan.releases(stage) and not goes_back_to(book, run, stage):
        environment = stage.gated_target.called
        hint = f"Once it is clear why: towpath rollback {environment} --lift --reason '...'   then: towpath resume {run.id}"
        return Barrier("held", [held_by(hold)], hint, book)
    return None


def held_by(hold: Deployment) -> str:
    """Say by which rollback other deployments are held up."""
    to = hold.way["run"] if hold.way else "?"
    did = "went back" if hold.over else "began to go back, and nobody saw how that ended,"
    until = "is lifted" if hold.over else f"is over (towpath resume {hold.run}) or lifted"
    return (
        f"held: run {hold.run}, asked for by {hold.asked_for_by}, {did} here to the release of run {to} at {hold.at}; "
        f"nothing else is deployed until that {until}"
    )


def goes_back_to(book: Ledger, run: Run, stage: PlannedStage) -> Deployment | None:
    """Give the deployment that a run goes back to, if it does, and the ledger has it: what the run says of itself counts for nothing."""
    if not rollbacks.is_rollback(run.data):
        return None
    named = stage.name if stage.kind == "deploy" else None
    return rollbacks.origin(run, ledger.made(book.events), named)


def newer_than(store: Store, plan: Plan, run: Run, stage: PlannedStage, book: Ledger) -> Deployment | None:
    """Give the deployment that makes one by this stage outdated.

    Raises VerificationFailed for a ledger that is not what the run's opening had seen of it.
    """
    if not plan.releases(stage):
        return None
    seen = (run.data.get("ledgers") or {}).get(book.name)
    if seen and not _is_at(book, seen):
        text = f"{book.name} is not, or no longer, what run {run.id} found of it when it was opened"
        raise VerificationFailed(text, where=book.name)

    if rollbacks.is_rollback(run.data):
        return order.since(ledger.deployments(book.events), run, book.name)

    def opened(each: Deployment) -> order.Opened | None:
        other = runs.opened(store, each.run, each.opening)
        return order.of(other, book.name) if other else None

    return order.newer(ledger.deployments(book.events), order.of(run, book.name), opened)


def _is_at(book: Ledger, seen: dict[str, Any]) -> bool:
    length = seen["length"]
    return bool(0 < length <= len(book.events) and book.events[length - 1].digest == seen.get("head"))


def outdated_by(newer: Deployment, run: Run) -> str:
    """Say by what a deployment of a run is outdated: one that takes over from an older run is as old as that."""
    root = (run.data.get("inherits") or {}).get("root", {}).get("run")
    if rollbacks.is_rollback(run.data):
        return f"outdated: run {newer.run}, asked for by {newer.asked_for_by}, deployed here at {newer.at}, after this rollback was opened"
    what = f"run {root}, from which this one takes over" if root else "this one"
    who = f"{newer.at}, asked for by {newer.asked_for_by}"
    return f"outdated: run {newer.run}, which was opened after {what}, deployed here at {who}"


def busy_with(holder: Holder) -> str:
    """Say by what a target is held."""
    return f"run {holder.run} is deploying here since {holder.since}: {holder}"


def left_by(holder: Holder) -> str:
    """Say what somebody left who died, or lost sight of it."""
    return f"run {holder.run} began to deploy here at {holder.since}, and nobody saw how that ended: {holder}; its stack is looked at first"


def once_over(run: Run) -> str:
    """Say what to do about a target that is busy."""
    return f"Once that is over: towpath resume {run.id}"


def superseded(store: Store, run: Run, stage: PlannedStage, trust: Trust | None = None) -> Deployment | None:
    """Give the deployment that stands where a stage of a run had deployed, if that is another's by now."""
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    done = run.done(stage.name)
    origin = done.inherited["run"] if done and done.inherited else run.id
    last = next(reversed(list(ledger.deployments(book.events))), None)
    return None if last is None or (last.run, last.stage) == (origin, stage.name) else last


def lost_race(store: Store, run: Run, stage: PlannedStage, seen: int, trust: Trust | None = None) -> Deployment | None:
    """Give another run's deployment that was under way when the ledger was `seen` events long, or has begun since.

    CloudFormation drops every other change set of a stack whose execution begins, so that is what became of ours.
    """
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    under_way = ledger.replay(book.name, book.events[:seen]).unsettled
    for each in reversed(list(ledger.begun(book.events))):
        if each.run != run.id and (each.seq >= seen or (each.run, each.stage) in under_way):
            return each
    return None
