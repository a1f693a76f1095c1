"""approve, reject, approvals, gate check: what people decide. Deciding never executes anything."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.errors import Blocked, UsageError, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from pipeline.gates.statements import ApprovalDecision
    from pipeline.gating import Gate
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

    _Proposed = tuple[Run, PlannedStage, Gate]

_EXIT = {
    "open": 0,
    "waiting": 75,
    "rejected": 5,
    "refused": 1,
    "outdated": 6,
    "held": 6,
    "frozen": 6,
    "locked": 6,
    "busy": 6,
}
_OVER = ("rejected", "outdated")
"""States of a gate that no approval changes any more."""
_VIEW_CHARACTERS = 100_000
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


def _decision_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        common.as_json,
        common.trust,
        common.store,
        common.project,
        click.option("--yes", is_flag=True, help="Do not ask, on a terminal, whether this is really meant."),
        click.option(
            "--expires", default="8h", show_default=True, help="For how long it counts, at most: 30m, 8h, 2d."
        ),
        click.option("--as", "person", metavar="PERSON", help="Who you are, if your keys do not tell."),
        click.option(
            "--sign-with", metavar="KEY", help="The SSH key. Default: one of yours that counts, in the agent or ~/.ssh."
        ),
        click.option("--reason", required=True, metavar="TEXT", help="Why. It is part of what you sign."),
        click.argument("stage"),
        click.argument("run_id", metavar="RUN"),
    ):
        function = option(function)
    return function


@click.command()
@_decision_options
def approve(**given: Any) -> None:
    """Approve what STAGE of RUN is about to do: sign, with your SSH key, a statement over its proposal's subject.

    Of a stage with several environments it is one statement over all that wait; each is let through by it alone.

    Nothing is executed. The next `towpath resume` counts the approvals, and goes on if there are enough.
    """
    _decide("approve", **given)


@click.command()
@_decision_options
def reject(**given: Any) -> None:
    """Reject what STAGE of RUN is about to do. One reject ends the proposal, whoever else approves."""
    _decide("reject", **given)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@common.project
@common.store
@common.trust
@common.as_json
def approvals(run_id: str | None, project: str, store: str | None, trust: str | None, *, as_json: bool) -> None:
    """List what waits for approval, or is approved and not yet applied: in every run, or in RUN with what was rejected there."""

    opened, trusted = common.open_store(store, Path(project)), common.trusted(trust)
    if run_id:
        _, waiting = _proposed(opened, common.find_run(opened, run_id), trusted)
    else:
        waiting = _all_waiting(opened, trusted)
    if as_json:
        common.print_json([_as_json(run, stage, gate) for run, stage, gate in waiting])
        return
    if not waiting:
        click.echo("nothing waits for approval")
    for run, stage, gate in waiting:
        print_gate(run, stage, gate)


@click.group()
def gate() -> None:
    """Gates: what must hold before a stage's proposal is applied."""


@gate.command("check")
@click.argument("run_id", metavar="RUN")
@click.argument("stage")
@common.project
@common.store
@common.trust
@common.as_json
def gate_check(*, run_id: str, stage: str, project: str, store: str | None, trust: str | None, as_json: bool) -> None:
    """Tell how the gate of STAGE stands, by its exit code too: 0 open, 75 waiting, 5 rejected, 6 outdated, held, frozen, locked or busy, 1 refused."""
    opened = common.open_store(store, Path(project))
    run, planned, found = _find(opened, run_id, stage, common.trusted(trust))
    if as_json:
        common.print_json(_as_json(run, planned, found))
    else:
        print_gate(run, planned, found)
    sys.exit(_EXIT[found.state])


@gate.command("receive")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.File("rb"))
@common.project
@common.store
@common.trust
@common.as_json
def gate_receive(
    *, files: tuple[BinaryIO, ...], project: str, store: str | None, trust: str | None, as_json: bool
) -> None:
    """Put decisions that people signed elsewhere into the inbox, and tell how the gates then stand. `-` is standard input.

    A FILE is what `towpath approve` or `reject` left in the inbox of a copy of this store, or several of those in a row.
    Whether one counts is seen when the gate is looked at, so it does not matter by which way it came.
    """
    opened, trusted = common.open_store(store, Path(project)), common.trusted(trust)
    received = [(each, document) for each in files for document in _documents(each)]
    placed = [(place, *each) for each in received for place in _places(opened, each[0].name, each[1], trusted)]
    for (_, _, key), source, document in placed:
        if not opened.put_new(key, document) and opened.read(key) != document:
            raise VerificationFailed(f"{key} is in the inbox already, with another signature", where=source.name)
    stages = dict.fromkeys(place[:2] for place, _, _ in placed)
    gates = [waits for each in stages if (waits := _waits(opened, *each, trusted))]
    if as_json:
        common.print_json([_as_json(run, planned, found) for run, planned, found in gates])
        return
    click.echo(f"{len(received)} decisions are in the inbox" if len(received) > 1 else "1 decision is in the inbox")
    for run, planned, found in gates:
        print_gate(run, planned, found)


