from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pipeline.audit import logs
from pipeline.audit.logs import Told
from pipeline.record import chain, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME, OPENING = "runs/r/build.1/log", "sha256:0"


def lines(count: int) -> Iterator[bytes]:
    line = chain.encode(0, None, chain.CHAIN_OPENED, {"chain": NAME, "opening": OPENING})
    yield line
    for seq in range(1, count):
        line = chain.encode(seq, digest.of_bytes(line), chain.LOG_LINE, {"phase": "apply", "text": "x" * 80})
        yield line


def segments(made: list[bytes], size: int = 4) -> list[tuple[str, bytes]]:
    return [
        (f"{number:06d}.jsonl", b"\n".join(made[start : start + size]) + b"\n")
        for number, start in enumerate(range(0, len(made), size))
    ]


def test_a_whole_log_holds() -> None:
    made = list(lines(10))
    told = [Told(4, digest.of_bytes(made[3]), "event 2"), Told(10, digest.of_bytes(made[9]), "event 3", final=True)]
    assert logs.examine(NAME, OPENING, segments(made), told) == logs.Log(10, ())


@pytest.mark.parametrize("changed", [0, 3, 4, 8, 9])
def test_the_segment_of_the_line_that_was_changed_is_named(changed: int) -> None:
    made = list(lines(10))
    told = [Told(10, digest.of_bytes(made[9]), "event 3", final=True)]
    made[changed] = made[changed].replace(b'"at":"2', b'"at":"3')
    (found,) = logs.examine(NAME, OPENING, segments(made), told).findings
    assert found.key == f"{NAME}/{changed // 4:06d}.jsonl"
    assert f"line {changed} is not what was written" in found.text
    assert found.grade == "broken"


def test_a_log_may_not_have_been_shorter_than_an_event_says_of_it() -> None:
    made = list(lines(6))
    (found,) = logs.examine(NAME, OPENING, segments(made), [Told(3, "sha256:1", "event 2")]).findings
    assert "line 2 is not what was written: event 2 says" in found.text


def test_lines_that_nobody_vouches_for() -> None:
    made = list(lines(6))
    (found,) = logs.examine(NAME, OPENING, segments(made), [Told(5, digest.of_bytes(made[4]), "x")]).findings
    assert (found.grade, found.key) == ("missing", f"{NAME}/000001.jsonl")


def test_a_missing_segment_is_named() -> None:
    made = segments(list(lines(10)))
    (found,) = logs.examine(NAME, OPENING, [made[0], made[2]], []).findings
    assert (found.key, found.text) == (f"{NAME}/000001.jsonl", "is missing, and 000002.jsonl is there")


def test_a_million_lines_take_less_than_ten_seconds() -> None:
    """A hundred thousand in less than one."""
    made = list(lines(100_000))
    kept, head = segments(made, 3_000), digest.of_bytes(made[-1])
    start = time.process_time()
    assert logs.examine(NAME, OPENING, kept, [Told(len(made), head, "x", final=True)]).findings == ()
    assert time.process_time() - start < 1
