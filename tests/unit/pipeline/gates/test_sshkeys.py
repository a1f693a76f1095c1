from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.approvers import SigningKey, mpint

from pipeline.gates import sshkeys
from pipeline.gates.sshkeys import Malformed, Reader, string

ALICE = SigningKey("alice")
DSA = base64.b64encode(string(b"ssh-dss") + mpint(7) * 4).decode()


def rsa(exponent: int, modulus: int) -> bytes:
    return string(b"ssh-rsa") + mpint(exponent) + mpint(modulus)


def test_a_key_is_known_by_its_text_without_comment_and_space() -> None:
    assert sshkeys.normal(f"  {ALICE.line}   alice@laptop \n") == ALICE.line


def test_the_fingerprint_is_that_of_ssh_keygen() -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN94fSOCKkz0mBurcw4aVH4eYm+AlYZFa9kL00acHkTN"
    assert sshkeys.fingerprint(line).startswith("SHA256:")
    assert len(sshkeys.fingerprint(line)) == len("SHA256:") + 43


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "ends too early"),
        ("ssh-ed25519", "ends too early"),
        ("ssh-ed25519 !!!!", "not base64"),
        (ALICE.line.replace("ssh-ed25519", "ssh-rsa"), "of another type"),
        (ALICE.line + "AAAA", "something follows its end"),
        (f"ssh-dss {DSA}", "not taken"),
        (
            "ssh-ed25519-cert-v01@openssh.com "
            + base64.b64encode(string(b"ssh-ed25519-cert-v01@openssh.com")).decode(),
            "not taken",
        ),
        ("ssh-ed25519 " + base64.b64encode(string(b"ssh-ed25519") + string(b"x" * 31)).decode(), "32 bytes"),
    ],
)
def test_what_is_no_key_that_is_taken(line: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        sshkeys.normal(line)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (rsa(65537, (1 << 1023) + 1), "1024 bits"),
        (rsa(65537, (1 << 2046) + 1), "2047 bits"),
        (rsa(1, (1 << 2047) + 1), "none that are safe"),
        (rsa(65538, (1 << 2047) + 1), "none that are safe"),
        (rsa(65537, 1 << 2047), "none that are safe"),
        (rsa(65537, (1 << 20_000) + 1), "20001 bits"),
        (rsa(65537, (1 << 200_000) + 1), "larger than"),
        (string(b"ssh-rsa") + string(b"\0\0\3") + mpint((1 << 2047) + 1), "shortest form"),
        (string(b"ssh-rsa") + string(b"\xff") + mpint((1 << 2047) + 1), "not positive"),
        (string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(b"\4" + b"1" * 64), "another curve"),
        (string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\2" + b"1" * 32), "uncompressed"),
        (string(b"sk-ssh-ed25519@openssh.com") + string(b"1" * 32) + string(b"https://example.com"), "not for ssh"),
    ],
)
def test_weak_keys_and_second_ways_to_write_one(blob: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        sshkeys.parse(blob)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Malformed):
        sshkeys.parse(data)


@given(st.sampled_from([name.encode() for name in sshkeys.TYPES]), st.lists(st.binary(max_size=40), max_size=4))
def test_any_fields_of_a_type_are_a_key_or_malformed(name: bytes, fields: list[bytes]) -> None:
    blob = string(name) + b"".join(map(string, fields))
    try:
        assert sshkeys.parse(blob)[0] == name.decode()
    except Malformed:
        return


def test_a_length_beyond_the_end_is_not_believed() -> None:
    with pytest.raises(Malformed, match="too early"):
        Reader(struct.pack(">I", 0xFFFFFFFF) + b"abc").string()


def test_base64_that_says_the_same_in_other_letters() -> None:
    """Two texts of one key would be two keys to whoever compares texts."""
    assert sshkeys.from_base64("e30=") == b"{}"
    with pytest.raises(Malformed, match="not in its one form"):
        sshkeys.from_base64("e31=")


@given(st.text(max_size=60))
def test_base64_has_one_form(text: str) -> None:
    try:
        data = sshkeys.from_base64(text)
    except Malformed:
        return
    assert base64.b64encode(data).decode() == text
