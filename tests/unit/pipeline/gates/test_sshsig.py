from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.approvers import SigningKey, armored, hardware_key
from unit.pipeline.gates.conftest import TYPES

from pipeline.errors import UsageError, VerificationFailed
from pipeline.gates import sshkeys, sshsig
from pipeline.gates.statements import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"what is approved\n"
ALICE = SigningKey("alice")
SIGNED = ALICE.sign(DATA)


def ssh_keygen_sign(key: Path, namespace: str = NAMESPACE, options: tuple[str, ...] = ()) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", *options, "-n", namespace, "-f", str(key)]
    return subprocess.run(command, input=DATA, capture_output=True, check=True).stdout.decode()


def ssh_keygen_verifies(signature: str, line: str, folder: Path) -> bool:
    (folder / "signature").write_text(signature)
    (folder / "allowed").write_text(f'alice namespaces="{NAMESPACE}" {line}\n')
    command = ["ssh-keygen", "-Y", "verify", "-I", "alice", "-n", NAMESPACE, "-f", "allowed", "-s", "signature"]
    return subprocess.run(command, input=DATA, cwd=folder, capture_output=True, check=False).returncode == 0


# With OpenSSH itself


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_what_ssh_keygen_signs_is_verified(keys: dict[str, Path], kind: str, hashed: str) -> None:
    signature = ssh_keygen_sign(keys[kind], options=("-O", f"hashalg={hashed}"))
    public = keys[kind].with_suffix(".pub").read_text()
    assert sshsig.verify(DATA, signature, NAMESPACE) == sshkeys.normal(public)


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_signed_here_ssh_keygen_verifies(keys: dict[str, Path], kind: str, tmp_path: Path) -> None:
    signature = sshsig.sign(DATA, NAMESPACE, keys[kind])
    assert ssh_keygen_verifies(signature, keys[kind].with_suffix(".pub").read_text(), tmp_path)


def test_the_fingerprint_is_that_of_ssh_keygen(keys: dict[str, Path]) -> None:
    printed = subprocess.run(["ssh-keygen", "-lf", str(keys["rsa"])], capture_output=True, check=True, text=True).stdout
    assert sshkeys.fingerprint(sshkeys.normal(keys["rsa"].with_suffix(".pub").read_text())) == printed.split()[1]


def test_the_signatures_of_other_tests_are_such_as_ssh_keygen_verifies(tmp_path: Path) -> None:
    assert ssh_keygen_verifies(SIGNED, ALICE.line, tmp_path)
    assert not ssh_keygen_verifies(SIGNED, SigningKey("bob").line, tmp_path)


@pytest.mark.parametrize("ecdsa", [False, True])
def test_hardware_keys_as_ssh_keygen_verifies_them(tmp_path: Path, *, ecdsa: bool) -> None:
    line, signature = hardware_key(DATA, NAMESPACE, ecdsa=ecdsa)
    assert ssh_keygen_verifies(signature, line, tmp_path)
    assert sshsig.verify(DATA, signature, NAMESPACE) == line


# What does not hold


def test_other_data_and_another_purpose() -> None:
    assert sshsig.verify(DATA, SIGNED, NAMESPACE) == ALICE.line
    with pytest.raises(VerificationFailed, match="not this key's"):
        sshsig.verify(DATA + b" ", SIGNED, NAMESPACE)
    with pytest.raises(VerificationFailed, match="made for 'git', not for 'towpath-approval'"):
        sshsig.verify(DATA, ALICE.sign(DATA, "git"), NAMESPACE)


@pytest.mark.parametrize("ecdsa", [False, True])
def test_a_hardware_key_that_nobody_touched(*, ecdsa: bool) -> None:
    """`no-touch-required` keys sign whatever malware on the approver's machine asks them to."""
    for flags in (0, 4):
        _, signature = hardware_key(DATA, NAMESPACE, ecdsa=ecdsa, flags=flags)
        with pytest.raises(VerificationFailed, match="not touched"):
            sshsig.verify(DATA, signature, NAMESPACE)


def test_a_hardware_key_of_a_web_site() -> None:
    _, signature = hardware_key(DATA, NAMESPACE, application="https://example.com")
    with pytest.raises(VerificationFailed, match="not for ssh"):
        sshsig.verify(DATA, signature, NAMESPACE)


def test_rsa_that_is_weak_or_signs_with_sha_1(keys: dict[str, Path]) -> None:
    with pytest.raises(VerificationFailed, match="1024 bits"):
        sshsig.verify(DATA, ssh_keygen_sign(keys["weak"]), NAMESPACE)
    public = sshkeys.normal(keys["rsa"].with_suffix(".pub").read_text())
    blob = sshkeys.from_base64(public.split()[1])
    old = armored(blob, sshkeys.string(b"ssh-rsa") + sshkeys.string(b"1" * 256), NAMESPACE)
    with pytest.raises(VerificationFailed, match="'ssh-rsa' is not taken"):
        sshsig.verify(DATA, old, NAMESPACE)


