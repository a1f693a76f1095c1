"""Chains and seals: whether the events of a chain are those that were written, and who vouches for them. Pure.

1. Events are numbered from 0 without a gap.
2. The seal is an envelope in its one form, over this chain's name, by the key that the chain's first event names.
3. If keys are pinned, that key is enrolled as builder, and counts at the time the chain states for its end.
4. The chain has as many events as the seal says, and the last one has the digest that the seal says.
5. Each event has the digest that the one after it says.
6. The first opens the chain and bears its name, the last may close it, none between does either; only a closed chain is sealed.

Rule 5 is checked from the end, where the seal is: so the first event that does not fit is the one that was changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.errors import VerificationFailed
from pipeline.record import chain, digest, seals
from pipeline.record.writer import event_key
from pipeline.signing import signers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.record.chain import Event, Head
    from pipeline.signing.dsse import Envelope
    from pipeline.signing.signers import Trust


@dataclass(frozen=True)
class Examined:
    """A chain as it was found. `events` is empty if it is broken. `sealed_by` is the fingerprint of the key of a seal that holds.

    `digests` are those of its events, for whoever says how the chain looked when it was shorter.
    """

    name: str
    events: tuple[Event, ...]
    digests: tuple[str, ...]
    sealed_by: str | None = None
    has_seal: bool = False
    findings: tuple[Finding, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether its writer ended it."""
        return bool(self.events) and self.events[-1].type == chain.CHAIN_CLOSED

    def is_at(self, length: Any, sha256: Any) -> bool:
        """Tell whether the chain had this head when it was this long."""
        return isinstance(length, int) and 0 < length <= len(self.digests) and self.digests[length - 1] == sha256


@dataclass(frozen=True)
class Writer:
    """Who wrote, and when, as a chain states it: a public key's line, and a time."""

    key: Any
    at: str | None


def examine(name: str, lines: dict[str, bytes], seal: bytes | None, trust: Trust | None) -> Examined:
    """Look at a chain by the bytes of its events, which are keyed by their names in the store, and of its seal."""
    found: list[Finding] = []
    bodies = list(lines.values())
    for seq, key in enumerate(lines):
        if f"{name}/{key}" != event_key(name, seq):
            found.append(broken(event_key(name, seq), f"is missing, and {key} is there"))
            return Examined(name, (), (), has_seal=seal is not None, findings=tuple(found))
    sealed_by, head = _seal(name, seal, _stated(bodies, name), trust, found)
    if head and sealed_by:
        found += _ends(name, bodies, head)
    anchor = head.digest if head and sealed_by and head.length == len(bodies) else None
    events = _events(name, bodies, anchor, found)
    if head and not sealed_by and events and (head.length, head.digest) != (len(events), events[-1].digest):
        found.append(broken(seals.seal_key(name), "seals another state of the chain", head.digest, events[-1].digest))
    if head and events and events[-1].type != chain.CHAIN_CLOSED:
        found.append(broken(seals.seal_key(name), "seals a chain that is not closed"))
    digests = tuple(event.digest for event in events)
    data = events[0].data if events else {}
    whole = not any(each.key == seals.seal_key(name) for each in found)
    return Examined(name, events, digests, sealed_by if whole else None, seal is not None, tuple(found), data)


def signed(envelope: Envelope, key: str, writer: Writer, trust: Trust | None, found: list[Finding]) -> str | None:
    """Give the fingerprint of the one key that signed, if it may; else say why not. Without pinned keys the writer's counts."""
    with reading(key, found):
        return signers.check(envelope, key, stated=writer.key, role="builder", moment=_moment(writer.at), trust=trust)
    return None


def vouched(chains: Iterable[Examined]) -> dict[str, int]:
    """Say for each chain how many of its events a seal vouches for: its own, or that of a chain that holds its head.

    What is vouched for vouches in turn: a chain's first event names the chains it builds on and the one it follows.
    """
    known = {each.name: each for each in chains}
    lengths = {name: len(each.events) for name, each in known.items() if each.sealed_by}
    waiting = list(lengths)
    while waiting:
        for name, length, sha256 in _held(known[waiting.pop()], known):
            if length > lengths.get(name, 0) and known[name].is_at(length, sha256):
                lengths[name] = length
                waiting.append(name)
    return lengths


