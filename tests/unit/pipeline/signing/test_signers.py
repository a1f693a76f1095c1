from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.signing import new_key, trust_line

from pipeline.errors import InvalidDefinition, UsageError
from pipeline.signing import signers

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = new_key().public, new_key().public
GOOD = trust_line(KEY)


def test_keys_by_role() -> None:
    text = f"# the runners\n\n{trust_line(KEY).rstrip()} build-1\n{trust_line(OTHER, 'gate')}{trust_line(KEY, 'gate')}"
    trust = signers.trust(text, "trust")
    enrolled = trust.key("builder", KEY.fingerprint)
    assert enrolled is not None
    assert enrolled.key == KEY
    assert trust.key("builder", OTHER.fingerprint) is None
    assert set(trust.roles["gate"]) == {KEY.fingerprint, OTHER.fingerprint}


def test_two_roles_in_one_line() -> None:
    trust = signers.trust(trust_line(KEY, "builder,gate"), "trust")
    assert trust.key("builder", KEY.fingerprint) == trust.key("gate", KEY.fingerprint)


def test_a_key_counts_for_its_time() -> None:
    options = 'namespaces="towpath",valid-after="20260101Z",valid-before="20260201120000Z"'
    trusted = signers.trust(trust_line(KEY, options=options), "trust").key("builder", KEY.fingerprint)
    assert trusted is not None
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, 12, tzinfo=UTC)
    times = [start, end - timedelta(minutes=1), end]
    assert [trusted.signer.valid_at(time) for time in times] == [True, True, False]
    assert not trusted.signer.valid_at(datetime(2025, 12, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (GOOD.replace("builder", "*"), "not a plain name"),
        (GOOD.replace("builder", "b*"), "not a plain name"),
        (GOOD.replace("builder", "!builder"), "not a plain name"),
        (GOOD.replace("builder", "builders"), "'builders' is not a role"),
        (GOOD.replace("builder", "builder,alice@example.com"), "'alice@example.com' is not a role"),
        (trust_line(KEY, options='cert-authority,namespaces="towpath"'), "certificates are refused"),
        (trust_line(KEY, options='namespaces="towpath",no-touch-required'), "'no-touch-required' is not known"),
        (trust_line(KEY, options='namespaces="towpath",namespaces="git"'), "there twice"),
        (trust_line(KEY, options='namespaces="git"'), "for Towpath"),
        (trust_line(KEY, options='namespaces="*"'), "for Towpath"),
        (f"builder {KEY.line}\n", "for Towpath"),
        (trust_line(KEY, options='namespaces="towpath",valid-before="20260101"'), "not a time with its zone"),
        (trust_line(KEY, options='namespaces="towpath",valid-before="20261301Z"'), "no time of the calendar"),
        (f'builder namespaces="towpath" {KEY.line[:-9]}\n', "not base64|not an ed25519 key"),
        (GOOD.replace("ssh-ed25519", "ssh-rsa"), "not of the type ssh-rsa"),
        (GOOD.replace("ssh-ed25519 ", ""), "not a line of allowed_signers"),
        ("builder\n", "not a line of allowed_signers"),
        (KEY.line + "\n", "not a line of allowed_signers"),
        (GOOD + GOOD, "enrolled for builder in line 1 already"),
        (GOOD + trust_line(KEY, "gate,builder"), "enrolled for builder in line 1 already"),
        ("", "no key is enrolled"),
        ("# nobody\n", "no key is enrolled"),
    ],
    ids=map(str, range(22)),
)
def test_what_would_let_in_more_than_was_meant_is_refused(line: str, says: str) -> None:
    with pytest.raises(InvalidDefinition, match=says):
        signers.trust(line, "trust")


def test_every_mistake_is_told_with_its_line() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        signers.trust(f"{GOOD}nonsense\n{trust_line(OTHER, 'bilder')}", "keys/trust")
    assert [problem.where for problem in caught.value.problems] == ["keys/trust:2", "keys/trust:3"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        signers.load_trust(tmp_path / "trust")


@pytest.mark.parametrize("hidden", ["\f", "\v", "\x1c", "\x85", "\u2028", "\u202e", "\u200b", "\x00", "\r"])
def test_what_nobody_sees_hides_no_key(hidden: str) -> None:
    """Python ends lines where OpenSSH, editors and reviewers see none."""
    text = f"{GOOD.rstrip()} my laptop{hidden}{trust_line(OTHER, 'gate')}"
    with pytest.raises(InvalidDefinition, match="which cannot be seen") as error:
        signers.trust(text, "trust")
    assert "trust:1" in str(error.value)
    with pytest.raises(InvalidDefinition):
        signers.trust(f"# a comment{hidden}{GOOD}", "trust")


def test_lines_of_another_system_are_lines() -> None:
    assert signers.trust(GOOD.replace("\n", "\r\n"), "trust").key("builder", KEY.fingerprint)
