"""Ed25519 keys in OpenSSH's files, known by the fingerprint that `ssh-keygen -l` prints."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TYPE = "ssh-ed25519"
_SIZE_LIMIT_BYTES = 65_536
_MAKE = "Make one of its own: ssh-keygen -t ed25519 -N '' -f {}"


@dataclass(frozen=True)
class PublicKey:
    """The public half: 32 bytes (RFC 8032)."""

    raw: bytes

    @property
    def line(self) -> str:
        """`ssh-ed25519 AAAA…`, as in `.pub` files and allowed_signers."""
        return f"{TYPE} {base64.b64encode(_blob(self.raw)).decode()}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(_blob(self.raw)).digest()).decode().rstrip("=")

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether the signature is this key's, over just these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Key:
    """A key that can sign. Its secret is never printed. `path` is the file it is in."""

    public: PublicKey
    _secret: Ed25519PrivateKey = field(repr=False)
    path: Path | None = None

    def sign(self, data: bytes) -> bytes:
        """Give the raw signature, 64 bytes."""
        return self._secret.sign(data)


def default_path(variables: Mapping[str, str]) -> Path:
    """Give where the runner's key is if none is named: `$XDG_CONFIG_HOME/towpath/runner.key`. Raises UsageError."""
    config = variables.get("XDG_CONFIG_HOME", "")
    if config.startswith("/"):  # the XDG specification: anything else is to be ignored
        return Path(config) / "towpath" / "runner.key"
    try:
        return Path.home() / ".config" / "towpath" / "runner.key"
    except RuntimeError as error:
        raise UsageError("this user has no home folder to keep a key in", hint="Name one with --key FILE.") from error


def find(path: str | None, variables: Mapping[str, str], say: Callable[[str], None]) -> Key:
    """Load the key that was named, or the user's own, which is made if there is none yet. Raises UsageError."""
    if path:
        return load(Path(path))
    own = default_path(variables)
    if not own.exists() and make(own):
        say(f"made a key that seals what this user's runs leave: {own} ({load(own).public.fingerprint})")
    return load(own)


def load(path: Path) -> Key:
    """Load a private key. Raises UsageError for one that others may read, has a passphrase, or is no ed25519 key."""
    data = _read(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    make_one = _MAKE.format("runner.key")
    try:
        secret = load_ssh_private_key(data, password=None)
    except TypeError as error:
        hint = f"A runner cannot be asked for a passphrase. {make_one}"
        raise UsageError("the key is protected with a passphrase", where=str(path), hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        is_public = data.startswith((b"ssh-", b"ecdsa-", b"sk-"))
        what = "this is a public key, not a private one" if is_public else "this is no private key of OpenSSH's format"
        hint = f"Name the file without .pub: {path.with_suffix('')}" if is_public else make_one
        raise UsageError(what, where=str(path), hint=hint) from error
    if not isinstance(secret, Ed25519PrivateKey):
        name = type(secret).__name__.removesuffix("PrivateKey").removeprefix("_")
        raise UsageError(f"the key is of type {name}, and only ed25519 is taken", where=str(path), hint=make_one)
    return replace(of_secret(secret), path=path)


def make(path: Path) -> bool:
    """Make a key file that only its owner may read; False if one is there already. Raises UsageError."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fsync(descriptor)
        os.link(aside, path)  # never half a key, and of two that make one at the same time both use the first
    except FileExistsError:
        return False
    except OSError as error:
        hint = "Name a key with --key FILE, or TOWPATH_KEY."
        raise UsageError(f"cannot make a key: {error.strerror}", where=str(path), hint=hint) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return True


def of_secret(secret: Ed25519PrivateKey) -> Key:
    """Give the key of a secret."""
    return Key(PublicKey(secret.public_key().public_bytes_raw()), secret)


def public(blob: bytes) -> PublicKey:
    """Read a public key in SSH's wire format (RFC 8709, section 4). Raises ValueError."""
    raw = blob[-32:]
    if blob != _blob(raw):
        raise ValueError("not an ed25519 key")
    return PublicKey(raw)


def parse_line(text: object) -> PublicKey:
    """Read what `PublicKey.line` gives. Raises ValueError."""
    kind, _, encoded = str(text).partition(" ")
    if kind != TYPE:
        raise ValueError("not an ed25519 key")
    return public(base64.b64decode(encoded, validate=True))


def _blob(raw: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (TYPE.encode(), raw))


def _read(path: Path) -> bytes:
    """Read a key file, if nobody but its owner can. As ssh does, files of other owners are taken as they are."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            data = file.read(_SIZE_LIMIT_BYTES)
    except OSError as error:
        hint = _MAKE.format(path) if isinstance(error, FileNotFoundError) else None
        raise UsageError(f"cannot read the key: {error.strerror}", where=str(path), hint=hint) from error
    if stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid() and about.st_mode & 0o077:
        mode = stat.S_IMODE(about.st_mode)
        raise UsageError(f"others may read this key (mode {mode:04o})", where=str(path), hint=f"chmod 600 {path}")
    return data
