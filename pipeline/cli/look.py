"""status, runs, logs: read the record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common

_POLL_S = 0.5
_RUNS_AT_ONCE = 4
"""Of a store that is far away; each is read many objects at a time."""
_QUIET_S = 2.0
"""Between one stage's end and the next one's claim a run shows nothing under way, for milliseconds: longer means it is over."""

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.plan import Plan
    from pipeline.record.chain import Event
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store


@click.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
@common.project
@common.store
@common.as_json
def status(run_id: str, project: str, store: str | None, *, as_json: bool) -> None:
    """Show how the stages of RUN (default: the latest) stand, as the record tells it."""
    from pipeline.cli import report

    opened = common.open_store(store, Path(project))
    state = _summary(opened, common.find_run(opened, run_id), targets=True)
    if as_json:
        common.print_json(state)
    else:
        report.show(state)
        for name, stage in state["stages"].items():
            if stage["failure"]:
                click.echo(f"\n{name}: {stage['failure']['message']}")


@click.command()
@click.option(
    "-n", "--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, the latest first."
)
@common.project
@common.store
@common.as_json
def runs(limit: int, project: str, store: str | None, *, as_json: bool) -> None:
    """List the runs in the store, the latest first."""
    from pipeline.record import runs as records
    from pipeline.record.store import ahead

    opened = common.open_store(store, Path(project))
    latest = records.run_ids(opened)[: -limit - 1 : -1]
    states = ahead.each(opened, lambda run_id: _listed(opened, run_id), latest, _RUNS_AT_ONCE)
    if as_json:
        common.print_json(states)
        return
    for state in states:
        click.echo(f"{state['run']}  {state['name'] or '?'}  {state['state']:<10} {state['told']}")


@click.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
@click.argument("stage", required=False)
@click.option("--attempt", type=click.IntRange(1), help="Only this attempt. Default: all of them.")
@click.option("--function", metavar="ID", help="Only lines of this function, as the label of a line has it.")
@click.option(
    "--follow", is_flag=True, help="Go on with what is logged meanwhile, until no stage of the run is under way."
)
@common.project
@common.store
@common.as_json
def logs(
    *,
    run_id: str,
    stage: str | None,
    attempt: int | None,
    function: str | None,
    follow: bool,
    project: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Print the logs of RUN (default: the latest), of all its stages or of one. Every line is checked against its chain.

    With --json each line is one JSON object: stage, attempt, at, phase, stream, text, fields. A line shows up once its segment
    is stored: after five seconds at most.
    """
    from pipeline.errors import UsageError
    from pipeline.record import runs as records
    from pipeline.record.store import ahead

    opened = common.open_store(store, Path(project))
    found, wanted = common.find_run(opened, run_id), _Wanted(stage, attempt, function)
    if follow:
        _follow(opened, found, wanted, as_json=as_json)
        return
    seen = ahead.below(opened, f"runs/{found}")
    run = records.load(seen, found)
    if stage is not None and stage not in run.attempts:
        raise UsageError(
            f"run {run.id} has no attempt of a stage {stage!r}",
            hint=f"It has: {', '.join(run.attempts) or 'none yet'}.",
        )
    attempts = list(filter(wanted.attempt, _in_order(run)))
    if attempt is not None and not attempts:
        raise UsageError(f"run {run.id} has no attempt {attempt}{f' of {stage}' if stage else ''}")
    for each in attempts:
        _print_log(seen, run, each, wanted, as_json=as_json)


@dataclass(frozen=True)
class _Wanted:
    """Which attempts and lines of a run to print; None is all."""

    stage: str | None
    number: int | None
    function: str | None

    def attempt(self, each: Attempt) -> bool:
        return self.stage in (None, each.stage) and self.number in (None, each.number)

    def line(self, event: Event) -> bool:
        """Whether a line is wanted; one may speak of several functions that are one image."""
        speaks_of = str(event.data.get("fields", {}).get("function", "")).split(", ")
        return self.function is None or self.function in speaks_of


def _in_order(run: Run) -> list[Attempt]:
    return sorted((each for attempts in run.attempts.values() for each in attempts), key=lambda each: each.opened_at)


