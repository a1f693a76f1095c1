"""Pages: a ledger's events, many in one object, with the key that signed each, on the word of a gate that verified them.

    pages/<partition>.<account>.<region>.<stack>/<number>.json     events number * EVENTS and the EVENTS - 1 after it

A DSSE envelope of `TYPE` in canonical JSON, put once all of its events are in the ledger. It spares who reads a long ledger a request and a
signature for each event. It is a hint: what it says of events is held against the ledger by their digests, which link each to
the one before, and the last to an object of the ledger; of their signatures it is believed only by who would believe its signer.
A page that is not there, or is not right, costs the reading of its events one by one (docs/adr/0016).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.errors import VerificationFailed
from pipeline.record import digest, envelopes
from pipeline.signing import signers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

TYPE = "application/vnd.towpath.ledger-page.v1+json"
VERSION = 1
EVENTS = 256
"""Of a page: some 250 kB in one request, and never more than that many events to be read one by one."""


def count(store: Store, ledger: str) -> int:
    """Give how many pages there are from the first on."""
    names = set(store.names(_prefix(ledger)))
    number = 0
    while f"{number:06d}.json" in names:
        number += 1
    return number


def put(store: Store, ledger: str, number: int, entries: Iterable[tuple[str, bytes]], key: Key) -> None:
    """Put a page of events, each with the fingerprint of the key whose signature of it was verified. Raises StoreError."""
    told = {
        "v": VERSION,
        "ledger": ledger,
        "number": number,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "writer": {"key": key.public.line},
        "events": [[signed_by, line.decode()] for signed_by, line in entries],
    }
    store.put_new(_key(ledger, number), envelopes.encode(TYPE, digest.canonical(told), key))


def entries(store: Store, ledger: str, trust: Trust | None) -> Iterator[tuple[str, bytes]]:
    """Give the events that pages hold, from the first on, each with the fingerprint of who signed it.

    Raises VerificationFailed where a page is not of its form, or not by a gate that counts.
    """
    numbers = range(count(store, ledger))
    for number, data in zip(numbers, store.read_each(_key(ledger, each) for each in numbers), strict=True):
        what = _key(ledger, number)
        envelope = envelopes.decode(data or b"", TYPE, what)
        try:
            told = digest.parse(envelope.payload)
            place = told["v"], told["ledger"], told["number"], len(told["events"])
            stated, moment = told["writer"]["key"], datetime.fromisoformat(told["at"])
            listed = [(str(signed_by), str(line).encode()) for signed_by, line in told["events"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise VerificationFailed(f"{what} is not a page of a ledger: {error!r}", where=what) from error
        by = signers.check(envelope, what, stated=stated, role="gate", moment=moment, trust=trust)
        if by is None or place != (VERSION, ledger, number, EVENTS):
            raise VerificationFailed(f"{what} is not this page of this ledger, or nobody's", where=what)
        yield from listed


def _prefix(ledger: str) -> str:
    return f"pages/{ledger.removeprefix('ledgers/')}"


def _key(ledger: str, number: int) -> str:
    return f"{_prefix(ledger)}/{number:06d}.json"
