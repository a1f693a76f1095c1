"""run, resume, stage run: drive a run."""

from __future__ import annotations

import getpass
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pipeline
from pipeline.cli import common, progress
from pipeline.cli.ci import dress
from pipeline.cli.ci import output as outputs
from pipeline.errors import TowpathError

if TYPE_CHECKING:
    from pipeline.cli.ci.output import Output
    from pipeline.context import Context
    from pipeline.plan import Plan
    from pipeline.record.ledger import Ledger
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust
    from pipeline.standings import Wish


_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_CI_LOGINS = (
    *("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"),
    *("BUILDKITE_BUILD_CREATOR_EMAIL", "TOWPATH_REQUESTER"),
)
"""Variables in which CI systems say for whom they act. Who runs a workflow again is asking for it, whoever did before. The last
is for those that do not say it, and hides nobody whom another names.

https://docs.github.com/en/actions/reference/workflows-and-actions/variables
https://docs.gitlab.com/ci/variables/predefined_variables/
"""


@click.command()
@common.file
@common.project
@common.parameter
@common.store
@common.jobs
@common.key
@common.trust
@outputs.options
def run(
    *,
    file: str | None,
    project: str,
    parameters: tuple[str, ...],
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    output: Output,
) -> None:
    """Run the pipeline: check everything, open a run, then attempt each stage once what it needs is done."""
    from pipeline.standings import Wish

    context = _open(common.definition_file(file, project), parameters, store, Keys(key, trust), output=output)
    drive(context, Wish(), jobs, output=output)


@click.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
@click.option(
    "--again",
    multiple=True,
    metavar="STAGE",
    help="Repeat a stage that was killed in the middle and may not be repeated by itself.",
)
@common.project
@common.store
@common.jobs
@common.key
@common.trust
@outputs.options
def resume(
    *,
    run_id: str,
    again: tuple[str, ...],
    project: str,
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    output: Output,
) -> None:
    """Go on with RUN (default: the latest): what is recorded as done stays done, everything else is attempted."""
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), output=output)
    common.known(context.plan, again)
    for name in again:
        if context.run.done(name):
            hint = (
                f"To do it again, in a new run that takes over the rest: towpath rerun {context.run.id} --from {name}"
            )
            raise UsageError(f"stage {name} has succeeded, and is not repeated", hint=hint)
    _tell_changes(context)
    _tell_done(context)
    drive(context, Wish(again=frozenset(again)), jobs, output=output)


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
@common.project
@common.store
@common.jobs
@common.key
@common.trust
@outputs.options
def rerun(
    *,
    run_id: str,
    begins: tuple[str, ...],
    project: str,
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    output: Output,
) -> None:
    """Open a new run with the plan and the source of RUN, take over what came before STAGE, and do the rest again.

    RUN stays as it is. What is taken over is not done again, only held against RUN's record; what changes something at a target
    proposes anew, and is approved anew.
    """
    from pipeline.standings import Wish

    older = _find(run_id, project, store, Keys(key, trust), output=outputs.Output(as_json=True))
    common.known(older.plan, begins)
    context = _take_over(older, begins, output=output)
    _tell_changes(context)
    drive(context, Wish(), jobs, output=output)


def _take_over(older: Context, begins: tuple[str, ...], *, output: Output) -> Context:
    """Open a run that takes over from an older one what does not come after the stages that it begins with."""
    from pipeline import inherit, source
    from pipeline.record import runs
    from stages.kinds import KINDS

    plan, project = older.plan, older.project or Path()
    _refuse_under_way(older)
    taken = inherit.begin_at(plan, older.run, begins)
    inherit.refuse_replaced(older.store, plan, older.run, taken, older.trust)
    _refuse_overtaken(older, [name for name in plan.stages if name not in taken])
    if any("source" in KINDS[each.kind].needs for name, each in plan.stages.items() if name not in taken):
        source.compare(older.run.data.get("source"), source.state(project))
    told = {"plan": older.run.plan, "inherits": inherit.as_json(older.run, taken)}
    about = _about(older.store, plan, project, older.run.data.get("source"), older.trust)
    new = runs.open_run(older.store, {**about, **told}, older.key)
    return _context(older.store, new, plan, project, older.key, trust=older.trust, output=output)


