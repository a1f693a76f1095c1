from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.signing import new_key

from pipeline.errors import VerificationFailed
from pipeline.record import digest
from pipeline.signing import dsse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = new_key()


def test_the_encoding_is_that_of_the_specification() -> None:
    """The example of protocol.md in secure-systems-lab/dsse."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_openssl_agrees(tmp_path: Path) -> None:
    envelope = dsse.sign(dsse.IN_TOTO, b"{}", KEY)
    pem = Ed25519PublicKey.from_public_bytes(KEY.public.raw).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key").write_bytes(pem)
    (tmp_path / "data").write_bytes(dsse.pae(dsse.IN_TOTO, b"{}"))
    (tmp_path / "sig").write_bytes(envelope.signatures[KEY.public.fingerprint])
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "data", "-sigfile", "sig"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)


def test_what_was_signed_reads_back() -> None:
    envelope = dsse.sign(dsse.IN_TOTO, b'{"a":1}', KEY)
    again = dsse.parse(digest.canonical(envelope.as_json()), "x")
    assert again == envelope
    assert again.signed_by(KEY.public)
    assert not again.signed_by(new_key().public)


def test_a_payload_is_bound_to_its_type() -> None:
    envelope = dsse.sign("a", b"{}", KEY)
    assert not dsse.Envelope("b", envelope.payload, envelope.signatures).signed_by(KEY.public)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = dsse.sign(dsse.IN_TOTO, b"{}", KEY).as_json()
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        changed(lambda value: value.pop("payload")),
        changed(lambda value: value.update(extra=1)),
        changed(lambda value: value.update(signatures=[])),
        changed(lambda value: value.update(signatures={})),
        changed(lambda value: value.update(signatures=value["signatures"] * 2)),
        changed(lambda value: value.update(payload="e30")),
        changed(lambda value: value.update(payload="e31=")),
        changed(lambda value: value.update(payload="e30=\n")),
        changed(lambda value: value.update(payload=7)),
    ],
)
def test_what_is_no_envelope_is_bad_evidence(data: bytes) -> None:
    with pytest.raises(VerificationFailed, match="is not a DSSE envelope"):
        dsse.parse(data, "x")


def test_base64_has_one_form() -> None:
    """The last character of a signature has four bits that decode to nothing."""
    value = dsse.sign(dsse.IN_TOTO, b"{}", KEY).as_json()
    sig = value["signatures"][0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = sig[:-3] + alphabet[alphabet.index(sig[-3]) ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(sig)
    value["signatures"][0]["sig"] = other
    with pytest.raises(VerificationFailed, match="one form"):
        dsse.parse(json.dumps(value).encode(), "x")
