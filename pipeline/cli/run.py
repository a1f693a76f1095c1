"""run, resume, rerun, stage: drive a run, and report on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, opening, progress, recording
from pipeline.cli.ci import dress
from pipeline.errors import TowpathError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.cli.ci.output import Output
    from pipeline.cli.recording import Recording
    from pipeline.context import Context
    from pipeline.standings import Wish


@click.command()
@recording.options(definition=True, jobs=True)
def run(*, file: Path, parameters: tuple[str, ...], jobs: int, at: Recording) -> None:
    """Run the pipeline: check everything, open a run, then attempt each stage once what it needs is done."""
    from pipeline.standings import Wish

    context = opening.open_new(file, parameters, at)
    drive(context, Wish(), jobs, output=at.output)


@click.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
@click.option(
    "--again",
    multiple=True,
    metavar="STAGE",
    help="Repeat a stage that was killed in the middle and may not be repeated by itself.",
)
@recording.options(jobs=True)
def resume(*, run_id: str, again: tuple[str, ...], jobs: int, at: Recording) -> None:
    """Go on with RUN (default: the latest): what is recorded as done stays done, everything else is attempted."""
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = opening.find(run_id, at)
    common.known(context.plan, again)
    for name in again:
        if context.run.done(name):
            hint = (
                f"To do it again, in a new run that takes over the rest: towpath rerun {context.run.id} --from {name}"
            )
            raise UsageError(f"stage {name} has succeeded, and is not repeated", hint=hint)
    _tell_changes(context)
    _tell_done(context)
    drive(context, Wish(again=frozenset(again)), jobs, output=at.output)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--from",
    "begins",
    multiple=True,
    required=True,
    metavar="STAGE",
    help="Do this stage again, and all that come after it; may be repeated. What else RUN has done is taken over.",
)
@recording.options(jobs=True)
def rerun(*, run_id: str, begins: tuple[str, ...], jobs: int, at: Recording) -> None:
    """Open a new run with the plan and the source of RUN, take over what came before STAGE, and do the rest again.

    RUN stays as it is. What is taken over is not done again, only held against RUN's record; what changes something at a target
    proposes anew, and is approved anew.
    """
    from pipeline.standings import Wish

    older = opening.find(run_id, at, quiet=True)
    common.known(older.plan, begins)
    context = opening.take_over(older, begins, output=at.output)
    _tell_changes(context)
    drive(context, Wish(), jobs, output=at.output)


def _tell_changes(context: Context) -> None:
    """Say which file was edited since the run was planned: people expect their edit to count, and it does not."""
    from pipeline.record import digest

    files = dict(context.plan.definition)
    for stage in context.plan.stages.values():
        files |= stage.files
    for name, planned in files.items():
        try:
            found = digest.of_bytes((context.project / name).read_bytes()) if context.project else planned
        except OSError:
            continue
        if found != planned:
            text = (
                f"{name} was changed since this run was planned; the run keeps its plan. To use the change: towpath run"
            )
            context.reporter.note(text)


def _tell_done(context: Context) -> None:
    """Say which attempt's outputs are built upon."""
    for name in context.plan.stages:
        done = context.run.done(name)
        if done:
            handed_on = f": {', '.join(done.outputs)}" if done.outputs else ""
            context.reporter.note(f"{name} was done in attempt {done.number}{handed_on}")


@click.group()
def stage() -> None:
    """Run single stages: one command at a time, on one machine or several that share the store."""


@stage.command("run")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--run",
    "run_id",
    required=True,
    metavar="RUN",
    help="The run: an id, `latest`, `new` to open one, or `auto`: that of this run of the CI system, opened by whichever job is first. "
    "`auto:NAME` tells several pipelines in one apart.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Repeat the stage even if it was killed in the middle and may not be repeated by itself.",
)
@recording.options(definition=True, jobs=True)
def stage_run(
    *,
    names: tuple[str, ...],
    run_id: str,
    again: bool,
    file: Path,
    parameters: tuple[str, ...],
    jobs: int,
    at: Recording,
) -> None:
    """Run the stages NAME... of a run. A stage that is done already is left as it is, which is told, and is no failure; one whose
    needs are not done is refused.
    """
    from pipeline.cli.ci import identity
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    if run_id == "new":
        context = opening.open_new(file, parameters, at, names=names)
    elif identity.is_auto(run_id):
        context = opening.find_or_open(run_id, file, parameters, at, names=names)
    elif parameters:
        hint = "Leave out --parameter, or open another run: --run new"
        raise UsageError(f"run {run_id} has its parameters: they are part of its plan", hint=hint)
    else:
        context = opening.find(run_id, at)
    common.known(context.plan, names)
    wanted = frozenset(names)
    drive(context, Wish(only=wanted, again=wanted if again else frozenset()), jobs, output=at.output)