def test_an_rsa_signature_is_as_long_as_its_key(keys: dict[str, Path]) -> None:
    blob = sshkeys.from_base64(public(keys["rsa"]).split()[1])
    signature = ssh_keygen_sign(keys["rsa"])
    whole = sshkeys.from_base64("".join(signature.splitlines()[1:-1]))
    raw = whole[-256:]
    for other in (raw, b"\0" + raw, raw[1:], raw + b"\0", b""):
        again = armored(blob, sshkeys.string(b"rsa-sha2-512") + sshkeys.string(other), NAMESPACE)
        if other is raw:
            assert sshsig.verify(DATA, again, NAMESPACE) == public(keys["rsa"])
        else:
            with pytest.raises(VerificationFailed):
                sshsig.verify(DATA, again, NAMESPACE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"version": 2}, "version 2"), ({"reserved": b"x"}, "reserved part is not empty")],
)
def test_what_a_later_version_of_the_format_may_say(changes: dict[str, int | bytes], said: str) -> None:
    raw = sshkeys.string(b"ssh-ed25519") + sshkeys.string(b"1" * 64)
    with pytest.raises(VerificationFailed, match=said):
        sshsig.verify(DATA, armored(ALICE.blob, raw, NAMESPACE, **changes), NAMESPACE)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def signatures(keys: dict[str, Path]) -> list[str]:
    made = [ssh_keygen_sign(keys[kind]) for kind in TYPES]
    return [*made, *(hardware_key(DATA, NAMESPACE, ecdsa=ecdsa)[1] for ecdsa in (False, True))]


@settings(max_examples=600)
@given(st.data())
def test_no_byte_of_a_signature_can_change(signatures: list[str], data: st.DataObject) -> None:
    signature = data.draw(st.sampled_from(signatures)).encode()
    at = data.draw(st.integers(0, len(signature) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != signature[at]))
    changed = (signature[:at] + bytes([other]) + signature[at + 1 :]).decode("latin-1")
    with pytest.raises(VerificationFailed):
        sshsig.verify(DATA, changed, NAMESPACE)


@settings(max_examples=400)
@given(st.data())
def test_no_bit_within_the_base64_can_change(signatures: list[str], data: st.DataObject) -> None:
    """The armour hides the blob's own fields from a change of characters: lengths, flags, counters."""
    lines = data.draw(st.sampled_from(signatures)).splitlines()
    blob = sshkeys.from_base64("".join(lines[1:-1]))
    at, bit = data.draw(st.integers(0, len(blob) - 1)), data.draw(st.integers(0, 7))
    changed = blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]
    with pytest.raises(VerificationFailed):
        sshsig.verify(DATA, _again(changed), NAMESPACE)


def _again(blob: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(blob).decode()}\n-----END SSH SIGNATURE-----\n"


@given(st.one_of(st.text(max_size=300), st.binary(max_size=200).map(lambda data: _again(b"SSHSIG\0\0\0\1" + data))))
def test_anything_else_is_a_verification_error_and_no_other(text: str) -> None:
    with pytest.raises(VerificationFailed):
        sshsig.verify(DATA, text, NAMESPACE)


def test_an_endless_signature_is_not_read() -> None:
    with pytest.raises(VerificationFailed, match="longer than"):
        sshsig.verify(DATA, _again(b"x" * 100_000), NAMESPACE)


# Signing


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Path]) -> Iterator[None]:
    """An SSH agent that holds the keys `rsa` and `ed25519`."""
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "agent")], stdout=subprocess.DEVNULL) as process:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        added = ["ssh-add", "-q", str(keys["rsa"]), str(keys["ed25519"])]
        while subprocess.run(added, check=False, capture_output=True).returncode == 2 and process.poll() is None:
            pass
        yield
        process.terminate()


def public(key: Path) -> str:
    return sshkeys.normal(key.with_suffix(".pub").read_text())


def test_the_agent_signs_with_the_key_that_counts(agent: None, keys: dict[str, Path]) -> None:
    line = public(keys["ed25519"])
    assert sshsig.verify(DATA, sshsig.sign(DATA, NAMESPACE, None, frozenset({line})), NAMESPACE) == line


def test_a_public_key_names_one_in_the_agent(agent: None, home: Path, keys: dict[str, Path]) -> None:
    shutil.copy(keys["rsa"].with_suffix(".pub"), home / "mine.pub")
    signature = sshsig.sign(DATA, NAMESPACE, home / "mine.pub")
    assert sshsig.verify(DATA, signature, NAMESPACE) == public(keys["rsa"])


