"""Make a store of many runs: `python tests/bench/many_runs.py FOLDER RUNS`, from the folder of a checkout.

Each run is one stage that made something and one behind a gate, whose proposal waited, was let through and applied; the last three
still wait. Chains, seals, logs and the ledger are made by the product's own writers, and hold; requests, and flushes to the disk, are left out.
"""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.approvers import rules
from support.gated import TARGET, gated
from support.plans import House, command

from pipeline.gates import subjects
from pipeline.plan import Plan
from pipeline.record import artifacts, chain, digest, ledger, ledgers, runs, waiting
from pipeline.record.chain import Head
from pipeline.record.store import directory
from pipeline.record.store.directory import DirectoryStore
from pipeline.record.writer import ChainWriter, LogWriter, event_key, writer_identity

if TYPE_CHECKING:
    from pipeline.plan import PlannedStage
    from pipeline.record.replay import Run
    from stages.contract import Proposal

WAITING = 3
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class Quick(DirectoryStore):
    """A store that does not wait for the disk."""

    def put_new(self, key: str, data: bytes | Path) -> bool:
        path = self.root / key
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
        return True


class Book:
    """The target's ledger, written event by event without reading it again."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._length = 0
        self._writer = {**writer_identity(), "key": house.key.public.line}
        self._name = ledger.name_of(TARGET)
        self.head: Head | None = None
        self._prev: str | None = None

    def put(self, kind: str, data: dict[str, Any]) -> None:
        line = chain.encode(self._length, self._prev, kind, {**data, "writer": self._writer})
        self.house.store.put_new(event_key(self._name, self._length), ledgers.encode(line, self.house.key))
        self._length, self._prev = self._length + 1, digest.of_bytes(line)
        self.head = Head(self._name, self._prev, self._length)


def make(folder: Path, count: int) -> House:
    """Make the store below `folder`, and give it as a project with a store."""
    project = folder / "project"
    project.mkdir(parents=True)
    directory.open_store(folder / "store", create=True)
    house = House(project, Quick(folder / "store"))
    stages = (command("make", "echo made"), dataclasses.replace(gated(house, rules()), needs=["make"]))
    plan = Plan("bench", {}, {}, {stage.name: stage for stage in stages})
    recorded, book = artifacts.put_json(house.store, plan.as_json()), Book(house)
    waiting.listed(house.store)
    book.put(chain.CHAIN_OPENED, {"chain": ledger.name_of(TARGET)})
    book.put(ledger.TARGET_ENROLLED, {"rules": stages[1].rules, "run": "none"})
    key = house.key
    for number in range(count):
        run_id = runs.new_run_id(FIRST + timedelta(minutes=10 * number))
        opening = ChainWriter(house.store, runs.chain_name(run_id, "open"), key)
        opening.open({})
        about = {"plan": recorded, "name": "bench", "requester": None, "source": None, "version": "bench"}
        opening.append(chain.RUN_OPENED, {**about, "before": []})
        opening.close({})
        _run(house, runs.load(house.store, run_id), stages, book, waits=number >= count - WAITING)
    ledgers.page(house.store, ledger.name_of(TARGET), 2 + 2 * (count - WAITING), key, most=count)
    return House(project, directory.open_store(folder / "store", create=False))


def _run(house: House, run: Run, stages: tuple[PlannedStage, ...], book: Book, *, waits: bool) -> None:
    _, gate = stages
    done = _attempt(house, run, "make", 1, [(chain.PHASE_FINISHED, _finished())], outcome="succeeded")
    proposal = subjects.by_request(gate.kind, gate.options, {}, gate.target)
    proposed = (chain.PROPOSAL_ADOPTED, {"from": 1, "proposal": dataclasses.asdict(proposal)})
    looked = {"goes_on": False, "subject": run.plan, "judged_by": run.plan, "reasons": [], "failure": None}
    held = (chain.GATE_LOOKED_AT, {"state": "waiting", **looked, "ledger": book.head.as_json() if book.head else None})
    waiting.put(house.store, run.id, gate.name, 1)
    before = _attempt(house, run, gate.name, 1, [proposed, held], outcome="waiting", builds_on=[done])
    if waits:
        return
    waiting.over(house.store, run.id, gate.name, 1)
    _deployed(book, run, gate, proposal)
    events = [proposed, held, (chain.PHASE_FINISHED, _finished())]
    _attempt(house, run, gate.name, 2, events, outcome="succeeded", builds_on=[done], follows=before)


def _attempt(
    house: House,
    run: Run,
    stage: str,
    number: int,
    events: list[tuple[str, dict[str, Any]]],
    *,
    outcome: str,
    builds_on: list[Head] | None = None,
    follows: Head | None = None,
) -> Head:
    writer = ChainWriter(house.store, runs.chain_name(run.id, f"{stage}.{number}"), house.key)
    links = {
        "builds_on": [each.as_json() for each in builds_on or []],
        "follows": follows.as_json() if follows else None,
    }
    writer.open({"opening": run.head.digest, "stage": stage, "attempt": number, "inputs": {}, **links})
    log = LogWriter(house.store, runs.log_name(run.id, stage, number), run.head.digest)
    log.line({"phase": "apply", "stream": "stdout", "text": "made"})
    log.flush()
    for kind, data in events:
        writer.append(kind, data)
    writer.close({"outcome": outcome, "log": log.head.as_json()})
    return writer.head


def _finished() -> dict[str, Any]:
    nothing: dict[str, Any] = {"outputs": {}, "facts": {}, "statements": [], "proposal": None, "failure": None}
    return {"phase": "apply", "outcome": "succeeded", "status": 0, **nothing}


def _deployed(book: Book, run: Run, stage: PlannedStage, proposal: Proposal) -> None:
    told = {"run": run.id, "stage": stage.name, "kind": stage.kind, "attempt": 2, "opening": run.head.digest}
    about = {"subject": run.plan, "proposal": subjects.proposal_digest(proposal), "release": None, "commit": None}
    book.put(ledger.DEPLOYMENT_INTENDED, {**told, **about, "requester": None, "judged_by": run.plan, "approvals": []})
    finished = {"run": run.id, "stage": stage.name, "outcome": "succeeded", "functions": {}}
    book.put(ledger.DEPLOYMENT_FINISHED, finished)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
