"""Cut what a job writes into lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.executors import Stream


class Lines:
    """Cut a stream of bytes into lines."""

    def __init__(self, stream: Stream, on_line: Callable[[Stream, bytes], None]) -> None:
        self._stream: Stream = stream
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> bool:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._pass_on(line)
        while len(self._rest) > LIMITS.log_line_bytes:
            self._on_line(self._stream, self._rest[: LIMITS.log_line_bytes])
            self._rest = self._rest[LIMITS.log_line_bytes :]
        return bool(chunk)

    def finish(self) -> None:
        if self._rest:
            self._pass_on(self._rest)
        self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LIMITS.log_line_bytes):
            self._on_line(self._stream, line[start : start + LIMITS.log_line_bytes].rstrip(b"\r"))
