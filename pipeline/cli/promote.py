"""promote, rollback: bring to an environment what an older run has made, and nothing else."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, opening, recording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline import deployable
    from pipeline.cli.ci.output import Output
    from pipeline.cli.recording import Recording
    from pipeline.context import Context
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.rollback import Candidate
    from pipeline.signing.signers import Trust


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    *("--to", "environments"),
    multiple=True,
    required=True,
    metavar="ENV",
    help="The environment to deploy to; may be repeated, for a stage in several regions.",
)
@recording.options(jobs=True)
def promote(*, run_id: str, environments: tuple[str, ...], jobs: int, at: Recording) -> None:
    """Deploy to ENV what RUN has made and proved in the environments before it, in a new run that builds nothing.

    The new run takes over all that ENV's deployment needs, and does just what is ENV's own: its deployments and what comes after them
    there. Refused if something before ENV has not succeeded in RUN, or if a newer run has deployed there.

    Exit code 75 if people have to approve it: `towpath resume` goes on then.
    """
    from pipeline.cli import run
    from pipeline.standings import Wish

    older = opening.find(run_id, at, quiet=True)
    stand = opening.stand(older, environments)
    if stand:  # whoever calls twice is told, and nothing is done twice
        by = ", ".join(dict.fromkeys(each["run"] for each in stand))
        text = f"run {older.run.id} is what stands in {', '.join(environments)}: deployed by run {by}"
        common.print_json({"already": stand}) if at.output.as_json else click.echo(text)
        return
    context = opening.promote(older, environments, output=at.output)
    told = _promotion(older.run, context, environments)
    if not at.output.as_json:
        _show_promotion(told)
    run.drive(context, Wish(), jobs, output=at.output, about={"promotes": told})


@click.command()
@click.argument("environment", metavar="ENV")
@click.option(
    "--to", "run_id", metavar="RUN", help="The run whose release to go back to. Default: the last healthy one before."
)
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing, and tell whether the last three healthy ones could be deployed now: exit code 0, 1 if not, 7 if there is none or nobody knows.",
)
@click.option("--lift", is_flag=True, help="End the hold that a rollback left: other runs may deploy to ENV again.")
@click.option("--reason", metavar="TEXT", help="Why it is lifted. It is recorded.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask whether this is really meant, where nobody need approve it; without a terminal it must be said.",
)
@recording.options(jobs=True)
def rollback(
    *,
    environment: str,
    run_id: str | None,
    check: bool,
    lift: bool,
    reason: str | None,
    yes: bool,
    jobs: int,
    at: Recording,
) -> None:
    """Deploy to ENV again what ran there healthily before, with the parameters that it had, in a new run that builds nothing.

    A shorter rule applies, for a release of which ENV's ledger proves that it ran there: one of those who may approve has to, who may be
    whoever asked for it; no scan is demanded anew. Afterwards ENV is held: nothing else is deployed there until somebody says --lift.

    Exit code 75 if somebody has to approve it: `towpath resume` goes on then. 7 if nothing healthy stood there before.
    """
    from pipeline.cli import run
    from pipeline.errors import UsageError
    from pipeline.gates import statements
    from pipeline.standings import Wish

    opened, trusted = at.open_store(), at.trusted()
    named = common.find_run(opened, run_id) if run_id else None
    book = _book(opened, environment, trusted, at.project, named)
    if check:
        if named or lift or reason:
            raise UsageError("--check stands alone", hint=f"towpath rollback {environment} --check")
        _check(opened, book, environment, trusted, output=at.output)
        return
    if lift:
        if named:
            raise UsageError("--lift takes no run", hint=f"towpath rollback {environment} --lift --reason '...'")
        why = statements.said(reason or "")
        _lift(opened, book, why, at)
        return
    if reason:
        raise UsageError(
            "--reason is for --lift", hint="Why somebody goes back stands in the approval: towpath approve --reason"
        )
    told, to = _going_back(opened, book, environment, named)
    if not at.output.as_json:
        _show_rollback(told)
    if not yes:
        _confirm(book, environment, can_ask=sys.stdin.isatty() and not at.output.as_json)
    older = opening.find(to.deployment.run, at, quiet=True)
    context = opening.roll_back(older, environment, output=at.output)
    run.drive(context, Wish(), jobs, output=at.output, about={"rolls_back": told})


def _confirm(book: Ledger, environment: str, *, can_ask: bool) -> None:
    """Ask whether it is really meant, if no gate will. Raises Rejected; UsageError where there is nobody to ask."""
    from pipeline.errors import Rejected, UsageError
    from pipeline.gates import rules

    if book.rules and rules.from_json(book.rules, book.name).people:
        return
    if not can_ask:
        raise UsageError(
            f"nobody need approve that {environment} goes back, and there is nobody to ask",
            hint="Say that it is meant: --yes",
        )
    if not click.confirm(f"Roll {environment} back?", err=True):
        raise Rejected("declined: nothing was deployed")


def _book(store: Store, environment: str, trust: Trust | None, project: Path, run_id: str | None) -> Ledger:
    """Find the ledger of an environment: by a run that deployed there, else by its name, else by the project's own definition."""
    from pipeline import compiling, inherit, plan, rollback
    from pipeline.errors import TowpathError
    from pipeline.record import ledger, runs

    wanted = None
    if run_id:
        planned = plan.of(store, runs.load(store, run_id))
        targets = [planned.stages[name].target for name in inherit.deploying(planned, [environment])]
        wanted = next((ledger.name_of(each) for each in targets if each), None)
    elif (project / "pipeline.yaml").is_file():
        with suppress(TowpathError):  # what is edited just now keeps nobody from going back
            definition, _ = common.load(project / "pipeline.yaml")
            if environment in definition.environments:
                wanted = ledger.name_of(compiling.identity(definition, environment))
    return rollback.book_of(store, environment, trust, wanted)