def _print_log(store: Store, run: Run, attempt: Attempt, wanted: _Wanted, *, as_json: bool) -> None:
    from pipeline.record.runs import log_name
    from pipeline.record.writer import follow_log

    events = follow_log(store, log_name(run.id, attempt.stage, attempt.number))
    _print_lines(attempt, events, wanted, as_json=as_json)


def _print_lines(attempt: Attempt, events: Iterable[Event], wanted: _Wanted, *, as_json: bool) -> None:
    from pipeline.record.chain import LOG_LINE

    for event in events:
        if event.type == LOG_LINE and wanted.line(event):
            click.echo(common.json_text(_line(attempt, event)) if as_json else _text(attempt, event))


def _follow(store: Store, run_id: str, wanted: _Wanted, *, as_json: bool) -> None:
    """Print what is logged and poll for more, until nothing of the run has been under way for a while."""
    from pipeline.errors import UsageError
    from pipeline.record import runs as records
    from pipeline.record.writer import LogReader

    plan = _plan(store, records.load(store, run_id))
    if wanted.stage is not None and wanted.stage not in plan.stages:
        raise UsageError(f"run {run_id} has no stage {wanted.stage!r}", hint=f"It has: {', '.join(plan.stages)}.")
    readers: dict[str, LogReader] = {}
    busy_at = time.monotonic()
    while time.monotonic() - busy_at < _QUIET_S:
        run = records.load(store, run_id)
        busy, over = _under_way(store, plan, run)
        for each in filter(wanted.attempt, _in_order(run)):
            log = records.log_name(run_id, each.stage, each.number)
            events = readers.setdefault(each.name, LogReader(store, log)).new()
            _print_lines(each, events, wanted, as_json=as_json)
        if over:
            return
        busy_at = time.monotonic() if busy else busy_at
        time.sleep(_POLL_S)


def _under_way(store: Store, plan: Plan, run: Run) -> tuple[bool, bool]:
    """Tell whether a stage is under way, and whether none can follow as all are done. Asked before the logs are read."""
    from pipeline import earlier

    return bool(earlier.under_way(store, plan, run)), all(run.done(name) for name in plan.stages)


def _line(attempt: Attempt, event: Event) -> dict[str, Any]:
    return {"stage": attempt.stage, "attempt": attempt.number, "at": event.at, **event.data}


def _text(attempt: Attempt, event: Event) -> str:
    from pipeline.cli.progress import label, plain

    return f"{event.at[11:23]} {label(attempt.stage, event.data.get('fields', {}))} {plain(event.data['text'])}"


def _listed(store: Store, run_id: str) -> dict[str, Any]:
    """Give a run's line in the list; one that cannot be read is listed as that, and hides no other."""
    from pipeline.errors import TowpathError
    from pipeline.record import runs as records

    try:
        state = _summary(store, run_id)
    except TowpathError as error:
        none = {"name": None, "opened_at": None, "requester": None}
        return {"run": run_id, **none, "state": "unreadable", "told": error.message}
    done = sum(stage["state"] == "succeeded" for stage in state["stages"].values())
    told = f"{done}/{len(state['stages'])} stages  {state['opened_at']}"
    instead = records.yielded_to(store, run_id) if not done else None
    if instead:
        state["state"], told = "unused", f"opened in the same moment as {instead}, which goes on for both"
    return {**{key: state[key] for key in ("run", "name", "opened_at", "requester", "state")}, "told": told}


def _summary(store: Store, run_id: str, *, targets: bool = False) -> dict[str, Any]:
    """Give a run's state; with `targets` also whether what it deployed, or would deploy, is outdated there."""
    from pipeline.cli import report
    from pipeline.earlier import alive
    from pipeline.record import runs as records

    run = records.load(store, run_id)
    compiled = _plan(store, run)
    state = report.summary(run, compiled, lambda last: alive(store, compiled, run, last))
    if targets:
        report.add_newer(state, store, compiled, run)
    return state


def _plan(store: Store, run: Run) -> Plan:
    from pipeline import plan

    return plan.of(store, run)