def _refuse_under_way(older: Context) -> None:
    """Raise Blocked if somebody is at the older run: its stages would be done twice at the same time."""
    from pipeline.earlier import alive
    from pipeline.errors import Blocked

    for name in older.plan.stages:
        last = older.run.last(name)
        if last and last.outcome is None and alive(older.store, older.plan, older.run, last):
            hint = f"Wait for it (towpath status {older.run.id}), or stop it: towpath cancel {older.run.id}"
            raise Blocked(f"run {older.run.id} is under way: its stage {name} is being run", hint=hint)


def _refuse_overtaken(older: Context, anew: list[str]) -> None:
    """Raise Blocked, before a run is opened, if one that is newer has deployed where these stages of the older one would."""
    for name in anew:
        stage = older.plan.stages[name]
        if stage.target and stage.rules:
            from pipeline import gating
            from pipeline.errors import Blocked

            found = gating.overtaken(older.store, older.plan, older.run, stage, older.trust)
            if found:
                text = f"stage {name} of run {older.run.id} is {gating.outdated_by(found[1], older.run)}"
                raise Blocked(text, hint=gating.START_ANEW)


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
@common.file
@common.project
@common.parameter
@common.store
@common.jobs
@common.key
@common.trust
@outputs.options
def stage_run(
    *,
    names: tuple[str, ...],
    run_id: str,
    file: str | None,
    project: str,
    parameters: tuple[str, ...],
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    again: bool,
    output: Output,
) -> None:
    """Run the stages NAME... of a run. A stage that is done already is left as it is, which is told, and is no failure; one whose
    needs are not done is refused.
    """
    from pipeline.cli.ci import identity
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    path = common.definition_file(file, project)
    if run_id == "new":
        context = _open(path, parameters, store, Keys(key, trust), output=output, names=names)
    elif identity.is_auto(run_id):
        context = _find_or_open(run_id, path, parameters, store, Keys(key, trust), output=output, names=names)
    elif parameters:
        hint = "Leave out --parameter, or open another run: --run new"
        raise UsageError(f"run {run_id} has its parameters: they are part of its plan", hint=hint)
    else:
        context = _find(run_id, str(path.parent), store, Keys(key, trust), output=output)
    common.known(context.plan, names)
    wanted = frozenset(names)
    drive(context, Wish(only=wanted, again=wanted if again else frozenset()), jobs, output=output)


@stage.command("propose")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, `latest` or `auto`.")
@common.project
@common.store
@common.key
@common.trust
@outputs.options
def stage_propose(
    *, name: str, run_id: str, project: str, store: str | None, key: str | None, trust: str | None, output: Output
) -> None:
    """Have stage NAME say what it would do, and go no further. Exit code 75 if people have to approve it, 0 if nobody need."""
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), output=output)
    common.known(context.plan, (name,))
    if not context.plan.stages[name].rules:
        hint = f"Run it: towpath stage run {name} --run {context.run.id}"
        raise UsageError(f"stage {name} has no gate, and so nothing to propose", hint=hint)
    context.propose_only = True
    drive(context, Wish(only=frozenset({name})), 1, output=output)


@stage.command("apply")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, `latest` or `auto`.")
@common.project
@common.store
@common.key
@common.trust
@outputs.options
def stage_apply(
    *, name: str, run_id: str, project: str, store: str | None, key: str | None, trust: str | None, output: Output
) -> None:
    """Do what stage NAME has proposed, if its gate is open; go on if that was begun and cut off.

    Exit code 75 if people have yet to approve it.
    """
    from pipeline import earlier
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), output=output)
    common.known(context.plan, (name,))
    if not earlier.proposed(context.run, name) and not context.run.done(name):
        raise UsageError(
            f"stage {name} has nothing proposed", hint=f"First: towpath stage propose {name} --run {context.run.id}"
        )
    drive(context, Wish(only=frozenset({name})), 1, output=output)


@dataclass(frozen=True)
class Keys:
    """Files named on the command line: the runner's own key, and the keys that count."""

    own: str | None
    trust: str | None


