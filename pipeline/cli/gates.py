"""approvals, gate: how what is proposed stands at its gates, and decisions that come from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import common, proposals, showing
from pipeline.errors import UsageError, VerificationFailed

if TYPE_CHECKING:
    from typing import BinaryIO

    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

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
        _, waiting = proposals.of_run(opened, common.find_run(opened, run_id), trusted)
    else:
        waiting = proposals.all_waiting(opened, trusted)
    if as_json:
        common.print_json([showing.as_json(each) for each in waiting])
        return
    if not waiting:
        click.echo("nothing waits for approval")
    for each in waiting:
        showing.print_gate(each)


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
    found = proposals.find(opened, run_id, stage, common.trusted(trust))
    if as_json:
        common.print_json(showing.as_json(found))
    else:
        showing.print_gate(found)
    sys.exit(_EXIT[found.gate.state])


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
    gates = [waits for each in stages if (waits := proposals.of_stage(opened, *each, trusted))]
    if as_json:
        common.print_json([showing.as_json(each) for each in gates])
        return
    click.echo(f"{len(received)} decisions are in the inbox" if len(received) > 1 else "1 decision is in the inbox")
    for each in gates:
        showing.print_gate(each)


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
    run, plan = proposals.load(store, statement.run)
    names = [each.stage for each in statement.covers]
    waits = [name for name in names if name in plan.stages and proposals.gate_of(store, run, plan, name, trust)]
    if not statement.is_approval:  # of what failed, or has happened
        waits = [name for name in names if name in plan.stages]
        return [(run.id, name, gating.document_key(run.id, name, statement.digest)) for name in waits]
    for name in waits or names[:1]:
        proposals.find(store, run.id, name, trust)  # of what waits for nobody it says why
    return [(run.id, name, gating.document_key(run.id, name, statement.digest)) for name in waits]
