"""Real keys, of every type that ssh-keygen makes without a token, made once."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

TYPES = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Private keys by name; `locked` has the passphrase "secret", `weak` has RSA's 1024 bits."""
    folder = tmp_path_factory.mktemp("keys")
    wanted = {**TYPES, "locked": ["-t", "ed25519"], "weak": ["-t", "rsa", "-b", "1024"]}
    for name, options in wanted.items():
        secret = "secret" if name == "locked" else ""
        subprocess.run(["ssh-keygen", "-q", *options, "-N", secret, "-C", name, "-f", str(folder / name)], check=True)
    return {name: folder / name for name in wanted}
