"""What was built last of a template, for commands that run it on this machine. Pure reading: nothing is recorded.

Looked at are the latest runs of a store, newest first. The chain of the build must verify link by link from the run's opening, and
what it handed on must have the digest that the chain gives it; whose key sealed it is not asked, for nothing is deployed by it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import TowpathError
from pipeline.record import artifacts, runs
from pipeline.record.store import ahead
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.plan import PlannedStage
    from pipeline.record.replay import Attempt
    from pipeline.record.store import Store


@dataclass(frozen=True)
class Built:
    """A build that succeeded: its run, when that was opened, its stage as it was planned, and the images.json that it handed on.

    It read the source after `opened`, in seconds since the epoch.
    """

    run: str
    opened: float
    stage: PlannedStage
    images: dict[str, Any]


def latest(store: Store, template: str) -> Built | None:
    """Find the latest build of a template, named by its path from the project's root."""
    for run_id in list(reversed(runs.run_ids(store)))[: LIMITS.reused_runs]:
        try:
            for stage, attempt in _builds(store, run_id, os.path.normpath(template)):
                return Built(run_id, _time(run_id), stage, _images(store, attempt))
        except TowpathError:
            continue  # it does not verify, or is of a later format: an older one may do
    return None


def _builds(store: Store, run_id: str, template: str) -> Iterator[tuple[PlannedStage, Attempt]]:
    run = runs.opening(store, run_id)
    if run is None:
        return
    stages = {
        each.name: each
        for each in plans.of(store, run).stages.values()
        if each.kind == "build" and os.path.normpath(str(each.options.get("template"))) == template
    }
    if not stages:
        return
    seen = ahead.below(store, f"runs/{run_id}")
    for name in reversed(seen.names(f"runs/{run_id}")):
        stage = stages.get(name.rpartition(".")[0])
        if stage is not None:
            attempt = runs.load_attempt(seen, run, name)
            if attempt.outcome == "succeeded" and "images" in attempt.outputs:
                yield stage, attempt


def _time(run_id: str) -> float:
    """When a run was opened, which its id says to the second."""
    return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()


def _images(store: Store, attempt: Attempt) -> dict[str, Any]:
    for file in artifacts.manifest(store, attempt.outputs["images"]):
        if file.path == "images.json":
            document: dict[str, Any] = json.loads(artifacts.read_blob(store, file.sha256, file.path))
            return document
    raise TowpathError(f"{attempt.head.chain}: the artifact images has no images.json")
