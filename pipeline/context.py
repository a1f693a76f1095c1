"""What an attempt needs beside its stage: the record, the plan, and this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from pipeline import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.executors import Executor
    from pipeline.plan import Plan
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.reporting import Reporter
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


@dataclass
class Context:
    """All that an attempt needs beside its stage. `project` is None where only the record is at hand.

    `key` seals what this runner writes, and signs what stages state; no stage is ever handed it. `trust` are the keys whose
    ledgers count; without it a ledger need only be consistent.
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
    _endpoint: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def endpoint(self) -> str:
        """Give the embedded AWS's URL, asked for once."""
        with self._lock:
            if not self._endpoint:
                self._endpoint.append(embedded.endpoint(self.reporter.note))
            return self._endpoint[0]
