"""People who sign approvals, without ssh-keygen: quick enough for thousands of signatures. Keys are the same in every run."""

from __future__ import annotations

import base64
import hashlib
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipeline.gates import sshkeys, sshsig, statements
from pipeline.gates.decide import Proposed
from pipeline.gates.rules import Rules

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TARGET = {
    "partition": "aws",
    "account": "333333333333",
    "region": "eu-central-1",
    "stack": "demo",
    "environment": "production",
}
SUBJECT = "sha256:" + "5" * 64
PROPOSAL = Proposed("20261123-120000-abcdef", "deploy", TARGET, SUBJECT)


@dataclass(frozen=True)
class SigningKey:
    """An ed25519 key made of a word."""

    word: str

    @property
    def secret(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.word.encode()).digest())

    @property
    def blob(self) -> bytes:
        return sshkeys.string(b"ssh-ed25519") + sshkeys.string(self.secret.public_key().public_bytes_raw())

    @property
    def line(self) -> str:
        return "ssh-ed25519 " + base64.b64encode(self.blob).decode()

    def sign(self, data: bytes, namespace: str = statements.NAMESPACE) -> str:
        raw = self.secret.sign(sshsig.signed(data, namespace, "sha512"))
        return armored(self.blob, sshkeys.string(b"ssh-ed25519") + sshkeys.string(raw), namespace)


def armored(blob: bytes, signature: bytes, namespace: str, *, reserved: bytes = b"", version: int = 1) -> str:
    """Put together what PROTOCOL.sshsig says."""
    parts = (blob, namespace.encode(), reserved, b"sha512", signature)
    data = b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(sshkeys.string, parts))
    lines = textwrap.wrap(base64.b64encode(data).decode(), 70)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def hardware_key(
    data: bytes, namespace: str, *, ecdsa: bool = False, flags: int = 1, application: str = "ssh:"
) -> tuple[str, str]:
    """Sign as a FIDO2 token does (PROTOCOL.u2f). Gives the public key and the armoured signature."""
    tail = bytes([flags]) + (7).to_bytes(4, "big")
    hashed = hashlib.sha256(sshsig.signed(data, namespace, "sha512")).digest()
    message = hashlib.sha256(application.encode()).digest() + tail + hashed
    if ecdsa:
        name, secret = sshkeys.SK_ECDSA.encode(), ec.derive_private_key(12345, ec.SECP256R1())
        point = secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        blob = sshkeys.string(name) + sshkeys.string(b"nistp256") + sshkeys.string(point)
        r, s = decode_dss_signature(secret.sign(hashlib.sha256(message).digest(), ec.ECDSA(Prehashed(SHA256()))))
        raw = mpint(r) + mpint(s)
    else:
        name, key = sshkeys.SK_ED25519.encode(), SigningKey("token")
        blob = sshkeys.string(name) + sshkeys.string(key.secret.public_key().public_bytes_raw())
        raw = key.secret.sign(message)
    blob += sshkeys.string(application.encode())
    signature = sshkeys.string(name) + sshkeys.string(raw) + tail
    return f"{name.decode()} {base64.b64encode(blob).decode()}", armored(blob, signature, namespace)


def mpint(number: int) -> bytes:
    """Write a positive number as RFC 4251 says."""
    return sshkeys.string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def rules(people: int = 1, **changed: Any) -> Rules:
    """Rules by which alice, bob and carol may approve. Each has two keys, `NAME` and `NAME-2`; dora and eve are known too."""
    names = ("alice", "bob", "carol", "dora", "eve")
    values: dict[str, Any] = {
        "people": people,
        "approvers": {each: (SigningKey(each).line, SigningKey(f"{each}-2").line) for each in names[:3]},
        "identities": {known: each for each in names for known in (each, f"{each}@example.com")},
        "expires_s": 86_400,
        "scan": "none",
    }
    return Rules(**{**values, **changed})


def one_covered(values: dict[str, Any]) -> dict[str, Any]:
    """What `statements.make` takes, of the stage, target and subject that one decision is about."""
    rest = {name: value for name, value in values.items() if name not in ("stage", "target", "subject")}
    covered = statements.Covered(values["stage"], values["target"], values["subject"])
    return {"covers": [covered], **rest}


def document(person: str, decision: str = "approve", *, key: str | None = None, **changed: Any) -> bytes:
    """Give what a person puts into the inbox, made a minute ago and good for a day."""
    values: dict[str, Any] = {
        "person": person,
        "reason": "seen on staging",
        "run": PROPOSAL.run,
        "stage": PROPOSAL.stage,
        "target": PROPOSAL.target,
        "subject": PROPOSAL.subject,
        "made_at": NOW - timedelta(minutes=1),
        "expires_at": NOW + timedelta(days=1),
        "nonce": "00" * 16,
    }
    statement = statements.make(decision, **one_covered(values | changed))  # type: ignore[arg-type] # a test may say what it likes
    return statements.seal_up(statement, SigningKey(key or person).sign(statement))
