"""The ledger of a target: what was meant to be deployed there, by which approvals, and what came of it. Format version 1.

A ledger is a chain (`pipeline.record.chain`) that is never closed and has many writers, one at a time: an event is put only
if its number is free, so of two runners that decide on the same state one finds the number taken, and decides anew.

    target.enrolled        the rules in force from now on; the first event after the opening
    rules.changed          other rules, with the approvals that allowed a weaker set
    deployment.intended    before a change set is executed: run, stage, attempt, subject, release, approvals
    deployment.finished    what came of it

The rules in force for a target are the last ones here, whatever a working tree says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import Blocked, VerificationFailed
from pipeline.record import chain, digest, seals
from pipeline.record.writer import event_key, read_chain, writer_identity

if TYPE_CHECKING:
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from stages.contract import Target

TARGET_ENROLLED = "target.enrolled"
RULES_CHANGED = "rules.changed"
DEPLOYMENT_INTENDED = "deployment.intended"
DEPLOYMENT_FINISHED = "deployment.finished"


@dataclass(frozen=True)
class Ledger:
    """A target's ledger as its events tell it.

    `rules` is the JSON form of the rules in force, None before the target is enrolled. `used` are the digests of the
    approvals that a finished deployment has consumed. `intent` is the last deployment that was intended and is not
    finished, `current` the last `deploy` that succeeded: programs of the user's pass the same gate, and replace nothing.
    """

    name: str
    head: chain.Head | None = None
    rules: dict[str, Any] | None = None
    used: frozenset[str] = frozenset()
    intent: dict[str, Any] | None = None
    current: dict[str, Any] | None = None
    events: tuple[chain.Event, ...] = field(default=(), repr=False)


def name_of(target: Target) -> str:
    """Give the name of a target's ledger: its identity, whatever the environment is called."""
    partition = "embedded" if target.embedded else target.partition
    return f"ledgers/{partition}.{target.account}.{target.region}.{target.stack}"


def seal_key(name: str, seq: int) -> str:
    """Give the key under which the seal up to an event is kept."""
    return f"{name}/{seq:08d}.seal"


def read(store: Store, name: str) -> Ledger:
    """Read a ledger and check its chain. Raises VerificationFailed."""
    events = read_chain(store, name)
    ledger = Ledger(name)
    for event in events:
        ledger = _after(ledger, event)
    head = chain.head(events, name) if events else None
    return Ledger(name, head, ledger.rules, ledger.used, ledger.intent, ledger.current, tuple(events))


def append(store: Store, ledger: Ledger, entries: list[tuple[str, dict[str, Any]]], key: Key | None) -> Ledger:
    """Put events at the end that `ledger` shows, each sealed. Raises Blocked if someone else has put one there meanwhile."""
    seq = ledger.head.length if ledger.head else 0
    prev = ledger.head.digest if ledger.head else None
    if prev is None:
        entries = [(chain.CHAIN_OPENED, {"chain": ledger.name}), *entries]
    writer = {**writer_identity(), "key": key.public.line if key else None}
    for kind, data in entries:
        line = chain.encode(seq, prev, kind, {**data, "writer": writer})
        if not store.put_new(event_key(ledger.name, seq), line) and store.read(event_key(ledger.name, seq)) != line:
            raise Blocked(f"{ledger.name} was written to by someone else just now", hint="Try again: towpath resume")
        seq, prev = seq + 1, digest.of_bytes(line)
        if key:
            store.put_new(seal_key(ledger.name, seq - 1), seals.encode(chain.Head(ledger.name, prev, seq), key))
    return read(store, ledger.name)


def _after(ledger: Ledger, event: chain.Event) -> Ledger:
    """The ledger after one more event."""
    data = event.data
    told: dict[str, Any] = {
        "rules": ledger.rules,
        "used": ledger.used,
        "intent": ledger.intent,
        "current": ledger.current,
    }
    try:
        if event.type in (TARGET_ENROLLED, RULES_CHANGED):
            told["rules"] = data["rules"]
        elif event.type == DEPLOYMENT_INTENDED:
            told["intent"] = data
        elif event.type == DEPLOYMENT_FINISHED:
            told |= _finished(ledger, data)
        elif event.type != chain.CHAIN_OPENED:
            raise VerificationFailed(f"{ledger.name}: event {event.seq} is of the unknown type {event.type!r}")
    except KeyError as error:
        raise VerificationFailed(f"{ledger.name}: event {event.seq} lacks {error}") from error
    return Ledger(ledger.name, None, **told)


def _finished(ledger: Ledger, data: dict[str, Any]) -> dict[str, Any]:
    intent = ledger.intent
    if intent is None or (intent["run"], intent["stage"]) != (data["run"], data["stage"]):
        raise VerificationFailed(f"{ledger.name}: a deployment of run {data['run']} finished that was not intended")
    if data["outcome"] != "succeeded":
        return {"intent": None}
    used = ledger.used | {each["statement"] for each in intent["approvals"]}
    current = {**intent, **data} if intent["kind"] == "deploy" else ledger.current
    return {"intent": None, "current": current, "used": used}
