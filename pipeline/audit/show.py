"""A run as an auditor reads it: when, who, what from, each attempt with what went in and what came out. Nothing is verified here
but chains and digests of what is shown; `verify` is what tells whether it is authentic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed
from pipeline.record import runs, seals

if TYPE_CHECKING:
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store


def show(store: Store, run_id: str) -> dict[str, Any]:
    """Give the story of a run. Raises VerificationFailed if a chain is broken."""
    run = runs.load(store, run_id)
    return {
        "run": run.id,
        "name": run.data.get("name"),
        "opened_at": run.opened_at,
        "requester": run.data.get("requester"),
        "source": run.data.get("source"),
        "version": run.data.get("version"),
        "plan": run.plan,
        "sealed_by": _sealed_by(store, run.head.chain),
        "attempts": [_attempt(store, run, each) for each in _in_order(run)],
    }


def _in_order(run: Run) -> list[Attempt]:
    return sorted((each for attempts in run.attempts.values() for each in attempts), key=lambda each: each.opened_at)


def _attempt(store: Store, run: Run, attempt: Attempt) -> dict[str, Any]:
    name = runs.chain_name(run.id, attempt.name)
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
        "head": attempt.head.as_json(),
        "sealed_by": _sealed_by(store, name),
    }


def _sealed_by(store: Store, chain: str) -> str | None:
    """Give the fingerprint a chain's seal bears; None if it has none, or one that cannot be read."""
    data = store.read(seals.seal_key(chain))
    try:
        return next(iter(seals.decode(data, chain)[0].signatures)) if data is not None else None
    except VerificationFailed:
        return None
