"""What a container writes, put together from its two streams so that no line stands in the middle of another's."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from stages.runtime.model import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT_S = 0.3
_LINE_BYTES = 65_536
"""What is longer is passed on before it ends."""


class Lines:
    """Keeps what was written since it was last taken, or the end of it if it is long, and passes it on to `heard`, line by line.

    What does not end a line waits for its rest, or until what there is gets taken.
    """

    def __init__(self, quiet_s: float, heard: Callable[[bytes], None] | None = None) -> None:
        self._quiet_s = quiet_s
        self._heard = heard
        self._lock = threading.Lock()
        self._kept = bytearray()
        self._begun: dict[int, bytes] = {}
        self._received_bytes = 0

    def add(self, stream: int, piece: bytes) -> None:
        """Take a piece of a stream."""
        with self._lock:
            self._received_bytes += len(piece)
            begun = self._begun.pop(stream, b"") + piece
            end = len(begun) if len(begun) > _LINE_BYTES else begun.rfind(b"\n") + 1
            if begun[end:]:
                self._begun[stream] = begun[end:]
            self._pass_on(begun[:end])

    def peek(self) -> str:
        """What there is, also of lines that have not ended."""
        with self._lock:
            return b"".join([self._kept, *self._begun.values()]).decode("utf-8", "replace")

    def take(self) -> str:
        """What there is once nothing more has come for a moment; from then on it is not kept any more."""
        deadline = time.monotonic() + _WAIT_S
        before = -1
        while before != self._received_bytes and time.monotonic() < deadline:
            before = self._received_bytes
            time.sleep(self._quiet_s)
        self.end()
        with self._lock:
            text = self._kept.decode("utf-8", "replace")
            self._kept.clear()
        return text

    def end(self) -> None:
        """Pass on what waits for its rest."""
        with self._lock:
            begun, self._begun = self._begun, {}
            for each in begun.values():
                self._pass_on(each)

    def mute(self) -> None:
        """Pass nothing on any more."""
        self._heard = None

    def _pass_on(self, data: bytes) -> None:
        self._kept += data
        del self._kept[: -LIMITS.log_bytes]
        if data and self._heard:
            self._heard(data)
