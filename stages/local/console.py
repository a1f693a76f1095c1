"""What is told of invocations: what functions write, and Lambda's START, END and REPORT lines around it."""

from __future__ import annotations

import json
import math
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.runtime.model import Function, Outcome


class Console:
    """Writes to one stream from many threads, and never into the middle of somebody's line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._unended: object = None

    def hearer(self, function: Function) -> Callable[[bytes], None]:
        """What takes the output of one container."""
        del function
        source = object()
        returned = False

        def hear(piece: bytes) -> None:
            nonlocal returned
            text = _in_lines(piece, after_return=returned)
            returned = piece.endswith(b"\r")
            self._write(source, text)

        return hear

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self._write(self, f"{text}\n".encode())

    def _write(self, source: object, data: bytes) -> None:
        if not data:
            return
        with self._lock:
            if self._unended not in (None, source):
                self._stream.write(b"\n")
            self._stream.write(data)
            self._stream.flush()
            self._unended = None if data.endswith(b"\n") else source


def _in_lines(piece: bytes, *, after_return: bool) -> bytes:
    """A piece of output in which carriage returns end lines, too.

    Runtimes put them between the lines of one entry, such as a traceback: a terminal would show its last line alone.
    """
    if after_return:
        piece = piece.removeprefix(b"\n")
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def start(request_id: str, function: Function) -> str:
    """The line before an invocation."""
    return f"START RequestId: {request_id} Version: {function.version}"


def end(outcome: Outcome, function: Function) -> str:
    """The lines after it: what Lambda says of how it ended, END and REPORT, but for the memory that it took.

    https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
    """
    fields = [
        f"REPORT RequestId: {outcome.request_id}",
        f"Duration: {outcome.duration_ms:.2f} ms",
        f"Billed Duration: {math.ceil(outcome.duration_ms + (outcome.init_ms or 0))} ms",
        f"Memory Size: {function.memory_mb} MB",
        *([f"Init Duration: {outcome.init_ms:.2f} ms"] if outcome.init_ms is not None else []),
        *_status(outcome),
    ]
    return "\n".join([*_told(outcome), f"END RequestId: {outcome.request_id}", "\t".join(fields)])


def error_of(outcome: Outcome) -> tuple[str, str]:
    """The type and the message of an outcome that is an error."""
    try:
        error = json.loads(outcome.payload)
        return str(error.get("errorType", "")), str(error.get("errorMessage", ""))
    except (ValueError, AttributeError):
        return "", outcome.payload.decode("utf-8", "replace")


def _told(outcome: Outcome) -> list[str]:
    """What the function's own log does not say: it had no say in it."""
    if outcome.kind in ("succeeded", "handler-error"):
        return []
    error_type, message = error_of(outcome)
    return [f"{outcome.kind}: {message}" + (f" ({error_type})" if error_type else "")]


def _status(outcome: Outcome) -> list[str]:
    if outcome.kind == "timeout":
        return ["Status: timeout"]
    if outcome.kind in ("succeeded", "handler-error"):
        return []
    return ["Status: error", f"Error Type: {error_of(outcome)[0]}"]
