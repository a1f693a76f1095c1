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
from pipeline.cli import common
from pipeline.errors import TowpathError

if TYPE_CHECKING:
    from pipeline.context import Context
    from pipeline.plan import Plan
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust
    from pipeline.standings import Wish


_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_CI_LOGINS = ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
"""Variables in which CI systems say for whom they act. Who runs a workflow again is asking for it, whoever did before.

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
@common.as_json
def run(
    *,
    file: str | None,
    project: str,
    parameters: tuple[str, ...],
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Run the pipeline: check everything, open a run, then attempt each stage once what it needs is done."""
    from pipeline.standings import Wish

    context = _open(common.definition_file(file, project), parameters, store, Keys(key, trust), as_json=as_json)
    drive(context, Wish(), jobs, as_json=as_json)


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
@common.as_json
def resume(
    *,
    run_id: str,
    again: tuple[str, ...],
    project: str,
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Go on with RUN (default: the latest): what is recorded as done stays done, everything else is attempted."""
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), as_json=as_json)
    common.known(context.plan, again)
    _tell_changes(context)
    _tell_done(context)
    drive(context, Wish(again=frozenset(again)), jobs, as_json=as_json)


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
@common.as_json
def rerun(
    *,
    run_id: str,
    begins: tuple[str, ...],
    project: str,
    store: str | None,
    jobs: int,
    key: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Open a new run with the plan and the source of RUN, take over what came before STAGE, and do the rest again.

    RUN stays as it is. What is taken over is not done again, only held against RUN's record; what changes something at a target
    proposes anew, and is approved anew.
    """
    from pipeline.standings import Wish

    older = _find(run_id, project, store, Keys(key, trust), as_json=True)
    common.known(older.plan, begins)
    context = _take_over(older, begins, as_json=as_json)
    for stage, told in context.run.data["inherits"]["stages"].items():
        context.reporter.note(f"{stage} is taken over from run {told['run']}, attempt {told['attempt']}")
    drive(context, Wish(), jobs, as_json=as_json)


def _take_over(older: Context, begins: tuple[str, ...], *, as_json: bool) -> Context:
    """Open a run that takes over from an older one what does not come after the stages that it begins with."""
    from pipeline import inherit, source
    from pipeline.record import runs
    from stages.kinds import KINDS

    plan, project = older.plan, older.project or Path()
    taken = inherit.begin_at(plan, older.run, begins)
    inherit.refuse_replaced(older.store, plan, older.run, taken, older.trust)
    if any("source" in KINDS[each.kind].needs for name, each in plan.stages.items() if name not in taken):
        source.compare(older.run.data.get("source"), source.state(project))
    told = {"plan": older.run.plan, "inherits": inherit.as_json(older.run, taken)}
    about = _about(older.store, plan, project, older.run.data.get("source"), older.trust)
    new = runs.open_run(older.store, {**about, **told}, older.key)
    return _context(older.store, new, plan, project, older.key, trust=older.trust, as_json=as_json)


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
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, `latest`, or `new` to open one.")
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
@common.as_json
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
    as_json: bool,
) -> None:
    """Run the stages NAME... of a run. A stage that is done already is left as it is; one whose needs are not done is refused."""
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    path = common.definition_file(file, project)
    if run_id == "new":
        context = _open(path, parameters, store, Keys(key, trust), as_json=as_json)
    elif parameters:
        hint = "Leave out --parameter, or open another run: --run new"
        raise UsageError(f"run {run_id} has its parameters: they are part of its plan", hint=hint)
    else:
        context = _find(run_id, str(path.parent), store, Keys(key, trust), as_json=as_json)
    common.known(context.plan, names)
    wanted = frozenset(names)
    drive(context, Wish(only=wanted, again=wanted if again else frozenset()), jobs, as_json=as_json)


@stage.command("propose")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, or `latest`.")
@common.project
@common.store
@common.key
@common.trust
@common.as_json
def stage_propose(
    *, name: str, run_id: str, project: str, store: str | None, key: str | None, trust: str | None, as_json: bool
) -> None:
    """Have stage NAME say what it would do, and go no further. Exit code 75 if people have to approve it, 0 if nobody need."""
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), as_json=as_json)
    common.known(context.plan, (name,))
    context.propose_only = True
    drive(context, Wish(only=frozenset({name})), 1, as_json=as_json)


@stage.command("apply")
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run: an id, or `latest`.")
@common.project
@common.store
@common.key
@common.trust
@common.as_json
def stage_apply(
    *, name: str, run_id: str, project: str, store: str | None, key: str | None, trust: str | None, as_json: bool
) -> None:
    """Do what stage NAME has proposed, if its gate is open; go on if that was begun and cut off.

    Exit code 75 if people have yet to approve it.
    """
    from pipeline import earlier
    from pipeline.errors import UsageError
    from pipeline.standings import Wish

    context = _find(run_id, project, store, Keys(key, trust), as_json=as_json)
    common.known(context.plan, (name,))
    if not earlier.proposed(context.run, name) and not context.run.done(name):
        raise UsageError(
            f"stage {name} has nothing proposed", hint=f"First: towpath stage propose {name} --run {context.run.id}"
        )
    drive(context, Wish(only=frozenset({name})), 1, as_json=as_json)


