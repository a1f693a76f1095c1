"""Runs of one gated stage, with signed decisions in the inbox of a real store."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from support.approvers import SigningKey, one_covered
from support.plans import command

from pipeline import gating
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY
from pipeline.record import digest, ledger, ledgers
from stages.contract import Target

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.gates.rules import Rules
    from pipeline.gating import Gate
    from pipeline.plan import PlannedStage

TARGET = Target("production", "333333333333", "eu-central-1", stack="demo")
ASKED = {"requester": {"email": "dora@example.com"}, "authors": {ledger.name_of(TARGET): ["eve@example.com"]}}


def gated(house: House, wanted: Rules, script: str = "true") -> PlannedStage:
    """A stage that counts how often it is applied, behind a gate with these rules."""
    stage = command("migrate", f"echo x >> {house.project}/count; {script}")
    return dataclasses.replace(stage, target=TARGET, rules=wanted.as_json())


def release(house: House, script: str = "true") -> tuple[PlannedStage, PlannedStage]:
    """A program behind a gate that nobody need open, of a plan that deploys to the same target: both belong to one release."""
    stage = gated(house, NOBODY, script)
    return stage, dataclasses.replace(stage, name="deploy", kind="deploy", needs=["migrate"])


def deployed(house: House, run_id: str, outcome: str = "succeeded", **more: Any) -> None:
    """Write into the ledger what another runner would that had deployed."""
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    about = {"run": run_id, "stage": "deploy", "requester": {"email": "grace@example.com"}}
    intent = {
        **about,
        "kind": "deploy",
        "attempt": 1,
        "approvals": [],
        "opening": house.load(run_id).head.digest,
        **more,
    }
    entries: list[tuple[str, dict[str, Any]]] = [
        (ledger.TARGET_ENROLLED, {"rules": NOBODY.as_json(), "run": run_id}),
        (ledger.DEPLOYMENT_INTENDED, intent),
        (ledger.DEPLOYMENT_FINISHED, {**about, "outcome": outcome}),
    ]
    ledgers.append(house.store, book, entries[1:] if book.rules else entries, house.key)


def done(house: House) -> int:
    """How often it was applied."""
    count = house.project / "count"
    return len(count.read_text().split()) if count.exists() else 0


def look(house: House, run_id: str) -> Gate:
    """How the gate of a run that has proposed stands."""
    run = house.load(run_id)
    last = run.last("migrate")
    assert last
    assert last.proposal
    plan = house.plans[run_id]
    return gating.look(house.store, plan, run, plan.stages["migrate"], last.proposal)


def decide(house: House, run_id: str, person: str, decision: str = "approve", **changed: Any) -> None:
    """Put a signed decision into the inbox."""
    now = datetime.now(UTC)
    key = SigningKey(changed.pop("key", person))
    values: dict[str, Any] = {
        "person": person,
        "reason": "looked at it",
        "run": run_id,
        "stage": "migrate",
        "target": statements.target_of(TARGET),
        "subject": look(house, run_id).digest,
        "made_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    statement = statements.make(decision, **one_covered(values | changed))  # type: ignore[arg-type] # a test may say what it likes
    name = f"{gating.inbox(run_id, 'migrate')}/{digest.of_bytes(statement)[7:]}.json"
    house.store.put_new(name, statements.seal_up(statement, key.sign(statement)))


def break_glass(house: House, run_id: str, person: str, *waives: str, **changed: Any) -> str:
    """Put into the inbox that somebody breaks the glass; give the statement's digest."""
    gate, now = look(house, run_id), datetime.now(UTC)
    covered = {"stage": "migrate", "target": statements.target_of(TARGET), "subject": gate.digest} | changed.pop(
        "covered", {}
    )
    values = {
        "reason": "production is down", "run": run_id, "covers": [statements.Covered(**covered)], "made_at": now,
        "expires_at": now + timedelta(hours=1), "waives": waives,
    }  # fmt: skip
    return _put(house, run_id, "break-glass", person, {**values, **changed})


def review(house: House, run_id: str, of: str, person: str, **changed: Any) -> str:
    """Put into the inbox that somebody reviews that; give the statement's digest."""
    now = datetime.now(UTC)
    covered = statements.Covered("migrate", statements.target_of(TARGET), "sha256:" + "5" * 64)
    head = ledgers.read(house.store, ledger.name_of(TARGET)).head
    values = {
        "reason": "it was", "run": run_id, "covers": [covered], "made_at": now,
        "expires_at": now + timedelta(hours=1), "of": of, "seen": [head.as_json()] if head else [],
    }  # fmt: skip
    return _put(house, run_id, "review", person, {**values, **changed})


def _put(house: House, run_id: str, decision: Any, person: str, values: dict[str, Any]) -> str:
    key, namespace = SigningKey(values.pop("key", person)), values.pop("namespace", statements.GLASS_NAMESPACE)
    statement = statements.make(decision, person=person, **values)
    name = f"{gating.inbox(values.pop('put_for', run_id), 'migrate')}/{digest.of_bytes(statement)[7:]}.json"
    house.store.put_new(name, statements.seal_up(statement, key.sign(statement, namespace)))
    return digest.of_bytes(statement)
