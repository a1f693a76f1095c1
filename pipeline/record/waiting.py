"""Which proposals wait for people: an index, so that a list of them need not read every run (docs/adr/0016).

    waiting/format.json                 from here on, every proposal that waits has its key
    waiting/<run>.<stage>.<n>           put before attempt n is closed as waiting
    waiting/<run>.<stage>.<n>.over      that this one waits no more

Nothing is ever removed or changed, and one listing tells what is left. It is a hint: whether a proposal waits is told by its run,
and nothing that acts looks here. An index that is not there is made of all the runs, once.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.errors import TowpathError
from pipeline.record import runs
from pipeline.record.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.record.replay import Run
    from pipeline.record.store import Store

_FORMAT_KEY = "waiting/format.json"
_FORMAT = json.dumps({"format": "towpath-waiting", "v": 1}).encode() + b"\n"
_NAME = re.compile(r"([0-9]{8}-[0-9]{6}-[0-9a-z]{4})\.([^.]+)\.([1-9][0-9]{0,8})(\.over)?")

Waiting = dict[str, list[tuple[str, int]]]
"""By run, oldest first: the stages that have proposed something, and the numbers of the attempts that did."""


def put(store: Store, run_id: str, stage: str, number: int) -> None:
    """Say that an attempt is about to be closed as waiting. First, so that none waits unlisted. Raises StoreError."""
    store.put_new(f"waiting/{run_id}.{stage}.{number}", b"")


def over(store: Store, run_id: str, stage: str, number: int) -> None:
    """Say that what an attempt proposed waits no more. Who may only read the store says nothing."""
    with suppress(StoreError):
        store.put_new(f"waiting/{run_id}.{stage}.{number}.over", b"")


def listed(store: Store) -> Waiting:
    """Give what may wait, by one listing. Raises StoreError."""
    names = store.names("waiting")
    if _FORMAT_KEY.rpartition("/")[2] not in names:
        return _rebuilt(store)
    return left(names)


def left(names: Iterable[str]) -> Waiting:
    """Give what is not over. Pure."""
    found = [match.groups() for name in names if (match := _NAME.fullmatch(name))]
    ended = {(run_id, stage, number) for run_id, stage, number, is_over in found if is_over}
    waiting: Waiting = {}
    for run_id, stage, number, is_over in sorted(found, key=lambda each: each[:3]):
        if not is_over and (run_id, stage, number) not in ended:
            waiting.setdefault(run_id, []).append((stage, int(number)))
    return waiting


def of_run(run: Run) -> Iterator[tuple[str, int]]:
    """Give what waits in a run. Pure."""
    for stage in run.attempts:
        last = run.last(stage)
        if last and last.outcome == "waiting":
            yield stage, last.number


def note(store: Store, run: Run) -> None:
    """Say what waits in a run that was written elsewhere. Raises StoreError."""
    for stage, number in of_run(run):
        put(store, run.id, stage, number)


def _rebuilt(store: Store) -> Waiting:
    """Make the index of all runs. One that cannot be read waits for nobody. A runner that writes meanwhile lists its own."""
    found: Waiting = {}
    for run_id in runs.run_ids(store):
        with suppress(TowpathError):
            run = runs.load(store, run_id)
            if waiting := list(of_run(run)):
                found[run_id] = waiting
    with suppress(StoreError):  # who may only read the store makes it each time
        for run_id, waiting in found.items():
            for stage, number in waiting:
                put(store, run_id, stage, number)
        store.put_new(_FORMAT_KEY, _FORMAT)
    return found
