"""Which images the runs of a store have left in this machine's engine, and which of them are still wanted.

Only what a record names is ours: a label is inherited by whatever somebody builds upon an image, and a name is anybody's to give.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed, TowpathError
from pipeline.record import artifacts, runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.record.store import Store

BUILT = ("images", "images.json")
"""What `build` hands on, and the file of it that lists images."""


@dataclass
class Image:
    """An image that a build left in an engine, by the engine's id; `names` are further ones that the build gave it."""

    id: str
    names: set[str] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """`images` by id, and the runs that could not be read, with the reason: their images are left alone."""

    images: dict[str, Image]
    unreadable: dict[str, str]


def find(store: Store) -> Found:
    """Read what all runs of a store have built. Only chains that verify count."""
    found: dict[str, Image] = {}
    unreadable: dict[str, str] = {}
    for run_id in runs.run_ids(store):
        try:
            for document in _built(store, run_id):
                _add(found, run_id, document)
        except (TowpathError, KeyError, TypeError, AttributeError) as error:
            unreadable[run_id] = error.message if isinstance(error, TowpathError) else repr(error)
    return Found(found, unreadable)


def _built(store: Store, run_id: str) -> Iterable[Any]:
    output, name = BUILT
    for attempts in runs.load(store, run_id).attempts.values():
        for attempt in attempts:
            for file in artifacts.manifest(store, attempt.outputs[output]) if output in attempt.outputs else ():
                if file.path == name:
                    yield json.loads(artifacts.read_blob(store, file.sha256, name))


def _add(found: dict[str, Image], run_id: str, document: Any) -> None:
    for function in document["functions"].values():
        carrier = function["carrier"]
        if function.get("source") and carrier["type"] == "engine":  # without a source it is somebody else's image
            image = found.setdefault(carrier["image"], Image(carrier["image"]))
            image.names |= {function["alias"]} if function.get("alias") else set()
            image.runs += [run_id] if run_id not in image.runs else []


def unwanted(images: dict[str, Image], latest: list[str], keep: int) -> list[Image]:
    """The images that none of the last `keep` runs which built has; `latest` are all runs, oldest first. Pure."""
    building = [run for run in latest if any(run in image.runs for image in images.values())]
    kept = set(building[len(building) - keep :]) if keep else set()
    return [image for image in images.values() if not kept & set(image.runs)]


def remove(images: list[Image]) -> list[dict[str, Any]]:
    """Have them removed from the engine, by a program of its own. Raises StageFailed if there is no engine."""
    wanted = json.dumps([{"id": image.id, "names": sorted(image.names)} for image in images])
    argv = [sys.executable, "-I", "-m", "stages.images"]
    done = subprocess.run(argv, input=wanted, capture_output=True, text=True, check=False)
    try:
        answer: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
        failure = json.loads(done.stderr.splitlines()[-1]) if done.returncode else None
    except (ValueError, IndexError) as error:
        raise StageFailed(f"images cannot be removed: {done.stderr[-500:] or done.returncode}") from error
    if failure:
        raise StageFailed(f"images cannot be removed: {failure['message']}", hint=failure["hint"])
    return answer
