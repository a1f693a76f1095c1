"""SSH signatures over data: OpenSSH's PROTOCOL.sshsig, made by `ssh-keygen -Y sign`, verified in this process.

    -----BEGIN SSH SIGNATURE-----
    base64 of: "SSHSIG", version 1, public key, namespace, reserved, hash algorithm, signature
    -----END SSH SIGNATURE-----

The signature is over "SSHSIG", namespace, reserved, hash algorithm and the data's hash, so that one made for another
purpose (a Git commit, a login) never passes. `verify` says whose key it was; whether that key counts is for the caller:
there is no such thing here as a signature that is "good" without a name.

Signing is left to `ssh-keygen`, because it knows agents, hardware keys and passphrases. Verifying is not: slim images lack
it, and its `check-novalidate` and `find-principals` accept what they must not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError, VerificationFailed
from pipeline.gates import sshkeys
from pipeline.gates.sshkeys import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"SSHSIG"
_VERSION = 1
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_PRIVATE_BEGIN, _PRIVATE_END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_PRIVATE_MAGIC = b"openssh-key-v1\0"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_ARMORED_CHARACTERS = 65_536
"""Eight times the signature of the largest RSA key, with that key."""


def verify(data: bytes, armored: str, namespace: str) -> str:
    """Give the public key, as `type base64`, whose signature over `data` in `namespace` this is.

    Raises VerificationFailed if it is none, or not of the form that ssh-keygen writes.
    """
    try:
        return _verify(data, armored, namespace)
    except Malformed as error:
        raise VerificationFailed(f"the SSH signature does not hold: {error}") from error


def _verify(data: bytes, armored: str, namespace: str) -> str:
    reader = Reader(_unarmored(armored))
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise Malformed("it does not begin with SSHSIG")
    version = reader.uint32()
    if version != _VERSION:
        raise Malformed(f"it is of version {version}, not {_VERSION}")
    blob, found, reserved = reader.string(), reader.string(), reader.string()
    algorithm, signature = reader.text(), reader.string()
    reader.end()
    if found != namespace.encode():
        raise Malformed(f"it was made for {found[:60].decode('ascii', 'replace')!r}, not for {namespace!r}")
    if reserved:  # nothing is defined for it yet; what may be there some day must not be overlooked
        raise Malformed("its reserved part is not empty")
    if algorithm not in _HASHES:
        raise Malformed(f"the hash {algorithm[:60]!r} is not taken, only {' or '.join(_HASHES)}")
    _, check = sshkeys.parse(blob)
    inner = Reader(signature)
    check(inner.text(), inner, signed(data, namespace, algorithm))
    return sshkeys.line_of(blob)


def signed(data: bytes, namespace: str, algorithm: str) -> bytes:
    """Give the bytes that a key signs."""
    parts = (namespace.encode(), b"", algorithm.encode(), _HASHES[algorithm](data).digest())
    return _MAGIC + b"".join(map(sshkeys.string, parts))


def _unarmored(armored: str) -> bytes:
    if len(armored) > _ARMORED_CHARACTERS:
        raise Malformed(f"it is longer than {_ARMORED_CHARACTERS:,} characters")
    lines = armored.removesuffix("\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise Malformed(f"it does not begin with {_BEGIN} and end with {_END}")
    return sshkeys.from_base64("".join(lines[1:-1]))


# Signing


def sign(data: bytes, namespace: str, key: Path | None, known: frozenset[str] = frozenset()) -> str:
    """Sign with `ssh-keygen -Y sign`, with the key that `chosen` gives. Gives the armoured signature. Raises UsageError.

    Passphrases and touches are asked for by ssh-keygen, at the terminal.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UsageError("cannot sign: there is no ssh-keygen", hint="Install OpenSSH's client: openssh-client.")
    with chosen(key, known) as (path, _):
        armored = _ssh_keygen(program, path, data, namespace)
        try:
            verify(data, armored, namespace)  # never hand on what nobody will accept
        except VerificationFailed as error:
            hint = "Make a key that counts: ssh-keygen -t ed25519"
            raise UsageError(
                f"what this key signs is not taken: {error.message}", where=str(path), hint=hint
            ) from error
    return armored


@contextmanager
def chosen(key: Path | None, known: frozenset[str] = frozenset()) -> Iterator[tuple[Path, str]]:
    """Give the key to sign with, as a file that lasts as long as the context, and its public half as `type base64`.

    `key` is a private key, or a public one whose private half is in the SSH agent or on a hardware key. Without it, it is the
    first of the `known` public keys that the agent has, or that lies in ~/.ssh. Raises UsageError.
    """
    if key is not None:
        yield key, _public_half(key)
        return
    with tempfile.TemporaryDirectory(prefix="towpath-") as folder:
        yield _own_key(known, Path(folder))


