"""What a run needs of its store: its own objects, the ledgers of its targets, and the blobs that these name.

A blob is named by an event, by the plan, or by the manifest of an artifact that an event names. What a stage says of itself
(facts, proposals) can hold any digest, and makes nothing of it part of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from pipeline.record import artifacts, digest, ledger, ledgers, replay, runs
from pipeline.record.store import ahead
from pipeline.record.writer import read_chain
from stages.contract import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.record.chain import Event
    from pipeline.record.replay import Run
    from pipeline.record.store import Store

_SAID_BY_STAGES = frozenset({"facts", "proposal", "failure", "functions"})
_HEADS = frozenset({"opening", "before", "builds_on", "follows", "log", "ledger"})
_OF_OTHERS = frozenset({"reuses"})
"""What a stage saved work by is of another run, and its own outputs hold all that it took."""
_PASSED_OVER = _SAID_BY_STAGES | _HEADS | _OF_OTHERS


@dataclass(frozen=True)
class Artifact:
    """An artifact that a run names, by the digest of its manifest. `made_by` is its stage and its name there, None of an input."""

    sha256: str
    made_by: tuple[str, str] | None


@dataclass(frozen=True)
class Reach:
    """What a run's own chains name. `documents` are digests: of the plan and its files, requests, statements, subjects.

    `opened` is the run by its opening alone.
    """

    opened: Run
    plan: dict[str, Any]
    documents: frozenset[str]
    artifacts: frozenset[Artifact]
    ledgers: tuple[str, ...]

    @property
    def run(self) -> str:
        """The run's id."""
        return self.opened.id

    @property
    def inherits(self) -> set[str]:
        """The older runs that it takes over from."""
        return inherits(self.opened.data)


def of_run(store: Store, run_id: str) -> Reach:
    """Read what a run names. Raises VerificationFailed if a chain is broken or the plan is gone, UsageError if it was never opened."""
    seen = ahead.below(store, f"runs/{run_id}")
    opening = read_chain(seen, runs.chain_name(run_id, "open"))
    run = replay.opening(run_id, opening)
    if run is None:
        raise UsageError(f"run {run_id} was never opened: its runner died before anything was done")
    plan = artifacts.read_json(store, run.plan, f"the plan of run {run_id}")
    documents, made = named(opening) | set(_files(plan)), set()
    for name in seen.names(f"runs/{run_id}"):
        if name == "open":
            continue
        events = read_chain(seen, runs.chain_name(run_id, name))
        documents |= named(events)
        made |= set(_artifacts(name.rpartition(".")[0], events))
    ledgers = tuple(sorted(set(_ledgers(plan))))
    return Reach(run, plan, frozenset(documents), frozenset(made), ledgers)


def inherits(opened: dict[str, Any]) -> set[str]:
    """Give the older runs that a run takes over from, by what its opening says. Pure."""
    told = opened.get("inherits") or {}
    return {str(each["run"]) for each in (told.get("stages") or {}).values()} | ({str(told["run"])} if told else set())


def in_ledgers(store: Store, reached: Reach) -> tuple[set[str], set[str]]:
    """Give what the ledgers of a run's targets name of it, and the other runs without which they cannot be judged.

    The latter made the rules weaker, which was approved in their place. Raises VerificationFailed.
    """
    documents: set[str] = set()
    others: set[str] = set()
    for book in reached.ledgers:
        events = ledgers.read(store, book).events
        documents |= named(event for event in events if event.data.get("run") == reached.run)
        others |= {str(each.data["run"]) for each in events if each.data.get("kind") == "weaker"}
    return documents, others - {reached.run}


def files(store: Store, artifact: Artifact) -> list[artifacts.File]:
    """Give the files of an artifact; none if its manifest is not there. Raises VerificationFailed for one that is no manifest."""
    there = store.written_at(artifacts.blob_key(artifact.sha256)) is not None
    return artifacts.manifest(store, artifact.sha256) if there else []


def objects(store: Store, run_id: str) -> list[str]:
    """Give the keys of a run's own objects: chains with their seals and logs, and decisions in the inbox."""
    return [*store.walk(f"runs/{run_id}"), *store.walk(f"inbox/{run_id}")]


def named(events: Iterable[Event]) -> set[str]:
    """Give the digests that the runner's own part of events names. Pure. Not all of them are of blobs."""
    return {each for event in events for each in _digests(event.data)}


def _digests(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in _PASSED_OVER:
                yield from _digests(each)
    elif isinstance(value, list):
        for each in value:
            yield from _digests(each)
    elif digest.is_digest(value):
        yield value


def _files(plan: Any) -> Iterator[str]:
    """Give the files of a plan, by digest."""
    yield from plan["definition"].values()
    for stage in plan["stages"]:
        yield from stage["files"].values()


def _artifacts(stage: str, events: list[Event]) -> Iterator[Artifact]:
    for event in events:
        for given in (event.data.get("inputs") or {}).values():
            yield Artifact(str(given["artifact"]), None)
        for name, sha256 in (event.data.get("outputs") or {}).items():
            yield Artifact(str(sha256), (stage, name))


def _ledgers(plan: Any) -> Iterator[str]:
    for stage in plan["stages"]:
        if stage["target"] and stage["rules"]:
            yield ledger.name_of(Target(**stage["target"]))
