"""How far a stage's uploads are, told now and then: people at a terminal see it, others need not."""

from __future__ import annotations

import threading
import time

from stages.log import log

TELL_EVERY_S = 1.0


class Progress:
    """Counts bytes. What takes less than `TELL_EVERY_S` is not told at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = 0
        self._told_at = time.monotonic()

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self._sent += size_bytes
            sent, now = self._sent, time.monotonic()
            if now - self._told_at < TELL_EVERY_S:
                return
            self._told_at = now
        log(f"{sent / 1e6:,.1f} MB sent", progress=True)