_CHECKED = 3
"""Deployments that --check looks at."""


def _check(store: Store, book: Ledger, environment: str, trust: Trust | None, *, output: Output) -> None:
    """Tell whether one could go back. Raises StageFailed, Incomplete."""
    from itertools import islice

    from pipeline import rollback
    from pipeline.cli.progress import plain
    from pipeline.errors import Incomplete, StageFailed

    healthy = (each.deployment for each in rollback.distinct(store, rollback.candidates(store, book)))
    found = [_checked(store, book, each, trust) for each in islice(healthy, _CHECKED)]
    told = [each.as_json() for each in found]
    if output.as_json:
        common.print_json({"environment": environment, "ledger": book.name, "deployments": told})
    for each in [] if output.as_json else told:
        word = {True: "deployable", False: "not deployable", None: "not known"}[each["deployable"]]
        click.echo(f"run {each['run']}, {each['at']}, release {each['release']}: {word}")
        for line in (*each["missing"], *each["unknown"]):
            click.echo(f"  {plain(line)}")
    if not found:
        raise rollback.none_healthy(book, rollback.candidates(store, book))
    lacking = [each["run"] for each in told if each["deployable"] is False]
    if lacking:
        raise StageFailed(f"{environment}: what run {', '.join(lacking)} had deployed could not be deployed now")
    if any(each["deployable"] is None for each in told):
        raise Incomplete(
            f"{environment}: not all could be looked at", hint="Let this role read registries and buckets."
        )


def _checked(store: Store, book: Ledger, deployment: Deployment, trust: Trust | None) -> deployable.Found:
    import tempfile

    from pipeline import deployable, embedded
    from pipeline.audit import verify
    from pipeline.cli import environments as places
    from pipeline.environments import Place, reading
    from pipeline.errors import StageFailed

    found = deployable.Found(deployment, missing=deployable.of_rules(book))
    broken = [each for each in verify.Audit(store, trust).run(deployment.run).findings if each.grade == "broken"]
    found.missing += [f"the record: {each}" for each in broken[:1]]
    with tempfile.TemporaryDirectory(prefix="towpath-check-") as name:
        folder = Path(name) / "inputs"
        try:
            for each in deployable.of_record(store, found, folder):
                place = Place(
                    each.target.environment,
                    each.target,
                    defined=False,
                    profile=each.stage.profile,
                    auth=reading(each.stage.auth),
                )
                endpoint = embedded.endpoint(lambda line: click.echo(line, err=True)) if each.target.embedded else None
                deployable.of_aws(found, each, *places.access(place, endpoint))
        except StageFailed as error:
            found.unknown.append(str(error))
        finally:
            deployable.clear(folder)
    return found


def _lift(store: Store, book: Ledger, reason: str, at: Recording) -> None:
    from pipeline import rollback

    own, trust = at.keys()
    common.refuse_no_gate(book, own, trust)
    held = book.hold
    rollback.lift(store, book, {"reason": reason, "requester": opening.requester(at.project)}, own)
    if at.output.as_json:
        common.print_json({"ledger": book.name, "lifted": held.as_json() if held else None, "reason": reason})
    else:
        click.echo(f"{book.name}: lifted what run {held.run if held else '?'} held; runs may deploy there again")