def _public_half(path: Path) -> str:
    """Read the public half of a key, without asking for its passphrase: OpenSSH's private keys have it in the open."""
    if not path.is_file():
        hint = "Name a private key, such as ~/.ssh/id_ed25519. To make one: ssh-keygen -t ed25519"
        raise UsageError("cannot sign: there is no such key", where=str(path), hint=hint)
    text = _text(path)
    try:
        if text.startswith(_PRIVATE_BEGIN):
            return _in_the_open(text)
        return sshkeys.normal(_text(Path(f"{path}.pub")) if text.startswith("-----BEGIN") else text.partition("\n")[0])
    except Malformed as error:
        hint = "To make a key that counts: ssh-keygen -t ed25519"
        raise UsageError(f"cannot sign: this is no key that is taken: {error}", where=str(path), hint=hint) from error


def _in_the_open(text: str) -> str:
    """Read the public half from a private key (OpenSSH's PROTOCOL.key). Raises Malformed."""
    body = "".join(text.replace("\r", "").partition(_PRIVATE_END)[0].split("\n")[1:])
    reader = Reader(sshkeys.from_base64(body))
    if reader.take(len(_PRIVATE_MAGIC)) != _PRIVATE_MAGIC:
        raise Malformed("it is not of OpenSSH's format")
    for _cipher_kdf_and_its_options in range(3):
        reader.string()
    if reader.uint32() != 1:
        raise Malformed("it holds several keys")
    return sshkeys.line_of(reader.string())


def _ssh_keygen(program: str, path: Path, data: bytes, namespace: str) -> str:
    argv = [program, "-q", "-Y", "sign", "-n", namespace, "-f", str(path)]
    # At a terminal its own words go there: "Confirm user presence" must be read before the key is touched.
    shown = None if sys.stderr.isatty() else subprocess.PIPE
    variables = {**os.environ, "LC_ALL": "C"}
    ended = subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=shown, env=variables, check=False)
    if ended.returncode == 0:
        return ended.stdout.decode("ascii", "replace")
    said = (ended.stderr or b"").decode("utf-8", "replace").strip()
    raise UsageError(
        f"ssh-keygen did not sign{f': {_last_line(said)}' if said else ''}", where=str(path), hint=_hint(said, path)
    )


def _last_line(text: str) -> str:
    return text.splitlines()[-1].strip()


def _hint(said: str, path: Path) -> str:
    if "passphrase" in said:
        return f"There is no terminal to ask for the passphrase. Put the key into the agent first: ssh-add {path}"
    if "bad permissions" in said or "too open" in said:
        return f"Others may read the key: chmod 600 {path}"
    if "No private key found" in said:
        return f"Put its private half into the agent, or name it: {path.with_suffix('') if path.suffix == '.pub' else path}"
    return "Is it a private key of OpenSSH's format? To make one: ssh-keygen -t ed25519"


def _own_key(known: frozenset[str], folder: Path) -> tuple[Path, str]:
    """Find a key that counts: in the agent, so that no passphrase is asked for again, or else among the user's files.

    One in the agent is named by its public half, which is written into `folder`.
    """
    for line in map(_normal, _agent_keys()):
        if line in known:
            path = folder / "key.pub"
            path.write_text(f"{line}\n", encoding="utf-8")
            return path, line
    for public in sorted((Path.home() / ".ssh").glob("*.pub")):
        line = _normal(_text(public).partition("\n")[0])
        if line in known and public.with_suffix("").is_file():
            return public.with_suffix(""), line
    hint = "Name the key to sign with: --sign-with ~/.ssh/id_ed25519, or put it into the agent: ssh-add"
    raise UsageError("cannot sign: neither the SSH agent nor ~/.ssh has a key that counts here", hint=hint)


def _agent_keys() -> list[str]:
    program = shutil.which("ssh-add")
    if program is None or not os.environ.get("SSH_AUTH_SOCK"):
        return []
    asked = subprocess.run([program, "-L"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return asked.stdout.decode("utf-8", "replace").splitlines() if asked.returncode == 0 else []


def _normal(line: str) -> str:
    try:
        return sshkeys.normal(line)
    except Malformed:
        return ""


def _text(path: Path) -> str:
    """The text of a file, empty if it cannot be read."""
    try:
        return path.read_bytes()[:_ARMORED_CHARACTERS].decode("utf-8", "replace")
    except OSError:
        return ""