def _documents(file: BinaryIO) -> list[bytes]:
    """Split documents that stand one after another, each as it was written. Raises VerificationFailed."""
    text = file.read().decode("utf-8", "surrogateescape")
    found, rest, decoder = [], text.strip(), json.JSONDecoder()
    while rest:
        try:
            _, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError) as error:
            raise VerificationFailed("this is no document of an approval: it is not JSON", where=file.name) from error
        found.append(rest[:end].encode("utf-8", "surrogateescape"))
        rest = rest[end:].strip()
    if not found:
        raise UsageError("there is no decision in it", where=file.name)
    return found


def _places(store: Store, source: str, document: bytes, trust: Trust | None) -> list[tuple[str, str, str]]:
    """Give the run and the stages that a document decides on and that wait for it, each with where in the inbox it belongs."""
    from pipeline import gating
    from pipeline.gates import statements
    from pipeline.record import runs

    try:
        statement = statements.parse(statements.open_up(document)[0])
    except VerificationFailed as error:
        raise VerificationFailed(error.message, where=source) from error
    if statement.run not in runs.run_ids(store):
        message = f"it decides on run {statement.run}, which is not in {store.location}"
        raise UsageError(message, where=source, hint="Name the store that has it: --store DIR")
    run, plan = load(store, statement.run)
    names = [each.stage for each in statement.covers]
    waits = [name for name in names if name in plan.stages and _gate(store, run, plan, name, trust)]
    if not statement.is_approval:  # of what failed, or has happened
        waits = [name for name in names if name in plan.stages]
        return [(run.id, name, gating.document_key(run.id, name, statement.digest)) for name in waits]
    for name in waits or names[:1]:
        _find(store, run.id, name, trust)  # of what waits for nobody it says why
    return [(run.id, name, gating.document_key(run.id, name, statement.digest)) for name in waits]


