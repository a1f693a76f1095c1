"""What an earlier run made, that a stage may save work by. Only what the record proves counts.

Looked at are the latest runs in the same store, newest first: the first in which a stage of the same kind, whose options name
the same files, has succeeded is taken. Its chain must verify link by link from the run's opening, be closed, and be sealed by the
very key that this runner seals with; the file handed on must have the digest that the chain gives it. Whatever does not
verify is passed over: the stage then does all its work. See docs/adr/0012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import TowpathError
from pipeline.record import artifacts, runs, seals
from pipeline.record.store import ahead
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.plan import PlannedStage
    from pipeline.record.replay import Attempt
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key


@dataclass(frozen=True)
class Previous:
    """An attempt of an earlier run, and the bytes of what it handed on, by path below a work directory."""

    run: str
    attempt: Attempt
    files: dict[str, bytes]

    @property
    def folders(self) -> dict[str, str]:
        """Where each artifact's files are, as a request says it."""
        return {path.split("/")[1]: "/".join(path.split("/")[:2]) for path in self.files}

    def as_json(self) -> dict[str, Any]:
        """What the record says of it."""
        outputs = {name: self.attempt.outputs[name] for name in self.folders}
        return {"attempt": self.attempt.head.as_json(), "artifacts": outputs}


def find(store: Store, run_id: str, stage: PlannedStage, key: Key) -> Previous | None:
    """Find what a stage of this run may reuse, if there is anything."""
    wanted = KINDS[stage.kind].reuses
    if not wanted:
        return None
    others = [each for each in reversed(runs.run_ids(store)) if each != run_id]
    for other in others[: LIMITS.reused_runs]:
        try:
            for attempt in _attempts(store, other, stage, key):
                files = {f"previous/{name}/{file}": _read(store, attempt, name, file) for name, file in wanted}
                return Previous(other, attempt, files)
        except TowpathError:
            continue
    return None


def _attempts(store: Store, run_id: str, stage: PlannedStage, key: Key) -> Iterator[Attempt]:
    """Give the attempts of a run's stages like this one, that succeeded and that we sealed. Raises TowpathError."""
    run = runs.opening(store, run_id)
    if run is None:
        return
    plan = plans.of(store, run)
    alike = {each.name for each in plan.stages.values() if _alike(each, stage)}
    seen = ahead.below(store, f"runs/{run_id}")
    for name in seen.names(f"runs/{run_id}"):
        if name.rpartition(".")[0] in alike:
            attempt = runs.load_attempt(seen, run, name)
            if attempt.outcome == "succeeded" and _sealed_by(seen, attempt, key):
                yield attempt


def _alike(one: PlannedStage, other: PlannedStage) -> bool:
    return one.kind == other.kind and set(one.files) == set(other.files)


def _sealed_by(store: Store, attempt: Attempt, key: Key) -> bool:
    data = store.read(seals.seal_key(attempt.head.chain))
    if data is None:
        return False
    envelope, head = seals.decode(data, attempt.head.chain)
    return head == attempt.head and envelope.signed_by(key.public)


def _read(store: Store, attempt: Attempt, name: str, file: str) -> bytes:
    """Give a file of an output, held to its digest. Raises TowpathError."""
    found = next((each for each in artifacts.manifest(store, attempt.outputs.get(name, "")) if each.path == file), None)
    if found is None or found.size > LIMITS.reused_bytes:
        raise TowpathError(f"{attempt.head.chain}: there is no file {file} to reuse")
    return artifacts.read_blob(store, found.sha256, file)
