"""Lines in the groups of a CI system's log: one stage at a time, as groups cannot overlap. What the others say waits for its turn."""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.cli.ci.guard import trusted
from pipeline.cli.progress import Lines

if TYPE_CHECKING:
    from pipeline.cli.ci.dress import Dress
    from pipeline.record.replay import Attempt

_KEPT_LINES = 10_000
"""Of a stage that waits for its turn; all of them are in the record."""


class Grouped(Lines):
    """The first stage under way shows its lines as they come; once it has ended, the next one shows what it has to say."""

    def __init__(self, dress: Dress) -> None:
        super().__init__()
        self._dress = dress
        self._open: str | None = None
        self._mark = ""
        self._waiting: dict[str, deque[str]] = {}
        self._dropped: dict[str, int] = {}
        self._ended: set[str] = set()

    def stage_started(self, stage: str, attempt: int) -> None:
        with self._lock:
            self._ended.discard(stage)
            self._waiting[stage] = deque(maxlen=_KEPT_LINES)
            self._take_turns()
        super().stage_started(stage, attempt)

    def stage_ended(self, attempt: Attempt) -> None:
        super().stage_ended(attempt)
        with self._lock:
            self._ended.add(attempt.stage)
            self._take_turns()

    def close(self) -> None:
        """Show what is left, whatever became of the stages."""
        with self._lock:
            self._ended |= {*self._waiting, *([self._open] if self._open else [])}
            self._take_turns()

    def _say(self, text: str, stage: str | None = None) -> None:
        with self._lock:
            if stage in self._waiting:
                waiting = self._waiting[stage]
                self._dropped[stage] = self._dropped.get(stage, 0) + (len(waiting) == _KEPT_LINES)
                waiting.append(text)
            else:
                self._print(text)

    def _take_turns(self) -> None:
        while self._open is None or self._open in self._ended:
            if self._open is not None:
                self._mark_up(self._dress.end(self._open, self._mark))
                self._open = None
            if not self._waiting:
                return
            self._open = next(iter(self._waiting))
            self._mark = secrets.token_hex(16)
            self._mark_up(self._dress.begin(self._open, self._mark))
            if dropped := self._dropped.pop(self._open, 0):
                self._print(f"{self._open} | {dropped} lines are left out here: towpath logs has them")
            for text in self._waiting.pop(self._open):
                self._print(text)

    def _mark_up(self, text: str) -> None:
        with suppress(OSError):
            trusted(text)