def test_without_an_agent_the_user_s_key_that_counts_is_taken(home: Path, keys: dict[str, Path]) -> None:
    for name in ("ecdsa-256", "ed25519"):
        shutil.copy(keys[name], home / ".ssh" / name)
        shutil.copy(keys[name].with_suffix(".pub"), home / ".ssh" / f"{name}.pub")
    line = public(keys["ed25519"])
    assert sshsig.verify(DATA, sshsig.sign(DATA, NAMESPACE, None, frozenset({line})), NAMESPACE) == line


def test_no_key_of_the_user_s_counts(home: Path) -> None:
    with pytest.raises(UsageError, match="neither the SSH agent nor") as caught:
        sshsig.sign(DATA, NAMESPACE, None, frozenset({ALICE.line}))
    assert "--sign-with" in str(caught.value.hint)


def test_no_such_key(home: Path) -> None:
    with pytest.raises(UsageError, match="there is no such key") as caught:
        sshsig.sign(DATA, NAMESPACE, home / "id_ed25519")
    assert caught.value.where == str(home / "id_ed25519")


def test_what_is_no_key(home: Path) -> None:
    (home / "key").write_text("not a key\n")
    with pytest.raises(UsageError, match="no key that is taken"):
        sshsig.sign(DATA, NAMESPACE, home / "key")


@pytest.mark.parametrize("name", ["ed25519", "rsa", "locked"])
def test_whose_key_it_is_can_be_told_before_it_signs(keys: dict[str, Path], home: Path, name: str) -> None:
    """The statement names the person, so it must be known; for a locked key, before the passphrase is asked for."""
    shutil.copy(keys[name], home / "key")
    with sshsig.chosen(home / "key") as (path, line):
        assert (path, line) == (home / "key", public(keys[name]))


def test_an_old_private_key_needs_its_public_half_beside_it(home: Path, keys: dict[str, Path]) -> None:
    old = home / "id_rsa"
    shutil.copy(keys["rsa"], old)
    subprocess.run(["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", str(old)], check=True, capture_output=True)
    with pytest.raises(UsageError, match="no key that is taken"):
        sshsig.sign(DATA, NAMESPACE, old)
    shutil.copy(keys["rsa"].with_suffix(".pub"), home / "id_rsa.pub")
    assert sshsig.verify(DATA, sshsig.sign(DATA, NAMESPACE, old), NAMESPACE) == public(keys["rsa"])
    shutil.copy(keys["ed25519"].with_suffix(".pub"), home / "id_rsa.pub")
    with pytest.raises(UsageError, match="did not sign: Public key"):
        sshsig.sign(DATA, NAMESPACE, old)


@given(st.binary(max_size=120))
def test_any_private_key_file_is_a_key_or_refused(data: bytes) -> None:
    text = (
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{base64.b64encode(data).decode()}\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    with pytest.raises(sshkeys.Malformed):
        sshsig._in_the_open(text)


def test_a_key_that_others_may_read(home: Path, keys: dict[str, Path]) -> None:
    shutil.copy(keys["ed25519"], home / "key")
    (home / "key").chmod(0o644)
    with pytest.raises(UsageError, match="did not sign") as caught:
        sshsig.sign(DATA, NAMESPACE, home / "key")
    assert "chmod 600" in str(caught.value.hint)


def test_a_public_key_whose_private_half_is_nowhere(home: Path, keys: dict[str, Path]) -> None:
    shutil.copy(keys["ed25519"].with_suffix(".pub"), home / "key.pub")
    with pytest.raises(UsageError) as caught:
        sshsig.sign(DATA, NAMESPACE, home / "key.pub")
    assert "Put its private half into the agent" in str(caught.value.hint)


def test_a_key_that_nobody_would_accept_is_told_at_once(keys: dict[str, Path]) -> None:
    """Otherwise the approver goes home, and the run waits."""
    with pytest.raises(UsageError, match="1024 bits"):
        sshsig.sign(DATA, NAMESPACE, keys["weak"])


def test_there_is_no_ssh_keygen(monkeypatch: pytest.MonkeyPatch, home: Path, keys: dict[str, Path]) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UsageError, match="no ssh-keygen") as caught:
        sshsig.sign(DATA, NAMESPACE, keys["ed25519"])
    assert "openssh-client" in str(caught.value.hint)


def test_a_passphrase_without_a_terminal_does_not_wait_for_ever(keys: dict[str, Path], home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.gates import sshsig; from pipeline.errors import UsageError\n"
        f"try: sshsig.sign(b'data', 'n', Path({str(keys['locked'])!r}))\n"
        "except UsageError as error: print(error.message, error.hint)"
    )
    variables = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "SSH_ASKPASS")}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "There is no terminal to ask for the passphrase" in ended.stdout
    assert "ssh-add" in ended.stdout
