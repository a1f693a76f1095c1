"""What an attempt needs beside its stage: the record, the plan, and this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from pipeline import embedded, source
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.executors import Executor
    from pipeline.plan import Plan
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.reporting import Reporter
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


class Stop:
    """Whether an attempt is to stop, and on whose word, if it is somebody else's than this runner's user."""

    def __init__(self) -> None:
        self._event = Event()
        self.by = ""

    def set(self, by: str = "") -> None:
        self.by = self.by or by
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()


@dataclass
class Context:
    """All that an attempt needs beside its stage. `project` is None where only the record is at hand.

    `key` seals what this runner writes, and signs what stages state; no stage is ever handed it. `trust` are the keys whose
    ledgers count; without it a ledger need only be consistent. `declined` says who was asked before an open gate and did not
    want what is proposed.
    """

    store: Store
    plan: Plan
    run: Run
    project: Path | None
    work: Path
    executor: Executor
    reporter: Reporter
    key: Key
    trust: Trust | None = None
    propose_only: bool = False
    declined: str = ""
    _endpoint: list[str] = field(default_factory=list)
    _source: tuple[float, dict[str, Any]] | None = None
    _lock: Lock = field(default_factory=Lock)

    def source_state(self, project: Path) -> dict[str, Any]:
        """Say how the project stands in git. Git takes 10 ms: where no stage can have changed the project, a look counts for a second."""
        with self._lock:
            known, isolated = self._source, self.executor.mode != "none"
            if known is None or not isolated or time.monotonic() - known[0] > LIMITS.source_look_s:
                known = self._source = (time.monotonic(), source.state(project))
            return known[1]

    def source_changed(self) -> None:
        """Have the project looked at again: a stage that may write there has ended."""
        with self._lock:
            self._source = None

    def endpoint(self) -> str:
        """Give the embedded AWS's URL, asked for once."""
        with self._lock:
            if not self._endpoint:
                self._endpoint.append(embedded.endpoint(self.reporter.note))
            return self._endpoint[0]
