"""Logs: whether their lines are those that were written. Pure, and line by line: a log may have millions.

1. Segments are numbered from 0 without a gap, and each ends with a line feed.
2. Each line is an event that holds the digest of the line before; the first opens the chain of this log, for this run's opening.
3. The log had the heads that the attempt's events say it had, when it was that long; and it ends where the last of them says.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, missing
from pipeline.errors import VerificationFailed
from pipeline.record import chain
from pipeline.record.writer import segment_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Told:
    """What an attempt says of its log: where it ended at some moment. `final`: nothing was written after that."""

    length: int
    head: Any
    by: str
    final: bool = False


@dataclass(frozen=True)
class Log:
    """How many lines are there, and what is wrong."""

    lines: int
    findings: tuple[Finding, ...]


def examine(name: str, opening: str, segments: Iterable[tuple[str, bytes]], told: Sequence[Told]) -> Log:
    """Look at a log. `segments` are names and bytes in the order of the store, `told` what is known of its heads."""
    reader = _Reader(name, opening, {each.length for each in told})
    for number, (key, data) in enumerate(segments):
        found = reader.segment(number, key, data)
        if found:
            return Log(reader.seq, (found,))
    return Log(reader.seq, tuple(_heads(reader, told)))


class _Reader:
    """A walk along the lines: what the next one must say."""

    def __init__(self, name: str, opening: str, wanted: set[int]) -> None:
        self.name, self.opening, self.wanted = name, opening, wanted
        self.seq = 0
        self.prev: str | None = None
        self.key = segment_key(name, 0)
        self.heads: dict[int, str] = {}
        self.starts: list[tuple[int, str]] = []

    def segment(self, number: int, key: str, data: bytes) -> Finding | None:
        expected = segment_key(self.name, number)
        if f"{self.name}/{key}" != expected:
            return broken(expected, f"is missing, and {key} is there")
        self.starts.append((self.seq, expected))
        if not data.endswith(b"\n"):
            return broken(expected, "does not end with a line feed")
        for line in data[:-1].split(b"\n"):
            if not self._fits(line):
                return self._misfit(line, expected)
            self.seq += 1
            self.prev = "sha256:" + hashlib.sha256(line).hexdigest()
            if self.seq in self.wanted:
                self.heads[self.seq] = self.prev
        self.key = expected
        return None

    def segment_of(self, line: int) -> str:
        return next((key for start, key in reversed(self.starts) if start <= line), self.key)

    def _fits(self, line: bytes) -> bool:
        try:
            event = json.loads(line)
            if event["prev"] != self.prev or event["seq"] != self.seq or event["v"] != chain.VERSION:
                return False
            if self.seq:
                return bool(event["type"] == chain.LOG_LINE)
            data = event["data"]
            return (event["type"], data["chain"], data["opening"]) == (chain.CHAIN_OPENED, self.name, self.opening)
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    def _misfit(self, line: bytes, segment: str) -> Finding:
        """Say why a line does not fit. A line without its right `prev` was changed, or the one before it was."""
        try:
            event = chain.decode(line, self.name)
        except VerificationFailed:
            return broken(segment, f"line {self.seq} is not an event")
        if event.prev != self.prev and event.seq == self.seq and self.seq:
            where = self.segment_of(self.seq - 1)
            text = f"line {self.seq - 1} is not what was written: line {self.seq} says that it has another digest"
            return broken(where, text, event.prev, self.prev)
        if event.seq != self.seq:
            return broken(segment, f"line {self.seq} says it is number {event.seq}")
        if not self.seq:
            return broken(segment, "the log was written for another chain or run", self.name, event.data.get("chain"))
        return broken(segment, f"line {self.seq} is {event.type}, and not of a log")


def _heads(reader: _Reader, told: Sequence[Told]) -> list[Finding]:
    for each in told:
        if each.length > reader.seq:
            text = f"the log's end is missing: {each.by} says how long it was"
            return [broken(reader.name, text, f"{each.length} lines", f"{reader.seq} lines")]
        if each.length and reader.heads[each.length] != each.head:
            text = f"line {each.length - 1} is not what was written: {each.by} says that it has another digest"
            return [broken(reader.segment_of(each.length - 1), text, each.head, reader.heads[each.length])]
        if each.final and each.length < reader.seq:
            text = f"lines were added: {each.by} says how long it was"
            return [broken(reader.segment_of(each.length), text, f"{each.length} lines", f"{reader.seq} lines")]
    length = max((each.length for each in told), default=0)
    if length < reader.seq:
        text = f"no seal vouches for the lines from {length} on: the attempt was given up or is still open"
        return [missing(reader.segment_of(length), text)]
    return []
