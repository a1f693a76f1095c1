"""What a new run takes over from an older one, instead of doing it again. Its plan is the same, or for a promotion or a rollback the
part of it that brings the release to one environment.

Which attempts these are stands in the new run's opening, by the heads of their chains. Each becomes an attempt of the new run
that says so and does nothing else; so all that builds upon it is as in any other run, and an audit holds it against the
older run's record.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import Blocked, VerificationFailed
from pipeline.record import artifacts, ledger, ledgers, runs

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


def begin_at(plan: Plan, run: Run, begins: Collection[str]) -> dict[str, Attempt]:
    """Give what is taken over if a new run begins at the stages `begins`: what succeeded and comes after none of them, nor after
    what is not done."""
    anew = set(begins)
    for name, stage in plan.stages.items():  # in an order in which every stage stands after what it needs
        if anew & _earlier(stage) or not run.done(name):
            anew.add(name)
    return {name: done for name in plan.stages if name not in anew and (done := run.done(name))}


def deploying(plan: Plan, environments: Collection[str]) -> list[str]:
    """Give the stages that deploy to one of these environments."""
    return [name for name, stage in plan.stages.items() if stage.kind == "deploy" and _within(stage, environments)]


def part(plan: Plan, environments: Collection[str], *, scans: bool = False) -> Plan:
    """Give the part of a plan that brings its release to some environments: the stages that deploy there, all that must come before
    them, and what comes after them in these environments, or in none. Pure: an audit does it again.

    With `scans` also those whose verdicts the rules of these environments demand, whether or not a deployment waits for them.
    """
    after = set(deploying(plan, environments))
    kept = _with_earlier(plan, after | (_scans(plan, after) if scans else set()))
    for name, stage in plan.stages.items():
        earlier = _earlier(stage)
        if _is_here(stage, environments) and after & earlier and earlier <= kept:
            kept.add(name)
            after.add(name)
    return dataclasses.replace(plan, stages={name: stage for name, stage in plan.stages.items() if name in kept})


def lacking(whole: Plan, run: Run, environments: Collection[str]) -> list[str]:
    """Give the stages that must have succeeded before anything is deployed to these environments, and have not.

    What is done for them alone, in them, after a deployment there (a canary's test) or as a copy of the release, belongs to the
    promotion itself.
    """
    deployments = deploying(whole, environments)
    needed, later = _with_earlier(whole, {*deployments, *_scans(whole, deployments)}), set(deployments)
    for name, stage in whole.stages.items():
        later |= {name} if _is_here(stage, environments) and later & _earlier(stage) else set()
    return [
        name
        for name, stage in whole.stages.items()
        if name in needed - later and not run.done(name) and not (_within(stage, environments) or _copies(stage))
    ]


def first(whole: Plan, run: Run, names: Collection[str]) -> list[str]:
    """Give these stages with those that they need and that are not done, in the plan's order: what is to be run for them. Pure."""
    return [name for name in whole.stages if name in _with_earlier(whole, set(names)) and not run.done(name)]


def _scans(plan: Plan, deployments: Collection[str]) -> set[str]:
    """Give the scans of a plan, if the rules of one of these deployments demand that one has passed."""
    demanded = any((plan.stages[name].rules or {}).get("scan") == "required" for name in deployments)
    return {name for name, stage in plan.stages.items() if stage.kind == "scan"} if demanded else set()


def _with_earlier(plan: Plan, names: Collection[str]) -> set[str]:
    found = set(names)
    for name in reversed(plan.stages):  # each stands after what comes before it
        if name in found:
            found |= _earlier(plan.stages[name])
    return found


def _earlier(stage: PlannedStage) -> set[str]:
    return {*stage.needs, *stage.after}


def _within(stage: PlannedStage, environments: Collection[str]) -> bool:
    return stage.target is not None and stage.target.environment in environments


def _is_here(stage: PlannedStage, environments: Collection[str]) -> bool:
    return stage.target is None or _within(stage, environments)


def _copies(stage: PlannedStage) -> bool:
    """Tell whether it copies a release to where it is deployed from: that makes nothing new."""
    return stage.kind == "package" and "release" in stage.inputs


def whole(store: Store, run: Run) -> Plan:
    """Give the plan of which a run's is a part: its own, but for a promotion or a rollback. Raises VerificationFailed."""
    what = f"the plan of run {run.id}"
    return plans.from_json(artifacts.read_json(store, whole_digest(store, run), what), what)


def whole_digest(store: Store, run: Run) -> str:
    """Give the digest of that plan; a rerun has the one of the run whose plan it has. Raises VerificationFailed."""
    own, known = run.plan, {run.id}
    while not run.data.get("way"):
        told = run.data.get("inherits")
        parent = runs.opened(store, str(told["run"]), str(told["opening"])) if told else None
        if parent is None or parent.plan != own or parent.id in known:
            return own
        known.add(parent.id)
        run = parent
    return str(run.data["way"]["plan"])


def as_json(run: Run, taken: dict[str, Attempt]) -> dict[str, Any]:
    """Give what the new run's opening says of it. What this run took over itself is taken over from where that came from."""
    own = {name: {"run": run.id, "attempt": each.number, **each.head.as_json()} for name, each in taken.items()}
    return {**lineage(run), "stages": {name: taken[name].inherited or each for name, each in own.items()}}


def lineage(run: Run) -> dict[str, Any]:
    """Give what a run that takes over from this one says of where it comes from.

    `requesters` asked for the older runs: nobody approves what they asked for. `root` is the run that took nothing over, with what its
    opening had found: the new one is no newer than that.
    """
    before = run.data.get("inherits") or {}
    found = {name: run.data.get(name) for name in ("before", "ledgers")}
    return {
        "run": run.id,
        "opening": run.head.digest,
        "requesters": [run.data.get("requester"), *before.get("requesters", [])],
        "root": before.get("root") or {"run": run.id, "opening": run.head.digest, **found},
    }


def taken_over(store: Store, run: Run, stage: str) -> Attempt | None:
    """Give the attempt that a stage of this run is to take over, as its own run's record has it. Raises VerificationFailed."""
    told = (run.data.get("inherits") or {}).get("stages", {}).get(stage)
    if told is None:
        return None
    older = runs.opening(store, told["run"])
    name = f"{stage}.{told['attempt']}"
    is_there = older and store.names(runs.chain_name(told["run"], name))
    found = runs.load_attempt(store, older, name) if older and is_there else None
    head = found.head.as_json() if found else {}
    if found is None or found.outcome != "succeeded" or any(told[name] != value for name, value in head.items()):
        text = (
            f"run {run.id} takes over {stage} from run {told['run']}, whose record is another than when it was opened"
        )
        raise VerificationFailed(text, where=str(told["chain"]))
    return found


def refuse_replaced(store: Store, plan: Plan, run: Run, taken: dict[str, Attempt], trust: Trust | None) -> None:
    """Raise Blocked if a deployment that would be taken over is no longer what stands at its target."""
    for name, attempt in taken.items():
        stage = plan.stages[name]
        if stage.target is None or not stage.rules:
            continue
        made = list(ledger.made(ledgers.read(store, ledger.name_of(stage.target), trust).events))
        if made and (made[-1].deletes or made[-1].run != origin(run, attempt)):
            where = f"{stage.target.called} ({stage.target.stack or stage.target.region})"
            did = "deleted it" if made[-1].deletes else "deployed there"
            raise Blocked(
                f"stage {name} of run {run.id} is no longer what stands at {where}: run {made[-1].run} {did} since",
                hint="Start anew, with the source as it is now: towpath run",
            )


def origin(run: Run, attempt: Attempt) -> str:
    """Give the run in which the result of an attempt was come to: this one, or the one that it was taken over from."""
    return str(attempt.inherited["run"]) if attempt.inherited else run.id
