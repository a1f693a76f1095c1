from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.approvers import SigningKey

from pipeline.gates import people, statements
from pipeline.gates.rules import NOBODY, problems

if TYPE_CHECKING:
    from pathlib import Path

ALICE, BOB = SigningKey("alice").line, SigningKey("bob").line
GOOD = f"""# Who may approve.
alice namespaces="towpath-approval" {ALICE} alice's laptop

alice namespaces="towpath-approval,git",valid-before="20270101Z" {SigningKey("alice-2").line}
bob namespaces="towpath-approval" {BOB}
"""


def test_keys_with_their_people() -> None:
    keys, wrong = people.enrolled(GOOD, "signers")
    assert wrong == []
    assert [(each.person, each.key, each.validity, each.line) for each in keys] == [
        ("alice", ALICE, (None, None), 2),
        ("alice", SigningKey("alice-2").line, (None, "2027-01-01T00:00:00Z"), 4),
        ("bob", BOB, (None, None), 5),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"alice {ALICE}", "the line does not say that the key is for approvals"),
        (f'alice namespaces="git" {ALICE}', "the line does not say that the key is for approvals"),
        (f'alice namespaces="*" {ALICE}', "the line does not say that the key is for approvals"),
        (f'alice namespaces="towpath-*" {ALICE}', "the line does not say that the key is for approvals"),
        (f'alice,bob namespaces="towpath-approval" {ALICE}', "one key of several people: alice, bob"),
        (f'* namespaces="towpath-approval" {ALICE}', "not a plain name"),
        (f'*@example.com namespaces="towpath-approval" {ALICE}', "not a plain name"),
        (f'!alice namespaces="towpath-approval" {ALICE}', "not a plain name"),
        (f'alice cert-authority,namespaces="towpath-approval" {ALICE}', "certificates are refused"),
        (f'alice namespaces="towpath-approval",valid-before="20270101" {ALICE}', "not a time with its zone"),
        (f'alice namespaces="towpath-approval",no-touch-required {ALICE}', "is not known"),
        ('alice namespaces="towpath-approval" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN94', "the key is not taken: it ends too early"),
        ('alice namespaces="towpath-approval" ssh-dss AAAAB3NzaC1kc3MAAACBAP', "the key"),
        ("alice", "not a line of allowed_signers"),
    ],
)  # fmt: skip
def test_lines_that_are_refused(line: str, message: str) -> None:
    keys, wrong = people.enrolled(f"# Who may approve.\n{line}\n", "approvers/signers")
    assert keys == []
    assert [each.where for each in wrong] == ["approvers/signers:2"]
    assert message in wrong[0].message
    assert wrong[0].quote == line


def test_one_key_of_two_people_or_twice_of_one() -> None:
    for name in ("bob", "alice"):
        keys, wrong = people.enrolled(GOOD + f'{name} namespaces="towpath-approval" {ALICE}\n', "signers")
        assert len(keys) == 3
        assert [each.where for each in wrong] == ["signers:6"]


def test_what_is_taken_ssh_keygen_takes_too(tmp_path: Path) -> None:
    """An auditor verifies approvals with this very file."""
    (tmp_path / "signers").write_text(GOOD)
    for word, person, status in (("alice", "alice", 0), ("alice-2", "alice", 0), ("bob", "alice", 255)):
        (tmp_path / "signature").write_text(SigningKey(word).sign(b"data"))
        command = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            "signers",
            "-I",
            person,
            "-n",
            statements.NAMESPACE,
            "-s",
            "signature",
        ]
        command += ["-Overify-time=20261123Z"]
        assert (
            subprocess.run(command, input=b"data", cwd=tmp_path, capture_output=True, check=False).returncode == status
        )


def test_members_are_each_named_once() -> None:
    assert people.members(["team", "carol", "alice"], {"team": ["alice", "bob"]}) == ["alice", "bob", "carol"]


def test_identities_are_compared_in_lower_case() -> None:
    known = people.identities({"alice": ["Alice@Example.com", "alice-gh"], "bob": ["bob"]})
    assert known == {"alice@example.com": "alice", "alice-gh": "alice", "bob": "bob"}


def test_the_rules_of_an_environment() -> None:
    keys, _ = people.enrolled(GOOD, "signers")
    known = people.identities({"alice": ["alice@example.com"], "bob": [], "eve": ["eve"]})
    rules = people.resolve(count=1, approvers=["alice"], expires_s=60, scan="required", known_as=known, keys=keys)
    assert (rules.people, rules.expires_s, rules.scan) == (1, 60, "required")
    assert rules.approvers == {"alice": tuple(sorted([ALICE, SigningKey("alice-2").line]))}
    assert rules.validity == {SigningKey("alice-2").line: (None, "2027-01-01T00:00:00Z")}
    assert rules.identities == {"alice@example.com": "alice", "eve": "eve"}  # who may not approve can still have asked
    assert problems(rules) == []


def test_nobody_need_approve() -> None:
    keys, _ = people.enrolled(GOOD, "signers")
    rules = people.resolve(count=0, approvers=[], expires_s=0, scan="none", known_as={"alice": "alice"}, keys=keys)
    assert rules == NOBODY


def test_an_approver_without_a_key_makes_rules_that_are_refused() -> None:
    rules = people.resolve(count=1, approvers=["alice"], expires_s=60, scan="none", known_as={}, keys=[])
    assert problems(rules) == ["'alice' may approve, and has no key"]