def _open(
    file: Path,
    parameters: tuple[str, ...],
    store: str | None,
    keys: Keys,
    *,
    output: Output,
    identity: str | None = None,
    names: tuple[str, ...] = (),
) -> Context:
    """Load, resolve, plan, check, open. `names` are the stages that are wanted, if not all are."""
    from pipeline import checks
    from pipeline.errors import UsageError

    definition, project = common.load(file)
    plan, files = common.compile_plan(definition, project, parameters)
    common.known(plan, names)
    lacking = [(name, need) for name in names for need in plan.stages[name].needs if need not in names]
    if lacking:
        hint = f"Begin with it: towpath stage run {lacking[0][1]} --run {'auto' if identity else 'new'}"
        raise UsageError(f"stage {lacking[0][0]} needs {lacking[0][1]}, which a new run has not done", hint=hint)
    checks.check(plan, project)
    return begin(plan, files, project, store, keys, output=output, identity=identity)


def _find_or_open(
    text: str,
    file: Path,
    parameters: tuple[str, ...],
    store: str | None,
    keys: Keys,
    *,
    output: Output,
    names: tuple[str, ...],
) -> Context:
    """Give the run of this run of the CI system; it is opened by whichever job is first."""
    from pipeline.cli.ci import identity
    from pipeline.record import runs

    who, project = identity.identity(text, os.environ), file.absolute().parent
    found = runs.of_identity(common.open_store(store, project, create=True), who)
    if found is None:
        context = _open(file, parameters, store, keys, output=output, identity=who, names=names)
    else:
        context = _find(found, str(project), store, keys, output=output)
    _refuse_another(context, text, file, parameters)
    return context


def _refuse_another(context: Context, text: str, file: Path, parameters: tuple[str, ...]) -> None:
    """Refuse a run that another pipeline, or the same one with other parameters, has opened under this identity."""
    from pipeline import definition
    from pipeline.errors import InvalidDefinition, UsageError
    from pipeline.record import digest

    plan, run_id = context.plan, context.run.id
    for name, value in common.named(parameters).items():
        known = plan.parameters.get(name)
        told = str(known).lower() if isinstance(known, bool) else str(known)
        if name not in plan.parameters or told != value:
            hint = "Every job that may be the first says the same parameters, or none does."
            raise UsageError(f"run {run_id} was opened with {name}={told}, and not {value}", hint=hint)
    if file.is_file() and plan.definition.get(file.name) != digest.of_bytes(file.read_bytes()):
        try:
            other = definition.load(file, file.absolute().parent).name
        except InvalidDefinition:
            return
        if other != plan.name:
            hint = f"Where one run of the CI system has several pipelines, name each: --run {text.partition(':')[0]}:{other}"
            raise UsageError(f"run {run_id} is of the pipeline {plan.name!r}, and {file} is {other!r}", hint=hint)


def begin(
    plan: Plan,
    files: dict[str, bytes],
    project: Path,
    store: str | None,
    keys: Keys,
    *,
    output: Output,
    identity: str | None = None,
) -> Context:
    """Open a run of a plan: what the plan names is recorded first.

    With an identity, the run is that which this names: another one, if another job was first to open one.
    """
    from pipeline import checks, source
    from pipeline.executors import isolation
    from pipeline.record import artifacts, identities, runs

    isolation.choose(plan.isolation, os.environ)  # before anything is recorded
    signing, trust = common.runner_keys(keys.own, keys.trust)
    opened = common.open_store(store, project, create=True)
    checks.carriers(plan, opened)
    artifacts.put_blobs(opened, files.values())
    recorded = artifacts.put_json(opened, plan.as_json())
    about = _about(opened, plan, project, source.state(project), trust)
    first = runs.of_identity(opened, identity) if identity else None
    ours = None if first else runs.open_run(opened, {"plan": recorded, **about, "identity": identity}, signing)
    if ours and identity:
        identities.name(opened, identity, ours)
        first = runs.of_identity(opened, identity)
    if first and first != ours:
        return _find(first, str(project), store, keys, output=output)
    return _context(opened, str(ours), plan, project, signing, trust=trust, output=output)


def _about(
    store: Store, plan: Plan, project: Path, state: dict[str, Any] | None, trust: Trust | None
) -> dict[str, Any]:
    """What the opening of a run says of it; `state` is that of its source."""
    until = str((state or {}).get("commit") or "HEAD")
    books = _ledgers(store, plan, trust)
    return {
        "name": plan.name,
        "requester": _requester(project),
        "source": state,
        "authors": {name: _authors(book, project, until) for name, book in books.items()},
        "ledgers": {name: book.head.as_json() for name, book in books.items() if book.head},
        "version": pipeline.__version__,
    }


