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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import earlier
from pipeline import plan as plans
from pipeline.errors import UsageError
from pipeline.record import artifacts, chain, ledger, ledgers, prunes, reach, runs
from pipeline.record.prunes import Removal
from pipeline.record.store import ahead
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


@dataclass(frozen=True)
class Survey:
    """What was found. `chains` are those of each run that is not kept, as they were then; `removals` by digest."""

    kept: frozenset[str]
    chains: dict[str, tuple[str, ...]]
    removals: dict[str, Removal]


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


@dataclass(frozen=True)
class Looked:
    """What a run names, by digest. `chains` are the names of its chains.

    `documents` an audit reads, `contents` are other files that it has made, by their size, and `given` are those it was given.
    """

    known: Known
    chains: tuple[str, ...]
    documents: frozenset[str]
    contents: dict[str, int]
    given: frozenset[str]

    @property
    def all(self) -> set[str]:
        """All that it names."""
        return {*self.documents, *self.contents, *self.given}


def survey(store: Store, rule: Rule, trust: Trust | None = None) -> Survey:
    """Read all runs and find what is not needed. Raises VerificationFailed for a chain or ledger that does not hold."""
    now = store.now()
    books = [ledgers.read(store, f"ledgers/{name}", trust) for name in store.names("ledgers")]
    looked = [found for run_id in runs.run_ids(store) if (found := _look(store, run_id))]
    kept = keeping([each.known for each in looked], books, rule, now)
    needed = {each for book in books for event in book.events for each in mentioned(event.data)}
    needed |= {each for one in looked for each in (one.all if one.known.id in kept else one.documents)}
    left = [each for each in looked if each.known.id not in kept]
    removals = {sha256: Removal(each.known.id, sha256, size) for each in left for sha256, size in each.contents.items()}
    for key in store.walk("blobs"):
        sha256 = f"sha256:{key.rpartition('/')[2]}"
        if sha256 not in needed and sha256 not in removals:
            removals[sha256] = Removal(None, sha256, _size(store, sha256))
    due = {each: found for each, found in removals.items() if each not in needed and _is_due(store, each, now)}
    return Survey(kept, {each.known.id: each.chains for each in left}, due)


def keeping(known: Collection[Known], books: Iterable[Ledger], rule: Rule, now: float) -> frozenset[str]:
    """Say which runs are kept. Pure."""
    ids = sorted(each.id for each in known)
    kept = set(ids[len(ids) - rule.keep :]) if rule.keep else set()
    current: dict[str, str] = {}
    for book in books:
        deployed = [each.data["run"] for each in book.events if _is_deployed(each)]
        current[book.name] = book.current["run"] if book.current else ""
        stands = [current[book.name]] if book.current else []  # an outcome may have been written down late
        latest = list(dict.fromkeys([*stands, *reversed(deployed)]))
        kept |= {run for run, _ in book.unsettled} | set(latest[: rule.deployments + 1])
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


def _look(store: Store, run_id: str) -> Looked | None:
    """Read a run, once; None for one that was never opened."""
    seen = ahead.below(store, f"runs/{run_id}")
    chains = tuple(seen.names(f"runs/{run_id}"))
    try:
        run = runs.load(seen, run_id)
    except UsageError:
        return None
    reached = reach.of_run(seen, run_id)
    documents = set(reached.documents) | {each.sha256 for each in reached.artifacts}
    events = [key for key in seen.walk(f"runs/{run_id}") if "/log/" not in key]
    for data in seen.read_each(events):
        documents |= {each.decode() for each in _DIGEST.findall(data or b"")}
    kinds = {each["name"]: each["kind"] for each in reached.plan["stages"]}
    contents: dict[str, int] = {}
    given: set[str] = set()
    for artifact in reached.artifacts:
        for file in reach.files(store, artifact):
            if artifact.made_by is None:
                given.add(file.sha256)
            elif _is_evidence(artifact.made_by, kinds, file.path):
                documents.add(file.sha256)
            else:
                contents[file.sha256] = file.size
    return Looked(_known(store, run, reached), chains, frozenset(documents), contents, frozenset(given))


def _known(store: Store, run: Run, reached: reach.Reach) -> Known:
    plan = plans.from_json(reached.plan, f"the plan of run {run.id}")
    attempts = [each for attempts in run.attempts.values() for each in attempts]
    heads = [run.head, *(each.head for each in attempts)]
    times = [store.written_at(event_key(head.chain, head.length - 1)) or 0 for head in heads]
    alive = any(each.outcome is None and earlier.alive(store, plan, run, each) for each in attempts)
    return Known(run.id, max(times), alive, frozenset(_proposes(plan, run)), frozenset(reached.inherits))


def _proposes(plan: Plan, run: Run) -> Iterator[str]:
    for name, stage in plan.stages.items():
        last = run.last(name)
        if last and last.outcome == "waiting" and stage.target:
            yield ledger.name_of(stage.target)


def _is_evidence(made_by: tuple[str, str], kinds: dict[str, str], path: str) -> bool:
    """Tell whether an audit reads this file of an output, or a rollback needs it."""
    stage, name = made_by
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
    """Give what runs name that were opened since, or gone on with, and what those name from which they take over."""
    needed: set[str] = set()
    for run_id in runs.run_ids(store):
        if run_id not in found.kept and found.chains.get(run_id) != tuple(store.names(f"runs/{run_id}")):
            looked = _look(store, run_id)
            inherits = [_look(store, each) for each in looked.known.inherits] if looked else []
            needed |= {each for one in (looked, *inherits) if one for each in one.all}
    return needed