def _promotion(older: Run, context: Context, environments: tuple[str, ...]) -> dict[str, Any]:
    """Say what is promoted, and what it passed."""
    from pipeline import inherit
    from pipeline.record import ledger, ledgers

    plan = context.plan
    deploying = [plan.stages[name] for name in inherit.deploying(plan, environments)]
    made = _release(older, plan, deploying[0].inputs.get("release"))
    stands = {}
    for target in filter(None, (stage.target for stage in deploying)):
        current = ledgers.read(context.store, ledger.name_of(target), context.trust).current
        stands[target.environment] = {name: current[name] for name in ("run", "release", "commit")} if current else None
    return {
        "run": older.id,
        "environments": list(environments),
        "commit": (older.data.get("source") or {}).get("commit"),
        "release": made.get("release"),
        "images": {name: each["image"] for name, each in (made.get("functions") or {}).items()},
        "passed": [
            {"stage": name, "environment": of.environment, "at": done.closed_at}
            for name, each in plan.stages.items()
            if (of := each.target) and each.kind in ("deploy", "invoke", "command") and (done := older.done(name))
        ],
        "stands": stands,
    }


def _release(run: Run, plan: Any, source: str | None) -> dict[str, Any]:
    """What `package` said of the release that is deployed; of one that is still to be copied, what was said of the original."""
    while source in plan.stages and not run.done(str(source)):
        source = plan.stages[source].inputs.get("release")
    done = run.done(source) if source else None
    return done.facts if done else {}


def _going_back(store: Store, book: Ledger, environment: str, run_id: str | None) -> tuple[dict[str, Any], Candidate]:
    """Say what stands, and what it is to be again."""
    from pipeline import rollback
    from pipeline.gates import rollbacks

    now = rollback.standing(book)[-1]
    to, skipped = (rollback.chosen(store, book, run_id), []) if run_id else rollback.choose(store, book)
    then = rollback.subject(store, to.deployment)
    today = {"images": {}, "parameters": {}} if now.deletes else rollback.subject(store, now)
    images = {
        name: {"then": each["image"], "today": (today["images"].get(name) or {}).get("image")}
        for name, each in then["images"].items()
    }
    told = {
        "environment": environment,
        "ledger": book.name,
        "stands": None if now.deletes else rollback.Candidate(now, None).as_json(),
        "to": to.as_json(),
        "skipped": [each.as_json() for each in skipped],
        "images": images,
        "parameters": rollbacks.parameters(then, today),
    }
    return told, to


def _show_promotion(told: dict[str, Any]) -> None:
    rows = [("commit", told["commit"] or "unknown"), ("release", told["release"] or "unknown")]
    rows += [("image", f"{name} {image}") for name, image in told["images"].items()]
    rows += [("passed", f"{each['stage']} in {each['environment']}, {each['at']}") for each in told["passed"]]
    for name, each in told["stands"].items():
        rows.append(
            ("stands", f"{name}: run {each['run']}, release {each['release']}" if each else f"{name}: nothing yet")
        )
    _show(f"promotes run {told['run']} to {', '.join(told['environments'])}", rows)


def _show_rollback(told: dict[str, Any]) -> None:
    stands = _deployed(told["stands"]) if told["stands"] else "nothing: it was deleted"
    rows = [("stands", stands), ("back to", _deployed(told["to"]))]
    if told["to"]["wrong"]:
        rows.append(("careful", told["to"]["wrong"]))
    rows += [("skipped", f"run {each['run']}: {each['wrong']}") for each in told["skipped"]]
    for name, each in told["images"].items():
        today = "as today" if each["then"] == each["today"] else f"today {each['today'] or 'not there'}"
        rows.append(("image", f"{name} {each['then']}, {today}"))
    for each in told["parameters"]:
        today = "as today" if each["then"] == each["today"] else f"today {each['today']}"
        rows.append(("parameter", f"{each['name']} = {each['then']}, {today}"))
    _show(f"rolls {told['environment']} back", rows)


def _deployed(each: dict[str, Any]) -> str:
    who = f"approved by {', '.join(each['approved_by'])}" if each["approved_by"] else f"asked for by {each['by']}"
    return f"run {each['run']}, {each['at']}, commit {each['commit'] or 'unknown'}, release {each['release']}, {who}"


def _show(title: str, rows: Iterable[tuple[str, str]]) -> None:
    from pipeline.cli.progress import plain

    click.echo(plain(title), err=True)
    for name, text in rows:
        click.echo(f"  {name:<10} {plain(text)}", err=True)
