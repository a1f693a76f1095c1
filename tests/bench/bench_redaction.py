"""Logs through redaction with some 450 needles, beside replacing one after the other; and a stage's whole way of a line."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from pipeline.redaction import Redactor
from pipeline.redaction.forms import forms

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 5
NEEDLES = 450
LINES = 200_000
REPLACED_LINES = 20_000
"""For the loop, which is some ten times slower."""
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "at",
    "GET",
    "/api/v1/items",
    "200",
    "sha256",
    "layer",
    "pulled",
    "0.12s",
    "info",
]


def log(chance: random.Random, count: int) -> list[bytes]:
    """Lines of some hundred bytes, as programs write them."""
    return [" ".join(chance.choices(WORDS, k=chance.randint(8, 24))).encode() for _ in range(count)]


def secrets(chance: random.Random) -> dict[str, bytes]:
    """As many secrets as have `NEEDLES` forms together; the last is a key of 50 lines."""
    values = {"KEY": b"\n".join(chance.randbytes(32).hex().encode() for _ in range(12))}
    while sum(len(forms(value)) for value in values.values()) < NEEDLES:
        values[f"S{len(values)}"] = chance.randbytes(18).hex().encode()
    return values


def rate(work: Callable[[], object], size_bytes: int) -> float:
    """Megabytes a second, the median of some turns."""
    taken = []
    for _ in range(TURNS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return size_bytes / statistics.median(taken) / 1e6


def test_redaction() -> None:
    chance = random.Random(7)  # noqa: S311 - chance that can be had again
    values = secrets(chance)
    needles = sorted({form for value in values.values() for form in forms(value)}, key=len, reverse=True)
    lines = log(chance, LINES)
    for at in range(0, LINES, 1_000):
        lines[at] += b" " + chance.choice(needles)

    def ours() -> int:
        redactor = Redactor(values)
        masked = sum(b"***" in text for line in lines for text, _ in redactor.line("stdout", line, None))
        return masked + len(redactor.end())

    def replaced() -> None:
        for line in lines[:REPLACED_LINES]:
            text = line
            for needle in needles:
                text = text.replace(needle, b"***")

    started = time.perf_counter()
    Redactor(values)
    print(f"{len(needles)} needles, made in {(time.perf_counter() - started) * 1000:.0f} ms")
    size_bytes = sum(map(len, lines))
    figures = {
        "redaction": rate(ours, size_bytes),
        "bytes.replace, needle by needle": rate(replaced, sum(map(len, lines[:REPLACED_LINES]))),
    }
    for name, megabytes in figures.items():
        print(
            f"{name:<32} {megabytes:7.1f} MB/s  {size_bytes / LINES / megabytes:6.2f} us a line of {size_bytes // LINES} bytes"
        )
    assert ours() >= LINES // 1_000
    assert figures["redaction"] >= 20
