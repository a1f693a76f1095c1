"""What a new run takes over from an older one of the same plan, instead of doing it again.

Which attempts these are stands in the new run's opening, by the heads of their chains. Each becomes an attempt of the new run
that says so and does nothing else; so all that builds upon it is as in any other run, and an audit holds it against the
older run's record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import Blocked, VerificationFailed
from pipeline.record import ledger, runs

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


def begin_at(plan: Plan, run: Run, begins: Collection[str]) -> dict[str, Attempt]:
    """Give what is taken over if a new run begins at the stages `begins`: what succeeded and comes after none of them, nor after
    what is not done."""
    anew = set(begins)
    for name, stage in plan.stages.items():  # in an order in which every stage stands after what it needs
        if anew & {*stage.needs, *stage.after} or not run.done(name):
            anew.add(name)
    return {name: done for name in plan.stages if name not in anew and (done := run.done(name))}


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
        current = ledger.read(store, ledger.name_of(stage.target), trust).current
        if current and current["run"] != origin(run, attempt):
            where = f"{stage.target.environment} ({stage.target.stack or stage.target.region})"
            raise Blocked(
                f"stage {name} of run {run.id} is no longer what stands at {where}: run {current['run']} deployed there since",
                hint="Start anew, with the source as it is now: towpath run",
            )


def origin(run: Run, attempt: Attempt) -> str:
    """Give the run in which the result of an attempt was come to: this one, or the one that it was taken over from."""
    return str(attempt.inherited["run"]) if attempt.inherited else run.id
