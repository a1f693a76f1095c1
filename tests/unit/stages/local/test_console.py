"""Lambda's lines around an invocation, and lines of several containers that do not mix."""

from __future__ import annotations

import io
import json

import pytest

from stages.local.console import Console, end, start
from stages.runtime.model import Function, Outcome, OutcomeKind

FUNCTION = Function("Fn", "image", "123456789012", "eu-west-1", memory_mb=256)
ERROR = json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": "too late"}).encode()


def test_lambdas_lines() -> None:
    assert start("r-1", FUNCTION) == "START RequestId: r-1 Version: $LATEST"
    outcome = Outcome("succeeded", b"1", "", "r-1", 1.234, 200.5)
    assert end(outcome, FUNCTION) == (
        "END RequestId: r-1\nREPORT RequestId: r-1\tDuration: 1.23 ms\tBilled Duration: 202 ms\t"
        "Memory Size: 256 MB\tInit Duration: 200.50 ms"
    )
    assert "Init Duration" not in end(Outcome("succeeded", b"1", "", "r-1", 1.0), FUNCTION)


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        ("timeout", "timeout: too late (Sandbox.Timedout)", "Status: timeout"),
        ("exited", "exited: too late (Sandbox.Timedout)", "Status: error\tError Type: Sandbox.Timedout"),
        ("handler-error", "END RequestId: r-1", "Memory Size: 256 MB"),
    ],
)
def test_how_it_ended_is_told_where_its_own_log_cannot(kind: OutcomeKind, first: str, last: str) -> None:
    lines = end(Outcome(kind, ERROR, "", "r-1", 1.0), FUNCTION).splitlines()
    assert lines[0] == first
    assert lines[-1].endswith(last)


def test_nobodys_line_is_cut_in_two_by_anothers() -> None:
    stream = io.BytesIO()
    console = Console(stream)
    one, other = console.hearer(FUNCTION), console.hearer(FUNCTION)
    one(b"begun ")
    one(b"and ended\n")
    one(b"left open")
    other(b"another\n")
    console.say("ours")
    assert stream.getvalue() == b"begun and ended\nleft open\nanother\nours\n"


def test_a_traceback_in_one_entry_is_told_in_lines() -> None:
    stream = io.BytesIO()
    hear = Console(stream).hearer(FUNCTION)
    for piece in (b"[ERROR] ValueError: x\rTraceback:\r  File\n", b"one\r", b"\ntwo\r", b"three\r\n"):
        hear(piece)
    assert stream.getvalue() == b"[ERROR] ValueError: x\nTraceback:\n  File\none\ntwo\nthree\n"
