"""Envelopes as the store keeps them: in canonical JSON, so that one thing that was signed has one form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import VerificationFailed
from pipeline.record import digest
from pipeline.signing import dsse

if TYPE_CHECKING:
    from pipeline.signing.dsse import Envelope
    from pipeline.signing.keys import Key


def encode(payload_type: str, payload: bytes, key: Key) -> bytes:
    """Sign a payload, and give the bytes of its envelope."""
    return digest.canonical(dsse.sign(payload_type, payload, key).as_json())


def decode(data: bytes, payload_type: str, what: str) -> Envelope:
    """Read an envelope of a type; the signature is not verified. Raises VerificationFailed."""
    envelope = dsse.parse(data, what)
    if digest.canonical(envelope.as_json()) != data:
        raise VerificationFailed(f"{what} is not in canonical JSON", where=what)
    if envelope.type != payload_type:
        raise VerificationFailed(f"{what} is of the type {envelope.type!r}, not {payload_type!r}", where=what)
    return envelope
