"""Chains: events in order, each holding the digest of the one before. Format version 1 (docs/adr/0001).

An event is one line of JSON, UTF-8, without the line feed:

    {"v":1,"seq":3,"prev":"sha256:…","type":"phase.finished","at":"2026-11-23T11:42:19.123Z","data":{…}}

`prev` is the SHA-256 of the exact bytes of the event before (null in the first), so no canonical form is needed and any
edit, even of white space, breaks the chain. `at` is the writer's clock: it is shown and decides nothing. The first event
of a chain is `chain.opened`, the last `chain.closed`; after that nothing may follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import VerificationFailed
from pipeline.record import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION = 1

CHAIN_OPENED = "chain.opened"
CHAIN_CLOSED = "chain.closed"
RUN_OPENED = "run.opened"
PHASE_INTENDED = "phase.intended"
PHASE_FINISHED = "phase.finished"
PROPOSAL_ADOPTED = "proposal.adopted"
RESULT_ADOPTED = "result.adopted"
RESULT_INHERITED = "result.inherited"
GATE_LOOKED_AT = "gate.looked-at"
LOG_LINE = "log.line"


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Event(NamedTuple):
    """One link. `digest` is of the line as it is stored."""

    seq: int
    prev: str | None
    type: str
    at: str
    data: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Head:
    """Where a chain ends: the digest of its last event, and how many events there are. It stands for the whole chain."""

    chain: str
    digest: str
    length: int

    def as_json(self) -> dict[str, Any]:
        """Give the form in which other chains refer to this one."""
        return {"chain": self.chain, "head": self.digest, "length": self.length}


def encode(seq: int, prev: str | None, kind: str, data: dict[str, Any], at: datetime | None = None) -> bytes:
    """Give the line of an event, without the line feed."""
    moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"v": VERSION, "seq": seq, "prev": prev, "type": kind, "at": moment, "data": data}
    return _ENCODER.encode(event).encode()


def decode(line: bytes, chain: str) -> Event:
    """Read one line. Raises VerificationFailed if it is not an event of this version."""
    try:
        event = digest.parse(line)
        if event["v"] != VERSION:
            raise VerificationFailed(f"{chain}: an event is of format version {event['v']}, not {VERSION}")
        seq, prev, kind, at, data = event["seq"], event["prev"], event["type"], event["at"], event["data"]
        fits = type(seq) is int and (prev is None or digest.is_digest(prev)) and isinstance(data, dict)
        if not fits or not isinstance(kind, str) or not isinstance(at, str):
            raise VerificationFailed(f"{chain}: a line is not an event: {line[:80]!r}")
        return Event(seq, prev, kind, at, data, digest.of_bytes(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(f"{chain}: a line is not an event: {line[:80]!r}") from error


def verify(lines: Iterable[bytes], chain: str) -> list[Event]:
    """Read the lines of a chain and check every link. Raises VerificationFailed that names the first broken one."""
    return list(verified(lines, chain))


def verified(lines: Iterable[bytes], chain: str) -> Iterator[Event]:
    """Do the same one by one, for a chain that is too long to be kept: each event is given once its link holds."""
    before: Event | None = None
    for number, line in enumerate(lines):
        event = decode(line, chain)
        check_link(event, number, before, chain)
        before = event
        yield event


def check_link(event: Event, number: int, before: Event | None, chain: str) -> None:
    """Check that an event stands where it may. Raises VerificationFailed."""
    if event.seq != number:
        raise VerificationFailed(f"{chain}: event {number} says it is number {event.seq}")
    if event.prev != (before.digest if before else None):
        raise VerificationFailed(
            f"{chain}: event {number} does not follow the one before it: its `prev` is another digest"
        )
    if (event.type == CHAIN_OPENED) != (number == 0):
        raise VerificationFailed(f"{chain}: event {number} is {event.type}, and only the first may open a chain")
    if before and before.type == CHAIN_CLOSED:
        raise VerificationFailed(f"{chain}: event {number} follows the chain's end")
    if number == 0 and event.data.get("chain") != chain:
        raise VerificationFailed(f"{chain}: its events were written for the chain {event.data.get('chain')!r}")


def head(events: list[Event], chain: str) -> Head:
    """Give where a chain of at least one event ends."""
    return Head(chain, events[-1].digest, len(events))