def _find(run_id: str, project: str, store: str | None, keys: Keys, *, output: Output) -> Context:
    from pipeline import plan
    from pipeline.record import artifacts, runs

    folder = Path(project).absolute()
    opened = common.open_store(store, folder)
    found = common.find_run(opened, run_id)
    signing, trust = common.runner_keys(keys.own, keys.trust)
    if trust:
        common.rely_on(opened, found, trust)
    digest = runs.load(opened, found).plan
    compiled = plan.from_json(
        artifacts.read_json(opened, digest, f"the plan of run {found}"), f"the plan of run {found}"
    )
    return _context(opened, found, compiled, folder, signing, trust=trust, output=output)


def _context(
    store: Store, run_id: str, plan: Plan, project: Path, key: Key, *, trust: Trust | None, output: Output
) -> Context:
    from pipeline.context import Context
    from pipeline.executors import isolation
    from pipeline.executors.either import EitherExecutor
    from pipeline.record import runs

    work = project / ".towpath" / "work"
    reporter = progress.reporter(quiet=output.as_json, dress=output.worn)
    isolated = isolation.choose(plan.isolation, os.environ)
    executor = EitherExecutor(work, isolated, _hidden(store, key))
    context = Context(store, plan, runs.load(store, run_id), project, work, executor, reporter, key, trust)
    reporter.run_known(context.run, plan)
    for line in isolated.told:
        reporter.note(line)
    isolation.shield(isolated)
    return context


def _hidden(store: Store, key: Key) -> tuple[Path, ...]:
    """The record and the key that seals it: no stage is to see either, wherever they are."""
    record = [Path(store.location)] if store.local else []
    return tuple(each.absolute() for each in (*record, *([key.path] if key.path else [])))


def drive(context: Context, wish: Wish, jobs: int, *, output: Output) -> None:
    """Drive the run, then report on it however it ended."""
    from pipeline import engine

    already = _already_done(context, wish)
    try:
        if wish.only is None or not wish.only <= set(already):
            with progress.live(context.reporter):
                engine.drive(context, wish, jobs)
    except TowpathError:
        _report(context, already, output=output)
        raise
    _report(context, already, output=output)


def _already_done(context: Context, wish: Wish) -> dict[str, dict[str, Any]]:
    """Say which of the stages that this command is about were done before it, by whom, and whether that still stands."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(wish.only or ()):
        stage, done = context.plan.stages[name], context.run.done(name)
        if done is None:
            continue
        newer = None
        if stage.kind == "deploy" and stage.rules:
            from pipeline import gating

            newer = gating.superseded(context.store, context.run, stage, context.trust)
        by = f"process {done.writer.get('pid')} on {done.writer.get('host')}"
        told = {"attempt": done.number, "at": done.closed_at, "by": by}
        found[name] = {**told, "newer": newer.as_json() if newer else None}
    return found


def _report(context: Context, already: dict[str, dict[str, Any]], *, output: Output) -> None:
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
        common.print_json({**state, "already_done": already})
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


def _ledgers(store: Store, plan: Plan, trust: Trust | None) -> dict[str, Ledger]:
    """Read the ledger of every target that a stage of the plan would change."""
    from pipeline.record import ledger

    targets = [stage.target for stage in plan.stages.values() if stage.target and stage.rules]
    return {name: ledger.read(store, name, trust) for name in dict.fromkeys(map(ledger.name_of, targets))}


def _authors(book: Ledger, project: Path, until: str) -> list[str] | None:
    """Say who wrote the commits since the last deployment to a target, up to `until`; before there was one, the last commit."""
    from pipeline import source

    since = (book.current or {}).get("commit")
    known = all(each in (None, "HEAD") or _COMMIT.fullmatch(str(each)) for each in (since, until))
    span = [f"{since}..{until}"] if since else ["-1", until]  # a ledger is not to hand options to Git
    listed = source.git(project, "log", "--format=%ae", *span) if known else None
    return sorted(set(listed.splitlines())) if listed is not None else None


def _requester(project: Path) -> dict[str, str | None]:
    """Say who asked for this run, as far as this machine knows; `login` is whom a CI system acts for."""
    from pipeline import source

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {
        "user": user,
        "host": socket.gethostname(),
        "email": source.git(project, "config", "user.email"),
        "login": next((os.environ[name] for name in _CI_LOGINS if os.environ.get(name)), None),
    }
