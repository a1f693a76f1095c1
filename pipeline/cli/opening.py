"""How a command comes to a run: it opens a new one, finds one, or opens one that takes over from an older one."""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline
from pipeline.cli import common, progress
from pipeline.cli.ci import output as outputs

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.cli.ci.output import Output
    from pipeline.cli.recording import Recording
    from pipeline.context import Context
    from pipeline.errors import TowpathError
    from pipeline.plan import Plan
    from pipeline.record.ledger import Ledger
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


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


def open_new(
    file: Path,
    parameters: tuple[str, ...],
    at: Recording,
    *,
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
    return begin(plan, files, at, identity=identity)


def find_or_open(
    text: str, file: Path, parameters: tuple[str, ...], at: Recording, *, names: tuple[str, ...]
) -> Context:
    """Give the run of this run of the CI system; it is opened by whichever job is first."""
    from pipeline.cli.ci import identity
    from pipeline.record import runs

    who = identity.identity(text, os.environ)
    found = runs.of_identity(at.open_store(create=True), who)
    context = open_new(file, parameters, at, identity=who, names=names) if found is None else find(found, at)
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


def begin(plan: Plan, files: dict[str, bytes], at: Recording, *, identity: str | None = None) -> Context:
    """Open a run of a plan: what the plan names is recorded first.

    With an identity, the run is that which this names: another one, if another job was first to open one.
    """
    from pipeline import checks, source
    from pipeline.executors import isolation
    from pipeline.record import artifacts, identities, runs

    isolation.choose(plan.isolation, os.environ)  # before anything is recorded
    signing, trust = at.keys()
    opened = at.open_store(create=True)
    checks.carriers(plan, opened)
    artifacts.put_blobs(opened, files.values())
    recorded = artifacts.put_json(opened, plan.as_json())
    about = _about(opened, plan, at.project, source.state(at.project), trust)
    first = runs.of_identity(opened, identity) if identity else None
    ours = None if first else runs.open_run(opened, {"plan": recorded, **about, "identity": identity}, signing)
    if ours and identity:
        identities.name(opened, identity, ours)
        first = runs.of_identity(opened, identity)
    if first and first != ours:
        return find(first, at)
    return _context(opened, runs.load(opened, str(ours)), plan, at.project, signing, trust=trust, output=at.output)


def _about(
    store: Store, plan: Plan, project: Path, state: dict[str, Any] | None, trust: Trust | None
) -> dict[str, Any]:
    """What the opening of a run says of it; `state` is that of its source."""
    until = str((state or {}).get("commit") or "HEAD")
    books = _ledgers(store, plan, trust)
    return {
        "name": plan.name,
        "requester": requester(project),
        "source": state,
        "authors": {name: _authors(book, project, until) for name, book in books.items()},
        "ledgers": {name: book.head.as_json() for name, book in books.items() if book.head},
        "version": pipeline.__version__,
    }


def find(run_id: str, at: Recording, *, quiet: bool = False) -> Context:
    """Find the run that a text means. `quiet`: another run is opened from it, and that is told of."""
    from pipeline import plan
    from pipeline.record import runs

    opened = at.open_store()
    found = common.find_run(opened, run_id)
    signing, trust = at.keys()
    if trust:
        common.rely_on(opened, found, trust)
    run = runs.load(opened, found)
    output = outputs.Output(as_json=True) if quiet else at.output
    return _context(opened, run, plan.of(opened, run), at.project, signing, trust=trust, output=output)


def _context(
    store: Store, run: Run, plan: Plan, project: Path, key: Key, *, trust: Trust | None, output: Output
) -> Context:
    from pipeline.context import Context
    from pipeline.executors import isolation
    from pipeline.executors.either import EitherExecutor

    work = project / ".towpath" / "work"
    reporter = progress.reporter(quiet=output.as_json, dress=output.worn)
    isolated = isolation.choose(plan.isolation, os.environ)
    executor = EitherExecutor(work, isolated, _hidden(store, key))
    context = Context(store, plan, run, project, work, executor, reporter, key, trust)
    reporter.run_known(run, plan)
    for line in isolated.told:
        reporter.note(line)
    isolation.shield(isolated)
    return context


def _hidden(store: Store, key: Key) -> tuple[Path, ...]:
    """The record and the key that seals it: no stage is to see either, wherever they are."""
    record = [Path(store.location)] if store.local else []
    return tuple(each.absolute() for each in (*record, *([key.path] if key.path else [])))


def take_over(older: Context, begins: tuple[str, ...], *, output: Output) -> Context:
    """Open a run that takes over from an older one what does not come after the stages that it begins with."""
    from pipeline import inherit, source

    plan = older.plan
    _refuse_under_way(older)
    taken = inherit.begin_at(plan, older.run, begins)
    inherit.refuse_replaced(older.store, plan, older.run, taken, older.trust)
    _refuse_barred(older, plan, taken)
    if _reads_source(plan, taken):
        source.compare(older.run.data.get("source"), source.state(older.project or Path()))
    return _open_over(older, plan, taken, output=output)


def promote(older: Context, environments: tuple[str, ...], *, output: Output) -> Context:
    """Open a run that brings to environments what an older run has made and proved before them. Raises UsageError, Blocked."""
    from pipeline import inherit, source

    whole = inherit.whole(older.store, older.run)
    part, deploying = _part(older, whole, environments, scans=True)
    _refuse_under_way(older)
    lacking = inherit.lacking(whole, older.run, environments)
    if lacking:
        raise _not_passed(older.run, environments, lacking, inherit.first(whole, older.run, lacking))
    taken = inherit.begin_at(part, older.run, deploying)
    _refuse_barred(older, part, taken)
    if _reads_source(part, taken):
        source.compare(older.run.data.get("source"), source.state(older.project or Path()))
    way = {"kind": "promote", "environments": list(environments), "plan": whole.digest}
    return _open_over(older, part, taken, way=way, output=output)


def stand(older: Context, environments: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """Give the deployments that stand in these environments, if all of them are this run's, or promotions of it; else None."""
    from pipeline import inherit
    from pipeline.record import ledger, ledgers

    whole = inherit.whole(older.store, older.run)
    way = {"kind": "promote", "run": older.run.id}
    found: list[dict[str, Any]] = []
    for name in inherit.deploying(whole, environments):
        target = whole.stages[name].target
        current = ledgers.read(older.store, ledger.name_of(target), older.trust).current if target else None
        if not current or current["stage"] != name or (current["run"] != older.run.id and current.get("way") != way):
            return None
        found.append({each: current.get(each) for each in ("run", "stage", "release", "commit")})
    return found or None


def roll_back(older: Context, environment: str, *, output: Output) -> Context:
    """Open a run that deploys to an environment again what an older run had deployed there. Raises UsageError, Blocked."""
    from pipeline import inherit

    whole = inherit.whole(older.store, older.run)
    targets = [each.target for each in whole.stages.values() if each.kind == "deploy" and each.target]
    environment = next((each.environment for each in targets if each.called == environment), environment)
    part, deploying = _part(older, whole, (environment,))
    taken = inherit.begin_at(part, older.run, deploying)
    _refuse_without_secrets(older.run, part, deploying)
    way = {"kind": "rollback", "environments": [environment], "plan": whole.digest}
    return _open_over(older, part, taken, way=way, output=output)


def _refuse_without_secrets(run: Run, plan: Plan, deploying: list[str]) -> None:
    """Raise UsageError if the values of secret parameters are not there, which no record has: nothing could be proposed."""
    from pipeline import secrets
    from pipeline.errors import UsageError

    missing = sorted({each for name in deploying for each in secrets.unset(plan.stages[name].secrets, os.environ)})
    if missing:
        text = f"run {run.id} had deployed with secrets of variables that are not set now: {', '.join(missing)}"
        raise UsageError(text, hint="Set them for this command, to what they were then. Nothing was begun.")


def _part(older: Context, whole: Plan, environments: tuple[str, ...], *, scans: bool = False) -> tuple[Plan, list[str]]:
    """Give the part of a plan that is for these environments, and the stages of it that deploy there. Raises UsageError."""
    from difflib import get_close_matches

    from pipeline import inherit
    from pipeline.errors import UsageError

    stages = [each for each in whole.stages.values() if each.kind == "deploy" and each.target]
    known = list(dict.fromkeys(each.target.environment for each in stages if each.target))
    for environment in environments:
        if environment not in known:
            close = get_close_matches(environment, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It deploys to: {', '.join(known) or 'nothing'}."
            raise UsageError(f"no stage of run {older.run.id} deploys to {environment!r}", hint=hint)
    return inherit.part(whole, environments, scans=scans), inherit.deploying(whole, environments)


def _not_passed(run: Run, environments: tuple[str, ...], lacking: list[str], first: list[str]) -> TowpathError:
    from pipeline.errors import Blocked

    told = []
    for name in lacking:
        last = run.last(name)
        told.append(f"{name} ({(last.outcome or 'under way') if last else 'not begun'})")
    text = f"run {run.id} has not passed what comes before {', '.join(environments)}: {', '.join(told)}"
    return Blocked(text, hint=f"First: towpath stage run {' '.join(first)} --run {run.id}")


def _reads_source(plan: Plan, taken: Collection[str]) -> bool:
    from stages.kinds import KINDS

    return any("source" in KINDS[each.kind].needs for name, each in plan.stages.items() if name not in taken)


def _open_over(
    older: Context, plan: Plan, taken: dict[str, Attempt], *, way: dict[str, Any] | None = None, output: Output
) -> Context:
    """Open a run of this plan that takes these attempts over."""
    from pipeline import inherit
    from pipeline.record import artifacts, runs

    project = older.project or Path()
    recorded = artifacts.put_json(older.store, plan.as_json())
    told: dict[str, Any] = {"plan": recorded, "inherits": inherit.as_json(older.run, taken)}
    told |= {"way": way} if way else {}
    about = _about(older.store, plan, project, older.run.data.get("source"), older.trust)
    new = runs.open_run(older.store, {**about, **told}, older.key)
    return _context(
        older.store, runs.load(older.store, new), plan, project, older.key, trust=older.trust, output=output
    )


def _refuse_under_way(older: Context) -> None:
    """Raise Blocked if somebody is at the older run: its stages would be done twice at the same time."""
    from pipeline import earlier
    from pipeline.errors import Blocked

    run = older.run
    for each in earlier.under_way(older.store, older.plan, run):
        hint = f"Wait for it (towpath status {run.id}), or stop it: towpath cancel {run.id}"
        raise Blocked(f"run {run.id} is under way: its stage {each.stage} is being run", hint=hint)


def _refuse_barred(older: Context, plan: Plan, taken: Collection[str]) -> None:
    """Raise Blocked, before a run is opened, if one that is newer has deployed where it would, or nothing may be deployed there."""
    from pipeline import barriers
    from pipeline.errors import Blocked

    for name, stage in plan.stages.items():
        if name not in taken and stage.target and stage.rules:
            found = barriers.barrier(older.store, plan, older.run, stage, older.trust)
            if found and found.state != "busy":
                text = f"stage {name} of run {older.run.id} is {'; '.join(found.reasons)}"
                raise Blocked(text, hint=found.hint.partition("   then:")[0])


def _ledgers(store: Store, plan: Plan, trust: Trust | None) -> dict[str, Ledger]:
    """Read the ledger of every target that a stage of the plan would change."""
    from pipeline.record import ledger, ledgers

    targets = [stage.target for stage in plan.stages.values() if stage.target and stage.rules]
    return {name: ledgers.read(store, name, trust) for name in dict.fromkeys(map(ledger.name_of, targets))}


def _authors(book: Ledger, project: Path, until: str) -> list[str] | None:
    """Say who wrote the commits since the last deployment to a target, up to `until`; before there was one, the last commit."""
    from pipeline import source
    from pipeline.record import ledger

    deployed = [each.commit for each in ledger.deployments(book.events)]  # what is deleted by now counts too
    since = deployed[-1] if deployed else None
    known = all(each in (None, "HEAD") or _COMMIT.fullmatch(str(each)) for each in (since, until))
    span = [f"{since}..{until}"] if since else ["-1", until]  # a ledger is not to hand options to Git
    listed = source.git(project, "log", "--format=%ae", *span) if known else None
    return sorted(set(listed.splitlines())) if listed is not None else None


def requester(project: Path) -> dict[str, str | None]:
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
