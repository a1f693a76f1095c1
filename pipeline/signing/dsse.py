"""Dead Simple Signing Envelopes, version 1.0 of https://github.com/secure-systems-lab/dsse.

    {"payload":"<base64>","payloadType":"…","signatures":[{"keyid":"SHA256:…","sig":"<base64>"}]}

The signature is ed25519 over `pae(payloadType, payload)`, so that a payload of one type can never pass as one of another.
Reading is strict: base64 in its one form, no key unknown, at least one signature and none twice. That an envelope is stored in
canonical JSON is the business of who stores it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed

if TYPE_CHECKING:
    from pipeline.signing.keys import Key, PublicKey

IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """What was signed, and the signatures by key id. Not verified yet."""

    type: str
    payload: bytes
    signatures: dict[str, bytes]

    def signed_by(self, key: PublicKey) -> bool:
        """Tell whether this key signed it."""
        signature = self.signatures.get(key.fingerprint)
        return signature is not None and key.verifies(signature, pae(self.type, self.payload))

    def as_json(self) -> dict[str, Any]:
        """Give the JSON form."""
        signatures = [{"keyid": keyid, "sig": _encode(sig)} for keyid, sig in self.signatures.items()]
        return {"payloadType": self.type, "payload": _encode(self.payload), "signatures": signatures}


def pae(payload_type: str, payload: bytes) -> bytes:
    """Give the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: Key) -> Envelope:
    """Sign."""
    return Envelope(payload_type, payload, {key.public.fingerprint: key.sign(pae(payload_type, payload))})


def parse(data: bytes, what: str) -> Envelope:
    """Read an envelope. Raises VerificationFailed: what is not of the form is bad evidence."""
    try:
        value = json.loads(data)
        listed = value["signatures"]
        signatures = {_text(each["keyid"]): _decode(each["sig"]) for each in listed}
        envelope = Envelope(_text(value["payloadType"]), _decode(value["payload"]), signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationFailed(f"{what} is not a DSSE envelope: {error!r}", where=what) from error
    if set(value) != {"payloadType", "payload", "signatures"} or not listed or len(signatures) != len(listed):
        raise VerificationFailed(f"{what} is not a DSSE envelope: it has other keys, or no signature", where=what)
    return envelope


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isascii():
        raise ValueError("not ASCII")
    return value


def _decode(text: Any) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if _encode(data) != text:
        raise ValueError("not base64 in its one form")
    return data
