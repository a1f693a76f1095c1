"""Keys and trust files for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.signing import keys

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.signing.keys import Key, PublicKey


def new_key() -> Key:
    """A key that is in no file."""
    return keys.of_secret(Ed25519PrivateKey.generate())


def trust_line(key: PublicKey, role: str = "builder", options: str = 'namespaces="towpath"') -> str:
    return f"{role} {options} {key.line}\n"


def trust_file(path: Path, *enrolled: PublicKey) -> Path:
    """A file that enrols these keys as builders."""
    path.write_text("".join(trust_line(each) for each in enrolled))
    return path
