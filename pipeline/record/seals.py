"""Seals: a signature over where a chain ends. Format version 1 (docs/adr/0010).

A seal is a DSSE envelope of `TYPE` in canonical JSON, stored as `<chain>/seal.json` by the chain's own writer right after it
closed the chain. Its payload is canonical JSON too: {"chain":NAME,"head":"sha256:…","length":N,"v":1}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed
from pipeline.record import artifacts, digest, envelopes
from pipeline.record.chain import Head
from pipeline.signing import dsse

if TYPE_CHECKING:
    from pipeline.record.store import Store
    from pipeline.signing.dsse import Envelope
    from pipeline.signing.keys import Key

VERSION = 1
TYPE = "application/vnd.towpath.seal.v1+json"
NAME = "seal.json"


def put(store: Store, head: Head, key: Key) -> None:
    """Seal a chain that ends here. Raises VerificationFailed if it was sealed otherwise."""
    data = encode(head, key)
    if not store.put_new(seal_key(head.chain), data) and store.read(seal_key(head.chain)) != data:
        raise VerificationFailed(f"{seal_key(head.chain)}: someone else sealed a chain that is ours")


def seal_key(chain: str) -> str:
    """Give the key under which a chain's seal is kept."""
    return f"{chain}/{NAME}"


def encode(head: Head, key: Key) -> bytes:
    """Give the bytes of a seal."""
    payload = digest.canonical({"v": VERSION, **head.as_json()})
    return envelopes.encode(TYPE, payload, key)


def decode(data: bytes, chain: str) -> tuple[Envelope, Head]:
    """Read the seal of a chain; the signature is not verified. Raises VerificationFailed if it is not one of this chain."""
    what = seal_key(chain)
    envelope = envelopes.decode(data, TYPE, what)
    try:
        value = digest.parse(envelope.payload)
        head = Head(value["chain"], value["head"], value["length"])
        form = digest.canonical({"v": VERSION, **head.as_json()})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(f"{what} does not seal a chain: {error!r}", where=what) from error
    if type(head.length) is not int or form != envelope.payload:
        raise VerificationFailed(f"{what} has other keys than a seal of version {VERSION}", where=what)
    if head.chain != chain:
        raise VerificationFailed(f"{what} is the seal of another chain, {head.chain}", where=what)
    return envelope, head


def put_statement(store: Store, statement: dict[str, Any], key: Key) -> str:
    """Wrap an in-toto statement, sign it, store it, and give the envelope's digest."""
    return artifacts.put_json(store, dsse.sign(dsse.IN_TOTO, digest.canonical(statement), key).as_json())
