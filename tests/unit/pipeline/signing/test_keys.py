from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from support.signing import new_key

from pipeline.errors import UsageError
from pipeline.signing import keys

if TYPE_CHECKING:
    from pathlib import Path


def ssh_keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True, stdin=subprocess.DEVNULL)
    return path


def printed_by_ssh(path: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", path], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def test_a_key_of_ssh_keygen_is_known_by_the_same_fingerprint(tmp_path: Path) -> None:
    path = ssh_keygen(tmp_path / "key")
    key = keys.load(path)
    assert key.public.fingerprint == printed_by_ssh(path)
    assert key.public.line == " ".join((tmp_path / "key.pub").read_text().split()[:2])
    assert keys.parse_line(key.public.line) == key.public


def test_a_key_that_we_made_is_one_for_ssh(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    assert keys.make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert printed_by_ssh(path) == keys.load(path).public.fingerprint
    before = path.read_bytes()
    assert not keys.make(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_two_that_make_a_key_at_the_same_time_use_the_same(tmp_path: Path) -> None:
    found: list[keys.Key] = []
    variables = {"XDG_CONFIG_HOME": str(tmp_path)}
    threads = [
        threading.Thread(target=lambda: found.append(keys.find(None, variables, lambda _: None))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({key.public for key in found}) == 1


def test_a_key_that_was_made_is_told_of_once(tmp_path: Path) -> None:
    said: list[str] = []
    key = keys.find(None, {"XDG_CONFIG_HOME": str(tmp_path)}, said.append)
    assert keys.find(None, {"XDG_CONFIG_HOME": str(tmp_path)}, said.append).public == key.public
    assert len(said) == 1
    assert str(tmp_path / "towpath" / "runner.key") in said[0]
    assert key.public.fingerprint in said[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o611])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = ssh_keygen(tmp_path / "key")
    path.chmod(mode)
    with pytest.raises(UsageError, match="others may read") as caught:
        keys.load(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="passphrase") as caught:
        keys.load(ssh_keygen(tmp_path / "key", passphrase="secret phrase"))
    assert "ssh-keygen -t ed25519 -N ''" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_keys_of_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="only ed25519"):
        keys.load(ssh_keygen(tmp_path / "key", kind))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no private key of OpenSSH's format"):
        keys.load(path)


def test_the_public_half_is_not_enough(tmp_path: Path) -> None:
    ssh_keygen(tmp_path / "key")
    public = tmp_path / "key.pub"
    public.chmod(0o600)
    with pytest.raises(UsageError, match="public key") as caught:
        keys.load(public)
    assert str(tmp_path / "key") in (caught.value.hint or "")


def test_a_missing_key_that_was_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        keys.find(str(tmp_path / "key"), {}, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_not_shown() -> None:
    key = new_key()
    assert "secret" not in repr(key)
    assert key.public.verifies(key.sign(b"x"), b"x")
    assert not key.public.verifies(key.sign(b"x"), b"y")
    assert not key.public.verifies(b"short", b"x")
