"""Breaking the glass, afterwards: somebody else reviews what was let through, and the ledger says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import gating
from pipeline.errors import Blocked
from pipeline.gates import decide, rules
from pipeline.record import artifacts, ledger, ledgers

if TYPE_CHECKING:
    from pipeline.gates.decide import Glass
    from pipeline.record.ledger import Ledger
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


def found(store: Store, book: Ledger) -> list[tuple[str, Glass]]:
    """Give the reviews that the inbox has and the ledger has not, each with the statement that it is of. Nothing is written."""
    if not book.glass or not book.rules:
        return []
    in_force = rules.from_json(book.rules, book.name)
    counted: list[tuple[str, Glass]] = []
    for of, told in book.glass.items():
        excluded = decide.not_reviewers(in_force, told)
        for each in gating.received(store, told["run"], told["stage"]):
            one = decide.reviewed(
                each.document,
                in_force,
                run=told["run"],
                of=of,
                received_at=each.at,
                excluded=excluded,
                heads=ledger.heads(book.name, book.events[told["seq"] :]),
            )
            if isinstance(one, decide.Glass):
                counted.append((of, one))
                break
    return counted


def take_up(store: Store, name: str, key: Key, trust: Trust | None) -> Ledger:
    """Write into a ledger what the inbox has of reviews. Raises StoreError, VerificationFailed."""
    while True:
        book = ledgers.read(store, name, trust)
        entries = [(ledger.GLASS_REVIEWED, _told(store, book.glass[of], of, each)) for of, each in found(store, book)]
        if not entries:
            return book
        try:
            return ledgers.append(store, book, entries, key)
        except Blocked:
            continue


def _told(store: Store, glass: dict[str, Any], of: str, review: Glass) -> dict[str, Any]:
    return {
        "run": glass["run"],
        "stage": glass["stage"],
        "of": of,
        "statement": review.digest,
        "document": artifacts.put_blob(store, review.document),
        "person": review.person,
        "key": review.key,
        "received_at": review.received_at.isoformat(),
        "reason": review.reason,
    }