@stage.command("propose")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, `latest` or `auto`.")
@recording.options()
def stage_propose(*, name: str, run_id: str, at: Recording) -> None:
    """Have stage NAME say what it would do, and go no further. Exit code 75 if people have to approve it, 0 if nobody need."""
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = opening.find(run_id, at)
    common.known(context.plan, (name,))
    if not context.plan.stages[name].rules:
        hint = f"Run it: towpath stage run {name} --run {context.run.id}"
        raise UsageError(f"stage {name} has no gate, and so nothing to propose", hint=hint)
    context.propose_only = True
    drive(context, Wish(only=frozenset({name})), 1, output=at.output)


@stage.command("apply")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, `latest` or `auto`.")
@recording.options()
def stage_apply(*, name: str, run_id: str, at: Recording) -> None:
    """Do what stage NAME has proposed, if its gate is open; go on if that was begun and cut off.

    Exit code 75 if people have yet to approve it.
    """
    from pipeline import earlier, secrets
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = opening.find(run_id, at)
    common.known(context.plan, (name,))
    if not earlier.proposed(context.run, name) and not context.run.done(name):
        raise UsageError(
            f"stage {name} has nothing proposed", hint=f"First: towpath stage propose {name} --run {context.run.id}"
        )
    missing = secrets.unset(context.plan.stages[name].secrets, os.environ)
    if missing and not context.run.done(name):  # an attempt that fails for that would use up what is proposed
        hint = f"Set {'it' if len(missing) == 1 else 'them'} for this command. What is proposed is kept."
        raise UsageError(f"stage {name} takes secrets from variables that are not set: {', '.join(missing)}", hint=hint)
    drive(context, Wish(only=frozenset({name})), 1, output=at.output)


def drive(context: Context, wish: Wish, jobs: int, *, output: Output, about: dict[str, Any] | None = None) -> None:
    """Drive the run, then report on it however it ended. `about` is what the report says besides, for programs."""
    from pipeline import engine

    already = _already_done(context, wish)
    try:
        if wish.only is None or not wish.only <= set(already):
            with progress.live(context.reporter):
                engine.drive(context, wish, jobs)
    except TowpathError:
        _report(context, already, about or {}, output=output)
        raise
    _report(context, already, about or {}, output=output)


def _already_done(context: Context, wish: Wish) -> dict[str, dict[str, Any]]:
    """Say which of the stages that this command is about were done before it, by whom, and whether that still stands."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(wish.only or ()):
        stage, done = context.plan.stages[name], context.run.done(name)
        if done is None:
            continue
        newer = None
        if stage.kind == "deploy" and stage.rules:
            from pipeline import barriers

            newer = barriers.superseded(context.store, context.run, stage, context.trust)
        by = f"process {done.writer.get('pid')} on {done.writer.get('host')}"
        told = {"attempt": done.number, "at": done.closed_at, "by": by}
        found[name] = {**told, "newer": newer.as_json() if newer else None}
    return found


def report_on(context: Context, *, output: Output) -> None:
    """Report on a run as it stands now."""
    _report(context, {}, {}, output=output)


def _report(context: Context, already: dict[str, dict[str, Any]], about: dict[str, Any], *, output: Output) -> None:
    from pipeline.cli import report
    from pipeline.earlier import alive

    state = report.summary(
        context.run, context.plan, lambda last: alive(context.store, context.plan, context.run, last)
    )
    for name, each in already.items():
        state["stages"][name] |= {"newer": each["newer"]} if each["newer"] else {}
    if output.asked:
        output.leave(dress.Told(state, _gates(context)))
    if output.as_json:
        common.print_json({**state, **about, "already_done": already, "notes": getattr(context.reporter, "notes", [])})
        return
    for name, each in already.items():
        text = f"{name}: already done in attempt {each['attempt']} by {each['by']}, {each['at']}; it is not done again"
        click.echo(progress.plain(text), err=True)
    report.show(state)


def _gates(context: Context) -> list[dict[str, Any]]:
    """Give the gates at which a run waits, with what people are asked to approve."""
    from pipeline import gating

    found = []
    for name, stage in context.plan.stages.items():
        last = context.run.last(name)
        if last and last.outcome == "waiting" and last.proposal:
            try:
                gate = gating.look(context.store, context.plan, context.run, stage, last.proposal, trust=context.trust)
            except TowpathError:  # which is what the command itself ends with
                continue
            told = {"run": context.run.id, "stage": name, "state": gate.state, "reasons": gate.reasons}
            found.append({**told, "view": last.proposal.view})
    return found
