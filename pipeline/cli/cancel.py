"""cancel: stop a run, or one of its stages, wherever it is under way."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import common

if TYPE_CHECKING:
    from pipeline.record.store import Store

_POLL_S = 0.2


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("stage", required=False)
@common.project
@common.store
@common.as_json
def cancel(*, run_id: str, stage: str | None, project: str, store: str | None, as_json: bool) -> None:
    """Stop RUN, or just STAGE of it, on whatever machine it is under way, and wait until that is recorded.

    Programs are asked to end, and ended after five seconds. What has begun outside, as a deployment by CloudFormation, goes on there.
    `towpath resume` goes on with what was stopped. A proposal that waits for approval is ended by `towpath reject`.
    """
    from pipeline import cancel as requests
    from pipeline import earlier, plan
    from pipeline.record import runs

    def note(text: str) -> None:
        if not as_json:  # then standard error is for one object alone
            click.echo(text, err=True)

    opened = common.open_store(store, Path(project))
    run = runs.load(opened, common.find_run(opened, run_id))
    compiled = plan.of(opened, run)
    if stage:
        common.known(compiled, (stage,))
    under_way = [each for each in earlier.under_way(opened, compiled, run) if stage in (None, each.stage)]
    if not under_way:
        what = f"stage {stage} of run {run.id}" if stage else f"run {run.id}"
        note(f"nothing of {what} is under way, as far as the record tells")
    names = [each.name for each in under_way]
    if names:
        requests.ask(opened, run.id, names, _whoever(), whole=stage is None)
    for each in under_way:
        where = f"process {each.writer['pid']} on {each.writer['host']}"
        note(f"{each.name}: asked {where} to stop it")
    outcomes = _wait(opened, run.id, names)
    if as_json:
        common.print_json({"run": run.id, "attempts": outcomes})
    for name, outcome in () if as_json else outcomes.items():
        click.echo(f"{name}  {outcome}")


def _wait(store: Store, run_id: str, names: list[str]) -> dict[str, str]:
    """Give the outcome of each attempt once it is recorded. Raises Blocked if none is in time."""
    from pipeline.errors import Blocked
    from pipeline.record import runs
    from stages.limits import LIMITS

    deadline = time.monotonic() + LIMITS.cancel_s
    while True:
        run = runs.load(store, run_id)
        made = {each.name: each for attempts in run.attempts.values() for each in attempts if each.name in names}
        outcomes = {name: each.outcome for name, each in made.items() if each.outcome}
        if len(outcomes) == len(names):
            return dict(outcomes)
        if time.monotonic() > deadline:
            slow = ", ".join(name for name in names if name not in outcomes)
            hint = f"Its runner may be dead, or cut off from the store: towpath status {run_id}"
            raise Blocked(f"{slow} was asked to stop, and did not within {LIMITS.cancel_s:g} s", hint=hint)
        time.sleep(_POLL_S)


def _whoever() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