def _decide(
    decision: ApprovalDecision,
    *,
    run_id: str,
    stage: str,
    reason: str,
    sign_with: str | None,
    person: str | None,
    expires: str,
    yes: bool,
    project: str,
    store: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    from pipeline import gating
    from pipeline.gates import sshsig, statements
    from pipeline.record import digest

    lasts_s = duration(expires)
    if not reason.strip():
        raise UsageError("--reason is empty", hint="Say in a sentence why: it is part of what you sign.")
    opened, trusted = common.open_store(store, Path(project)), common.trusted(trust)
    proposed = _find_all(opened, run_id, stage, trusted)
    for run, planned, found in proposed:
        if decision == "approve" and found.state == "outdated":
            text = f"stage {planned.name} of run {run.id} is not deployed any more, {found.reasons[0]}"
            raise Blocked(text, hint=found.hint)
        if not as_json:
            print_proposal(run, planned, found)
    run, gates = proposed[0][0], [found for _, _, found in proposed]
    with sshsig.chosen(Path(sign_with).expanduser() if sign_with else None, _keys(gates, person)) as (path, public):
        who = _owner(gates, public, person)
        _confirm(decision, who, " and ".join(planned.name for _, planned, _ in proposed), ask=not yes and not as_json)
        now = datetime.now(UTC)
        statement = statements.make(
            decision,
            person=who,
            reason=reason,
            run=run.id,
            covers=[statements.Covered(each.name, target_of(each), found.digest) for _, each, found in proposed],
            made_at=now,
            expires_at=now + timedelta(seconds=lasts_s),
            seen=[run.head.as_json(), *(_last(run, each).head.as_json() for _, each, _ in proposed)],
        )
        document = statements.seal_up(statement, sshsig.sign(statement, statements.NAMESPACE, path))
    sha256 = digest.of_bytes(statement)
    keys = [gating.document_key(run.id, planned.name, sha256) for _, planned, _ in proposed]
    for key in keys:
        opened.put_new(key, document)
    after = [_find(opened, run.id, planned.name, trusted) for _, planned, _ in proposed]
    if decision == "approve":
        _tell(
            opened,
            run,
            [planned.name for _, planned, _ in proposed],
            {"statement": sha256, "person": who},
            Path(project),
        )
    if as_json:
        told = {"statement": sha256, "person": who, "document": f"{opened.location}/{keys[0]}"}
        stages = [_as_json(*each) for each in after]
        common.print_json({**stages[0], **told} if len(stages) == 1 else {"run": run.id, "stages": stages, **told})
        return
    click.echo(f"\n{who}: {decision} is signed and in the inbox:\n  {opened.location}/{keys[0]}")
    for each in after:
        print_gate(*each)


def _tell(store: Store, run: Run, stages: list[str], said: dict[str, str], project: Path) -> None:
    """Tell those whom the project's own definition names that somebody approved.

    Never those whom a plan in the store names: whoever can write there would have us read secrets of this machine, and send them.
    Who cannot be told now is told by whoever goes on with the run.
    """
    from pipeline import compiling, embedded
    from pipeline.errors import TowpathError
    from pipeline.notifications import notices
    from pipeline.notifications.notifier import Notifier

    try:
        definition, folder = common.load(project / "pipeline.yaml")
    except TowpathError:
        return
    channels = [compiling.channel(definition, each) for each in definition.notifications]
    if not channels:
        return

    def warn(text: str) -> None:
        click.echo(f"{text}; whoever goes on with the run does", err=True)

    def endpoint() -> str:
        return embedded.endpoint(warn)

    notifier = Notifier(store, channels, project=folder, endpoint=endpoint, key=b"", warn=warn)
    _, plan = load(store, run.id)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    notifier.tell([notices.approved(plan, run, each, said, at) for each in stages], give_up=False)
    notifier.close()


def target_of(stage: PlannedStage) -> dict[str, str | None]:
    from pipeline.gates import statements

    if stage.target is None:
        raise AssertionError(f"{stage.name} has a gate, and no target")
    return statements.target_of(stage.target)


def _last(run: Run, stage: PlannedStage) -> Attempt:
    last = run.last(stage.name)
    if last is None:
        raise AssertionError(f"{stage.name} has proposed something in no attempt")
    return last


def _find_all(store: Store, run_id: str, stage: str, trust: Trust | None) -> list[_Proposed]:
    """Give a stage that has proposed something; of one with several environments all that wait."""
    run, plan = load(store, common.find_run(store, run_id))
    group = [name for name, each in plan.stages.items() if each.group == stage]
    waits = [name for name in group if _gate(store, run, plan, name, trust)]
    return [_find(store, run.id, name, trust) for name in waits or group[:1] or [stage]]


def _find(store: Store, run_id: str, stage: str, trust: Trust | None) -> tuple[Run, PlannedStage, Gate]:
    """Give a stage that has proposed something, and how its gate stands. Raises UsageError if it has not."""
    run, plan = load(store, common.find_run(store, run_id))
    common.known(plan, (stage,))
    gate = _gate(store, run, plan, stage, trust)
    if gate is None:
        last = run.last(stage)
        state = (last.outcome or "running") if last else "not begun"
        if last and last.failure and last.failure.cls == "blocked":
            raise Blocked(f"stage {stage} of run {run.id}: {last.failure.message}", hint=last.failure.hint)
        raise UsageError(
            f"stage {stage} of run {run.id} waits for nobody: it is {state}", hint="What waits: towpath approvals"
        )
    return run, plan.stages[stage], gate


def _waits(store: Store, run_id: str, stage: str, trust: Trust | None) -> _Proposed | None:
    run, plan = load(store, run_id)
    gate = _gate(store, run, plan, stage, trust)
    return (run, plan.stages[stage], gate) if gate else None


def _all_waiting(store: Store, trust: Trust | None) -> list[_Proposed]:
    """Give what can still go on, of the runs that the index names; what cannot is struck off, so that it is not read again."""
    from pipeline.record import waiting

    found: list[_Proposed] = []
    for run_id, listed in waiting.listed(store).items():
        run, proposed = _proposed(store, run_id, trust)
        found += [each for each in proposed if each[2].state not in _OVER]
        over = {stage.name for _, stage, gate in proposed if gate.state in _OVER}
        for stage, number in listed:
            last = run.last(stage) if run else None
            if last and (last.number > number or stage in over):
                waiting.over(store, run_id, stage, number)
    return found


def _proposed(store: Store, run_id: str, trust: Trust | None) -> tuple[Run | None, list[_Proposed]]:
    """Give a run with what waits in it; None, and a line on standard error, if it cannot be read."""
    from pipeline.errors import TowpathError

    try:
        run, plan = load(store, run_id)
        gates = [(stage, _gate(store, run, plan, name, trust)) for name, stage in plan.stages.items()]
    except TowpathError as error:
        click.echo(f"{run_id}: {error.message}", err=True)
        return None, []
    return run, [(run, stage, gate) for stage, gate in gates if gate is not None]


def _gate(store: Store, run: Run, plan: Plan, stage: str, trust: Trust | None) -> Gate | None:
    from pipeline import gating

    last = run.last(stage)
    if last is None or last.outcome != "waiting" or last.proposal is None:
        return None
    if trust:
        common.rely_on(store, run.id, trust)
    return gating.look(store, plan, run, plan.stages[stage], last.proposal, trust=trust)


def load(store: Store, run_id: str) -> tuple[Run, Plan]:
    from pipeline import plan
    from pipeline.record import runs

    run = runs.load(store, run_id)
    return run, plan.of(store, run)


def _keys(gates: list[Gate], person: str | None) -> frozenset[str]:
    """The keys that count at each of these gates."""
    counting = [
        {key for who, keys in gate.judged_by.approvers.items() if person in (None, who) for key in keys}
        for gate in gates
    ]
    return frozenset.intersection(*map(frozenset, counting))


def _owner(gates: list[Gate], public: str, person: str | None) -> str:
    """Give whose key this is, by the rules of all these gates. Raises UsageError if it is nobody's who may approve there."""
    from pipeline.gates import sshkeys

    may_approve = set.intersection(*(set(gate.judged_by.approvers) for gate in gates))
    owners = [
        who
        for who in sorted(may_approve)
        if person in (None, who) and all(public in gate.judged_by.approvers[who] for gate in gates)
    ]
    if not owners:
        may = ", ".join(sorted(may_approve)) or "nobody"
        raise UsageError(
            f"{sshkeys.fingerprint(public)} is no key of anybody who may approve here", hint=f"Who may: {may}"
        )
    return owners[0]


def _confirm(decision: str, who: str, stage: str, *, ask: bool) -> None:
    if ask and sys.stdin.isatty() and not click.confirm(f"\n{decision} {stage} as {who}?", err=True):
        raise click.Abort


def duration(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if not found:
        raise UsageError(f"--expires {text!r} is no duration", hint="Write, for example: --expires 8h")
    return int(found[1]) * _SECONDS[found[2]]


def print_proposal(run: Run, stage: PlannedStage, gate: Gate) -> None:
    from pipeline.cli.progress import plain

    last, source, target = _last(run, stage), run.data.get("source") or {}, stage.target
    changes = "" if source.get("clean") else " (with changes that are in no commit)"
    told = [
        f"{stage.name} of run {run.id}, attempt {last.number}",
        f"  source   {source.get('commit') or 'unknown'}{changes}",
    ]
    if target:
        partition = "embedded AWS" if target.embedded else target.partition
        where = f"{target.stack or 'no stack'} in {target.account}, {target.region}, {partition}"
        told.append(f"  target   {target.environment}: {where}")
    told += [f"  subject  {gate.digest}", ""]
    view = last.proposal.view if last.proposal else ""
    told += [f"  {line}" for line in view[:_VIEW_CHARACTERS].splitlines()]
    if len(view) > _VIEW_CHARACTERS:
        told.append(f"  ... and {len(view) - _VIEW_CHARACTERS:,} characters more: towpath logs {run.id} {stage.name}")
    told.append("")
    for name, image in gate.subject["proposal"].get("images", {}).items():
        told.append(f"  {name} is {image.get('image')}, config {image['config']}")
    told += [f"  scan of {config}: {verdict or 'none'}" for config, verdict in gate.subject["scan"].items()]
    way = gate.subject.get("way")
    if gate.origin:
        told.append(f"  way      {gate.reasons[0]}")
    elif way:
        told.append(f"  way      promotes run {way['run']}")
    told.append(
        f"  rules    {gate.judged_by.people} must approve, of: {', '.join(sorted(gate.judged_by.approvers)) or 'nobody'}"
    )
    if gate.change and gate.change.kind != "equal":
        told += [f"  rules become {gate.change.kind}: {reason}" for reason in gate.change.reasons]
    for line in told:
        click.echo(plain(line))


def print_gate(run: Run, stage: PlannedStage, gate: Gate) -> None:
    from pipeline.cli.progress import plain

    click.echo(f"{run.id} {stage.name}: {gate.state}")
    for reason in gate.reasons:
        click.echo(f"  {plain(reason)}")
    for each in gate.decision.refused if gate.decision else []:
        click.echo(f"  not counted: {plain(each.reason)}")
    if gate.hint:
        click.echo(f"  {plain(gate.hint)}")
    if gate.state in ("frozen", "locked"):
        click.echo(f"  what is proposed is kept; once that is over: towpath resume {run.id}")
    if gate.state == "waiting":
        click.echo(f"  towpath approve {run.id} {stage.name} --reason '...'")


def _as_json(run: Run, stage: PlannedStage, gate: Gate) -> dict[str, Any]:
    decision = gate.decision
    return {
        "run": run.id,
        "stage": stage.name,
        "environment": stage.target.environment if stage.target else None,
        "state": gate.state,
        "reasons": gate.reasons,
        "newer": gate.newer.as_json() if gate.newer else None,
        "subject": gate.digest,
        "missing": decision.missing if decision else 0,
        "counted": [
            {"person": each.person, "decision": each.decision, "reason": each.reason} for each in decision.counted
        ]
        if decision
        else [],
        "refused": [{"person": each.person, "reason": each.reason} for each in decision.refused] if decision else [],
    }