@dataclass(frozen=True)
class Keys:
    """Files named on the command line: the runner's own key, and the keys that count."""

    own: str | None
    trust: str | None


def _open(file: Path, parameters: tuple[str, ...], store: str | None, keys: Keys, *, as_json: bool) -> Context:
    """Load, resolve, plan, check, open."""
    from pipeline import checks

    definition, project = common.load(file)
    plan, files = common.compile_plan(definition, project, parameters)
    checks.check(plan, project)
    return begin(plan, files, project, store, keys, as_json=as_json)


def begin(
    plan: Plan, files: dict[str, bytes], project: Path, store: str | None, keys: Keys, *, as_json: bool
) -> Context:
    """Open a run of a plan: what the plan names is recorded first."""
    from pipeline import source
    from pipeline.record import artifacts, runs

    signing, trust = common.runner_keys(keys.own, keys.trust)
    opened = common.open_store(store, project, create=True)
    for data in files.values():
        artifacts.put_blob(opened, data)
    recorded = artifacts.put_json(opened, plan.as_json())
    about = _about(opened, plan, project, source.state(project), trust)
    run_id = runs.open_run(opened, {"plan": recorded, **about}, signing)
    return _context(opened, run_id, plan, project, signing, trust=trust, as_json=as_json)


def _about(
    store: Store, plan: Plan, project: Path, state: dict[str, Any] | None, trust: Trust | None
) -> dict[str, Any]:
    """What the opening of a run says of it; `state` is that of its source."""
    until = str((state or {}).get("commit") or "HEAD")
    return {
        "name": plan.name,
        "requester": _requester(project),
        "source": state,
        "authors": _authors(store, plan, project, trust, until),
        "version": pipeline.__version__,
    }


def _find(run_id: str, project: str, store: str | None, keys: Keys, *, as_json: bool) -> Context:
    from pipeline import plan
    from pipeline.record import artifacts, runs

    folder = Path(project).absolute()
    opened = common.open_store(store, folder)
    found = runs.find(opened, run_id)
    signing, trust = common.runner_keys(keys.own, keys.trust)
    if trust:
        common.rely_on(opened, found, trust)
    digest = runs.load(opened, found).plan
    compiled = plan.from_json(
        artifacts.read_json(opened, digest, f"the plan of run {found}"), f"the plan of run {found}"
    )
    return _context(opened, found, compiled, folder, signing, trust=trust, as_json=as_json)


def _context(
    store: Store, run_id: str, plan: Plan, project: Path, key: Key, *, trust: Trust | None, as_json: bool
) -> Context:
    from pipeline.cli import progress
    from pipeline.context import Context
    from pipeline.executors.process import ProcessExecutor
    from pipeline.record import runs

    work = project / ".towpath" / "work"
    reporter = progress.reporter(quiet=as_json)
    context = Context(store, plan, runs.load(store, run_id), project, work, ProcessExecutor(work), reporter, key, trust)
    reporter.run_known(context.run, plan)
    return context


def drive(context: Context, wish: Wish, jobs: int, *, as_json: bool) -> None:
    """Drive the run, then report on it however it ended."""
    from pipeline import engine
    from pipeline.cli import progress

    try:
        with progress.live(context.reporter):
            engine.drive(context, wish, jobs)
    except TowpathError:
        _report(context, as_json=as_json)
        raise
    _report(context, as_json=as_json)


def _report(context: Context, *, as_json: bool) -> None:
    from pipeline.cli import report
    from pipeline.earlier import alive

    state = report.summary(
        context.run, context.plan, lambda last: alive(context.store, context.plan, context.run, last)
    )
    if as_json:
        common.print_json(state)
    else:
        report.show(state)


def _authors(store: Store, plan: Plan, project: Path, trust: Trust | None, until: str) -> dict[str, list[str] | None]:
    """Say, for each target, who wrote the commits since the last deployment to it, up to `until`; before there was one, the last commit."""
    from pipeline import source
    from pipeline.record import ledger

    found: dict[str, list[str] | None] = {}
    for stage in plan.stages.values():
        if stage.target and stage.rules:
            book = ledger.read(store, ledger.name_of(stage.target), trust)
            since = (book.current or {}).get("commit")
            known = all(
                each in (None, "HEAD") or _COMMIT.fullmatch(str(each)) for each in (since, until)
            )  # a ledger is not to hand options to Git
            span = [f"{since}..{until}"] if since else ["-1", until]
            listed = source.git(project, "log", "--format=%ae", *span) if known else None
            found[book.name] = sorted(set(listed.splitlines())) if listed is not None else None
    return found


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
