"""Ledgers in a store: read with every signature checked, and appended to.

Each event is signed by itself, in the one object that it is put as: an envelope of `TYPE` (`pipeline.signing.dsse`) in canonical JSON
whose payload is the event's line. There is never an event without its signature, and `prev` is the digest of the line before, as in
every chain. What events mean stands in `pipeline.record.ledger`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pipeline.errors import Blocked, TowpathError, VerificationFailed
from pipeline.record import chain, digest, envelopes, pages
from pipeline.record.ledger import Ledger, replay
from pipeline.record.writer import event_key, writer_identity
from pipeline.signing import dsse, signers

if TYPE_CHECKING:
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

TYPE = "application/vnd.towpath.ledger-event.v1+json"


def encode(line: bytes, key: Key) -> bytes:
    """Give the object of an event."""
    return envelopes.encode(TYPE, line, key)


def decode(data: bytes, what: str) -> dsse.Envelope:
    """Read the object of an event; the signature is not verified. Raises VerificationFailed."""
    return envelopes.decode(data, TYPE, what)


def read(store: Store, name: str, trust: Trust | None = None) -> Ledger:
    """Read a ledger, check its chain and every signature. Raises VerificationFailed.

    Without pinned keys each event must be signed by the key that it names; with them, that key must be enrolled as gate. What
    this process has read of it before, by the same keys, it does not read again, and of a long one it reads pages
    (`pipeline.record.pages`): a ledger only grows, and may have thousands of events.
    """
    keys = [f"{name}/{key}" for key in store.names(name)]
    for seq, key in enumerate(keys):
        if key != event_key(name, seq):
            raise VerificationFailed(
                f"{event_key(name, seq)} is missing, and {key} is there", where=event_key(name, seq)
            )
    known = _known(store, name, trust, keys)
    events = list(known.events) or _paged(store, name, trust, keys)
    rest = keys[len(events) :]
    for key, data in zip(rest, store.read_each(rest), strict=True):
        envelope = decode(data or b"", key)
        event = chain.decode(envelope.payload, name)
        chain.check_link(event, len(events), events[-1] if events else None, name)
        check_signer(event, envelope, key, trust)
        events.append(event)
    found = replay(name, events[len(known.events) :], known)
    _READ.setdefault(store, {})[name] = (trust, found)
    return found


_READ: WeakKeyDictionary[Store, dict[str, tuple[Trust | None, Ledger]]] = WeakKeyDictionary()
"""What was read of each store while it is open, and by which keys."""


def _known(store: Store, name: str, trust: Trust | None, keys: list[str]) -> Ledger:
    """Give what was read before, if the ledger still begins with that; else an empty one, with which all is read."""
    by, found = _READ.get(store, {}).get(name, (None, Ledger(name)))
    if not found.head or by is not trust or len(keys) < found.head.length:
        return Ledger(name)
    last = keys[found.head.length - 1]
    same = digest.of_bytes(decode(store.read(last) or b"", last).payload) == found.head.digest
    return found if same else Ledger(name)


def _paged(store: Store, name: str, trust: Trust | None, keys: list[str]) -> list[chain.Event]:
    """Give the events that pages hold, as far as each is linked, by a gate that counts, and the last is that of the ledger itself."""
    events: list[chain.Event] = []
    if len(keys) < pages.EVENTS:
        return events
    with suppress(VerificationFailed):  # a hint: what is not right with it is read event by event
        for signed_by, line in pages.entries(store, name, trust):
            event = chain.decode(line, name)
            chain.check_link(event, len(events), events[-1] if events else None, name)
            signer = trust.key("gate", signed_by) if trust else None
            if trust and not (signer and signer.signer.valid_at(_moment(event, name))):
                break
            events.append(event)
    del events[len(keys) :]
    last = keys[len(events) - 1]
    if events and digest.of_bytes(decode(store.read(last) or b"", last).payload) != events[-1].digest:
        return []
    return events


def _moment(event: chain.Event, what: str) -> datetime:
    """Give when an event was written, as it says. Raises VerificationFailed."""
    try:
        moment = datetime.fromisoformat(event.at)
    except ValueError as error:
        raise VerificationFailed(f"{what}: event {event.seq} does not say when it was written") from error
    if moment.tzinfo is None:
        raise VerificationFailed(f"{what}: event {event.seq} does not say when it was written")
    return moment


def page(store: Store, name: str, length: int, key: Key, most: int = 4) -> None:
    """Put events into pages, as far as they fill some that are not there yet, `most` of them. Raises StoreError, VerificationFailed."""
    first = pages.count(store, name)
    for number in range(first, min(first + most, length // pages.EVENTS)):
        keys = [event_key(name, seq) for seq in range(number * pages.EVENTS, (number + 1) * pages.EVENTS)]
        entries = []
        for where, data in zip(keys, store.read_each(keys), strict=True):
            envelope = decode(data or b"", where)
            signed_by = check_signer(chain.decode(envelope.payload, name), envelope, where, None)
            entries.append((signed_by, envelope.payload))
        pages.put(store, name, number, entries, key)


def check_signer(event: chain.Event, envelope: dsse.Envelope, what: str, trust: Trust | None) -> str:
    """Give the fingerprint of the key that signed an event. Raises VerificationFailed."""
    try:
        stated, moment = event.data["writer"]["key"], datetime.fromisoformat(event.at)
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"{what} does not say who wrote it, or when: {error!r}", where=what) from error
    signed_by = signers.check(envelope, what, stated=stated, role="gate", moment=moment, trust=trust)
    if signed_by is None:
        raise VerificationFailed(f"{what} does not name the key that signed it", where=what)
    return signed_by


def append(store: Store, ledger: Ledger, entries: list[tuple[str, dict[str, Any]]], key: Key) -> Ledger:
    """Put signed events at the end that `ledger` shows. Raises Blocked if someone else has put one there meanwhile."""
    seq = ledger.head.length if ledger.head else 0
    prev = ledger.head.digest if ledger.head else None
    if prev is None:
        entries = [(chain.CHAIN_OPENED, {"chain": ledger.name}), *entries]
    writer = {**writer_identity(), "key": key.public.line}
    lines = []
    for kind, data in entries:
        line = chain.encode(seq, prev, kind, {**data, "writer": writer})
        signed, name = encode(line, key), event_key(ledger.name, seq)
        if not store.put_new(name, signed) and store.read(name) != signed:
            raise Blocked(f"{ledger.name} was written to by someone else just now", hint="Try again: towpath resume")
        seq, prev = seq + 1, digest.of_bytes(line)
        lines.append(chain.decode(line, ledger.name))
    if seq // pages.EVENTS > (seq - len(lines)) // pages.EVENTS:
        with suppress(TowpathError):  # it is a hint, and what counts is written
            page(store, ledger.name, seq, key)
    return replay(ledger.name, lines, ledger)
