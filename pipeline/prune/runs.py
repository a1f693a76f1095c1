"""Which content of a store no run needs any more, and how it is removed.

What stages handed on (images as layers, outputs of programs) is removed of runs that are not kept. Kept are

1. the latest runs, and those that somebody wrote to lately,
2. those in which an attempt may be under way, or a proposal waits that can still be applied,
3. those of a target's current deployment, of the ones before it, and of those that were begun and not finished,
4. those from which a kept run takes over.

And whatever a kept run names stays, whoever else had made it. Of every run all that an audit reads stays: chains, seals, logs,
plans, requests, statements, approvals, manifests, `images.json`, and what `scan`, `package` and `deploy` handed on. Content that
nothing names at all is removed too.

What is to be removed is written down first, signed. Content that is put again meanwhile, by whichever machine, stays: see
`Store.remove`. A run that was opened or gone on with since the survey keeps what it names. A prune that was killed has removed
some of what it wrote down; the next one finds the rest by the same rule.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import earlier
from pipeline import plan as plans
from pipeline.errors import UsageError
from pipeline.record import artifacts, chain, ledger, prunes, reach, runs
from pipeline.record.prunes import Removal
from pipeline.record.writer import event_key
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pipeline.plan import Plan
    from pipeline.record.ledger import Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_IMAGES = ("build", "images")
_READ_BY_AUDITS = "images.json"


@dataclass(frozen=True)
class Rule:
    """What is kept: the last `keep` runs, those written to in the last `older_than_s`, and `deployments` of each target."""

    keep: int
    older_than_s: float
    deployments: int = LIMITS.rollbacks

    def as_json(self) -> dict[str, Any]:
        """What the record of a prune says of it."""
        return dict(vars(self))


@dataclass
class Survey:
    """What was found. `chains` are those of each run that is not kept, as they were then; `removals` by digest."""

    kept: frozenset[str] = frozenset()
    chains: dict[str, list[str]] = field(default_factory=dict)
    removals: dict[str, Removal] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """A run, as far as a rule asks: when it was last written to, whether it goes on, which runs it takes over from.

    `proposes` are ledgers for which it waits.
    """

    id: str
    written_at: float
    alive: bool
    proposes: frozenset[str]
    inherits: frozenset[str] = frozenset()


def survey(store: Store, rule: Rule, trust: Trust | None = None) -> Survey:
    """Read all runs and find what is not needed. Raises VerificationFailed for a chain or ledger that does not hold."""
    now = store.now()
    books = [ledger.read(store, f"ledgers/{name}", trust) for name in store.names("ledgers")]
    known = [_known(store, run_id) for run_id in runs.run_ids(store)]
    opened = [each for each in known if each]
    kept = keeping(opened, books, rule, now)
    found = Survey(kept, {each.id: store.names(f"runs/{each.id}") for each in opened if each.id not in kept})
    needed = {each for book in books for event in book.events for each in mentioned(event.data)}
    for each in known:
        if each:
            _mark(store, each.id, found, needed, kept=each.id in kept)
    for sha256 in list(found.removals):
        if sha256 in needed:
            del found.removals[sha256]
    for key in store.walk("blobs"):
        sha256 = f"sha256:{key.rpartition('/')[2]}"
        if sha256 not in needed and sha256 not in found.removals:
            found.removals[sha256] = Removal(None, sha256, _size(store, sha256))
    found.removals = {each: removal for each, removal in found.removals.items() if _is_due(store, each, now)}
    return found


def keeping(known: Collection[Known], books: Iterable[Ledger], rule: Rule, now: float) -> frozenset[str]:
    """Say which runs are kept. Pure."""
    ids = sorted(each.id for each in known)
    kept = set(ids[len(ids) - rule.keep :]) if rule.keep else set()
    current: dict[str, str] = {}
    for book in books:
        deployed = [each.data["run"] for each in book.events if _is_deployed(each)]
        kept |= {run for run, _ in book.intents} | set(list(dict.fromkeys(reversed(deployed)))[: rule.deployments + 1])
        current[book.name] = book.current["run"] if book.current else ""
    for each in known:
        waits = any(each.id >= current.get(name, "") for name in each.proposes)  # nobody goes back by an old proposal
        if each.alive or waits or each.written_at > now - rule.older_than_s:
            kept.add(each.id)
    for each in sorted(known, key=lambda one: one.id, reverse=True):  # who takes over is younger
        kept |= each.inherits if each.id in kept else set()
    return frozenset(kept)


def _is_deployed(event: chain.Event) -> bool:
    return event.type == ledger.DEPLOYMENT_FINISHED and event.data["outcome"] == "succeeded"


def mentioned(value: Any) -> set[str]:
    """Give every digest that stands in a JSON value, whoever put it there. Pure."""
    return {each.decode() for each in _DIGEST.findall(json.dumps(value).encode())}


def _known(store: Store, run_id: str) -> Known | None:
    """Read what a rule asks of a run; None for one that was never opened."""
    try:
        run = runs.load(store, run_id)
    except UsageError:
        return None
    what = f"the plan of run {run_id}"
    plan = plans.from_json(artifacts.read_json(store, run.plan, what), what)
    attempts = [each for attempts in run.attempts.values() for each in attempts]
    heads = [run.head, *(each.head for each in attempts)]
    times = [store.written_at(event_key(head.chain, head.length - 1)) or 0 for head in heads]
    alive = any(each.outcome is None and earlier.alive(store, plan, run, each) for each in attempts)
    proposes, inherits = frozenset(_proposes(plan, run)), frozenset(reach.inherits(run.data))
    return Known(run_id, max(times), alive, proposes, inherits)


def _proposes(plan: Plan, run: Run) -> Iterator[str]:
    for name, stage in plan.stages.items():
        last = run.last(name)
        if last and last.outcome == "waiting" and stage.target:
            yield ledger.name_of(stage.target)


def _mark(store: Store, run_id: str, found: Survey, needed: set[str], *, kept: bool) -> None:
    """Sort what a run names into what is needed and what may be removed; what is both is sorted out later."""
    reached = reach.of_run(store, run_id)
    kinds = {each["name"]: each["kind"] for each in reached.plan["stages"]}
    documents = set(reached.documents) | {each.sha256 for each in reached.artifacts}
    events = [key for key in reach.objects(store, run_id) if key.startswith("runs/") and "/log/" not in key]
    for data in store.read_each(events):
        documents |= {each.decode() for each in _DIGEST.findall(data or b"")}
    needed |= documents
    for artifact in reached.artifacts:
        for file in reach.files(store, artifact):
            if kept or _is_evidence(artifact, kinds, file.path):
                needed.add(file.sha256)
            elif artifact.made_by:
                found.removals[file.sha256] = Removal(run_id, file.sha256, file.size)


def _is_evidence(artifact: reach.Artifact, kinds: dict[str, str], path: str) -> bool:
    """Tell whether an audit reads this file, or a rollback needs it."""
    if artifact.made_by is None:
        return False
    stage, name = artifact.made_by
    kind = kinds.get(stage)
    return path == _READ_BY_AUDITS if (kind, name) == _IMAGES else kind != "command"


def _size(store: Store, sha256: str) -> int:
    stream = store.open(artifacts.blob_key(sha256))
    if stream is None:
        return 0
    with stream:
        return stream.seek(0, io.SEEK_END)


def _is_due(store: Store, sha256: str, now: float) -> bool:
    at = store.written_at(artifacts.blob_key(sha256))
    return at is not None and at < now - LIMITS.prune_grace_s


def remove(store: Store, found: Survey, rule: Rule, key: Key, told: Callable[[str], None]) -> list[Removal]:
    """Write down what is to be removed, remove it, and give what was. `told` is given the key of each record. Raises StoreError."""
    removed: list[Removal] = []
    waiting = list(found.removals.values())
    while waiting:
        batch, waiting = waiting[: LIMITS.pruned_at_once], waiting[LIMITS.pruned_at_once :]
        prune_id = _write_down(store, batch, rule, key)
        told(prunes.key_of(prune_id))
        written_at = store.written_at(prunes.key_of(prune_id)) or store.now()
        spared = _named_since(store, found)
        before = written_at - LIMITS.prune_grace_s
        due = (each for each in batch if each.sha256 not in spared)
        removed += [each for each in due if store.remove(artifacts.blob_key(each.sha256), before)]
    return removed


def clear(store: Store) -> int:
    """Remove what writers that were killed had not finished writing into a directory, and give how many files that were.

    In a bucket nothing is left: an upload that was not finished ends by the bucket's own rule. Raises StoreError.
    """
    before = store.now() - LIMITS.prune_grace_s
    return sum(store.remove(key, before) for key in store.walk("aside")) if store.local else 0


def _write_down(store: Store, batch: list[Removal], rule: Rule, key: Key) -> str:
    while True:
        prune_id = runs.new_run_id(datetime.now(UTC))
        if prunes.put(store, prune_id, rule.as_json(), batch, key):
            return prune_id


def _named_since(store: Store, found: Survey) -> set[str]:
    """Give what runs name that were opened since, or gone on with."""
    again = Survey()
    needed: set[str] = set()
    for run_id in runs.run_ids(store):
        if run_id in found.kept or found.chains.get(run_id) == store.names(f"runs/{run_id}"):
            continue
        try:
            _mark(store, run_id, again, needed, kept=True)
        except UsageError:  # not opened whole yet
            continue
    return needed
