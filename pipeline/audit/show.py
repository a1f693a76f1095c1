"""A run as an auditor reads it: when, who, what from, each attempt with what went in and what came out, who decided what, and what
the ledgers say. Nothing is verified here but chains and digests of what is shown; `verify` is what tells whether it is authentic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed
from pipeline.gates import rollbacks, statements
from pipeline.record import chain, ledgers, runs, seals
from pipeline.record.store import ahead
from pipeline.record.writer import read_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store


def show(store: Store, run_id: str) -> dict[str, Any]:
    """Give the story of a run. Raises VerificationFailed if a chain is broken."""
    store = ahead.below(store, f"runs/{run_id}")
    run = runs.load(store, run_id)
    return {
        "run": run.id,
        "name": run.data.get("name"),
        "opened_at": run.opened_at,
        "requester": run.data.get("requester"),
        "source": run.data.get("source"),
        "version": run.data.get("version"),
        "plan": run.plan,
        "way": rollbacks.told(run.data),
        "sealed_by": _sealed_by(store, run.head.chain),
        "attempts": [_attempt(store, run, each) for each in _in_order(run)],
        "decisions": sorted(
            (each for stage in store.names(f"inbox/{run.id}") for each in _decisions(store, run.id, stage)),
            key=lambda each: (each["made_at"], each["statement"]),
        ),
        "ledgers": [each for name in store.names("ledgers") for each in _entries(store, f"ledgers/{name}", run.id)],
    }


def _in_order(run: Run) -> list[Attempt]:
    return sorted((each for attempts in run.attempts.values() for each in attempts), key=lambda each: each.opened_at)


def _attempt(store: Store, run: Run, attempt: Attempt) -> dict[str, Any]:
    name = runs.chain_name(run.id, attempt.name)
    events = read_chain(store, name)
    return {
        "stage": attempt.stage,
        "attempt": attempt.number,
        "opened_at": attempt.opened_at,
        "closed_at": attempt.closed_at,
        "outcome": attempt.outcome,
        "failure": attempt.failure.message if attempt.failure and attempt.outcome != "succeeded" else None,
        "host": attempt.writer.get("host"),
        "inputs": attempt.inputs,
        "outputs": attempt.outputs,
        "facts": attempt.facts,
        "isolation": next(
            (each.data.get("isolation") for each in reversed(events) if each.type == chain.PHASE_INTENDED), None
        ),
        "gate": _gate(events),
        "head": attempt.head.as_json(),
        "sealed_by": _sealed_by(store, name),
    }


def _gate(events: list[chain.Event]) -> dict[str, Any] | None:
    """Give how an attempt's gate stood when it last looked."""
    looked = [event for event in events if event.type == chain.GATE_LOOKED_AT]
    if not looked:
        return None
    return {"at": looked[-1].at, **{each: looked[-1].data.get(each) for each in ("state", "reasons", "subject")}}


def _decisions(store: Store, run_id: str, stage: str) -> Iterator[dict[str, Any]]:
    """Give what people say in the inbox, counted or not; what is no statement is left out."""
    prefix = f"inbox/{run_id}/{stage}"
    for name in store.names(prefix):
        try:
            said = statements.parse(statements.open_up(store.read(f"{prefix}/{name}") or b"")[0])
        except VerificationFailed:
            continue
        yield {
            "stage": stage,
            "decision": said.decision,
            "person": said.person,
            "reason": said.reason,
            "made_at": said.made_at.isoformat(),
            "expires_at": said.expires_at.isoformat(),
            "statement": said.digest,
        }


def _entries(store: Store, name: str, run_id: str) -> Iterator[dict[str, Any]]:
    for event in ledgers.read(store, name).events:
        if event.data.get("run") == run_id:
            told = {each: value for each, value in event.data.items() if each not in ("run", "writer", "rules")}
            yield {"ledger": name, "seq": event.seq, "type": event.type, "at": event.at, **told}


def _sealed_by(store: Store, chain: str) -> str | None:
    """Give the fingerprint a chain's seal bears; None if it has none, or one that cannot be read."""
    data = store.read(seals.seal_key(chain))
    try:
        return next(iter(seals.decode(data, chain)[0].signatures)) if data is not None else None
    except VerificationFailed:
        return None
