"""A run as people and programs see it: the same summary for `run`, `resume`, `stage run` and `status`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.progress import plain
from pipeline.errors import VerificationFailed
from pipeline.gates import rollbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store

_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "rejected": "red",
    "timed-out": "red",
    "canceled": "yellow",
    "lost": "yellow",
    "waiting": "yellow",
    "running": "cyan",
}


def summary(run: Run, plan: Plan, alive: Callable[[Attempt], bool]) -> dict[str, Any]:
    """Give a run's state as JSON. `state` is `succeeded` only if every stage is, and the gravest of them else.

    `unfinished`: nothing is under way, and stages are left that nobody has begun.
    """
    stages = {name: _stage(run.last(name), alive) for name in plan.stages}
    return {
        "run": run.id,
        "name": plan.name,
        "state": _state([each["state"] for each in stages.values()]),
        "opened_at": run.opened_at,
        "plan": run.plan,
        "way": rollbacks.told(run.data),
        "source": run.data.get("source"),
        "requester": run.data.get("requester"),
        "stages": stages,
    }


def add_newer(state: dict[str, Any], store: Store, plan: Plan, run: Run) -> None:
    """Add to each stage of a summary which deployment by another run stands in its place, or before it: `newer`; how the gate
    stands at which it waits: `gate`; `held`, if a rollback keeps it from its target; and what nobody has reviewed yet that was let
    through by breaking the glass: `to_review`.

    A ledger that does not hold is told on standard error: what the run itself left is told all the same.
    """
    from pipeline import barriers, gating, standings

    for name, stage in plan.stages.items():
        if not stage.rules:
            continue
        try:
            last = run.last(name)
            if last and last.outcome == "waiting" and last.proposal:
                gate = gating.look(store, plan, run, stage, last.proposal)
                reasons = [*gate.reasons, *(standings.turn(plan, run, name) if gate.state == "open" else [])]
                state["stages"][name]["gate"] = {"state": gate.state, "reasons": reasons}
            if glass := gating.to_review(store, run, stage):
                state["stages"][name]["to_review"] = glass
            if not plan.releases(stage):
                continue
            if not run.done(name):
                found = barriers.barrier(store, plan, run, stage)
                newer = found.newer if found else None
                if found and found.state == "held":
                    state["stages"][name]["held"] = "; ".join(found.reasons)
            else:
                newer = barriers.superseded(store, run, stage) if stage.kind == "deploy" else None
        except VerificationFailed as error:
            click.echo(f"{name}: {error.message}", err=True)
            continue
        state["stages"][name] |= {"newer": newer.as_json()} if newer else {}


def newer(stage: dict[str, Any]) -> str | None:
    """Say by what a stage of a summary is outdated, or what stands in its place."""
    found = stage.get("newer")
    if not found:
        return None
    word = "no longer current" if stage["state"] == "succeeded" else "outdated"
    return f"{word}: run {found['run']} deployed here at {found['at']}, asked for by {found['by']}"


def way(told: dict[str, Any] | None) -> str | None:
    """Say in which way a run takes over from another."""
    if told is None:
        return None
    where = ", ".join(told["environments"])
    if told["kind"] == "rollback":
        return f"rollback of {where} to the release of run {told['run']}"
    return f"promotion of run {told['run']} to {where}"


def show(state: dict[str, Any]) -> None:
    """Print a summary for people."""
    width = max(len(name) for name in state["stages"])
    click.echo(f"\nrun {state['run']}  {state['name']}  {_coloured(state['state'])}")
    if told := way(state["way"]):
        click.echo(f"  {plain(told)}")
    for name, stage in state["stages"].items():
        attempt = f"attempt {stage['attempt']}" if stage["attempt"] else ""
        attempt = f"from {stage['inherited_from']}" if stage["inherited_from"] else attempt
        took = f"{stage['took_s']:.1f} s" if stage["took_s"] is not None else ""
        click.echo(f"  {name:<{width}}  {_coloured(stage['state'], 9)}  {attempt:<10} {took:>8}")
        told = newer(stage) or stage.get("held")
        if told:
            click.echo(f"  {'':<{width}}    {plain(told)}")
        for each in stage.get("to_review", []):
            text = f"let through as {each['person']} broke the glass ({', '.join(each['waived'])}), and not reviewed: {each['reason']}"
            click.echo(f"  {'':<{width}}    {plain(text)}")
            click.echo(f"  {'':<{width}}    towpath break-glass {state['run']} {name} --review --reason '...'")
        for reason in (stage.get("gate") or {}).get("reasons", []):
            click.echo(f"  {'':<{width}}    {plain(reason)}")
        for key, url in stage["facts"].get("endpoints", {}).items():
            click.echo(f"  {'':<{width}}    {key}: {url}")


def _stage(last: Attempt | None, alive: Callable[[Attempt], bool]) -> dict[str, Any]:
    if last is None:
        return {
            "state": "pending",
            "attempt": None,
            "inherited_from": None,
            "took_s": None,
            "outputs": {},
            "facts": {},
            "failure": None,
        }
    state: str = last.outcome or ("running" if alive(last) else "lost")
    failure = last.failure if last.outcome not in (None, "succeeded") else None
    return {
        "state": state,
        "attempt": last.number,
        "inherited_from": last.inherited["run"] if last.inherited else None,
        "took_s": _seconds(last.opened_at, last.closed_at) if last.closed_at else None,
        "outputs": last.outputs,
        "facts": last.facts,
        "failure": {"class": failure.cls, "message": failure.message, "where": failure.where, "hint": failure.hint}
        if failure
        else None,
    }


def _state(states: list[str]) -> str:
    for state in ("running", "failed", "rejected", "timed-out", "canceled", "lost", "waiting"):
        if state in states:
            return state
    return "succeeded" if set(states) == {"succeeded"} else "unfinished"


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _coloured(state: str, width: int = 0) -> str:
    return click.style(f"{state:<{width}}", fg=_COLOURS.get(state))