def unvouched(each: Examined, length: int, successor: str | None) -> list[Finding]:
    """Say what of a chain nobody vouches for. `successor` is the attempt that took over from its writer."""
    if not each.events or each.has_seal or length == len(each.events):
        return []
    if each.closed:
        text = "the chain is closed but not sealed: its writer was killed before it could, or the seal was removed"
        return [missing(seals.seal_key(each.name), text)]
    if successor is None:
        text = "the attempt is still open: it is under way, or was killed, or the end of its chain was removed"
        return [missing(each.name, text, "chain.closed", each.events[-1].type)]
    text = f"no seal vouches for what stands here or after: it is not what {successor} took over from"
    return [missing(event_key(each.name, length), text)]


def _held(holder: Examined, known: dict[str, Examined]) -> list[tuple[str, int, Any]]:
    """Give the (chain, length, head) that a chain's first event holds of others."""
    refs = [*_list(holder.data.get("builds_on")), holder.data.get("follows")]
    held = [(ref.get("chain"), ref.get("length"), ref.get("head")) for ref in refs if isinstance(ref, dict)]
    opening = f"{holder.name.rpartition('/')[0]}/open"
    if opening in known:
        held.append((opening, len(known[opening].events), holder.data.get("opening")))
    return [(str(name), length, head) for name, length, head in held if name in known and isinstance(length, int)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _stated(lines: list[bytes], name: str) -> Writer:
    """Give what the chain states of its writer; nothing is verified yet."""
    try:
        key = chain.decode(lines[0], name).data["writer"]["key"]
    except (VerificationFailed, IndexError, KeyError, TypeError):
        key = None
    try:
        at = chain.decode(lines[-1], name).at
    except (VerificationFailed, IndexError):
        at = None
    return Writer(key, at)


def _seal(
    name: str, seal: bytes | None, writer: Writer, trust: Trust | None, found: list[Finding]
) -> tuple[str | None, Head | None]:
    if seal is None:
        return None, None
    with reading(seals.seal_key(name), found):
        envelope, head = seals.decode(seal, name)
        return signed(envelope, seals.seal_key(name), writer, trust, found), head
    return None, None


def _ends(name: str, lines: list[bytes], head: Head) -> list[Finding]:
    if len(lines) < head.length:
        text = f"is missing: {seals.NAME} was made over {head.length} events"
        return [broken(event_key(name, len(lines)), text, head.length, len(lines))]
    if len(lines) > head.length:
        text = f"was added: {seals.NAME} was made over {head.length} events"
        return [broken(event_key(name, head.length), text, head.length, len(lines))]
    return []


def _events(name: str, lines: list[bytes], anchor: str | None, found: list[Finding]) -> tuple[Event, ...]:
    events: list[Event] = []
    expected, by = anchor, seals.NAME
    for seq in reversed(range(len(lines))):
        key, sha256 = event_key(name, seq), digest.of_bytes(lines[seq])
        if expected is not None and sha256 != expected:
            found.append(
                broken(key, f"is not what was written: {by} says that it has another digest", expected, sha256)
            )
            return ()
        try:
            event = chain.decode(lines[seq], name)
        except VerificationFailed as error:
            found.append(broken(key, error.message.removeprefix(f"{name}: ")))
            return ()
        events.insert(0, event)
        expected, by = event.prev or "none before it", key.rpartition("/")[2]
    for seq, event in enumerate(events):
        try:
            chain.check_link(event, seq, events[seq - 1] if seq else None, name)
        except VerificationFailed as error:
            found.append(broken(event_key(name, seq), error.message.removeprefix(f"{name}: ")))
            return ()
    return tuple(events)


def _moment(at: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(at or "")
    except ValueError:
        return None
