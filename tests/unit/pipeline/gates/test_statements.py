from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.approvers import NOW, PROPOSAL, SUBJECT, TARGET, SigningKey, one_covered

from pipeline.errors import UsageError, VerificationFailed
from pipeline.gates import sshsig, statements
from pipeline.record import digest
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

HEAD = {"chain": "runs/r/deploy.1", "head": "sha256:" + "a" * 64, "length": 7}


def made(**changed: Any) -> bytes:
    values: dict[str, Any] = {
        "decision": "approve",
        "person": "alice",
        "reason": "seen on staging",
        "run": PROPOSAL.run,
        "stage": PROPOSAL.stage,
        "target": TARGET,
        "subject": SUBJECT,
        "made_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "seen": [HEAD],
    }
    return statements.make(**one_covered(values | changed))


STATEMENT = json.loads(made(nonce="0" * 32))


def altered(*path: str | int, to: Any) -> bytes:
    """The statement with one value set, or with one taken away (`...`), still canonical."""
    value = json.loads(json.dumps(STATEMENT))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return digest.canonical(value)


def test_what_is_made_is_read() -> None:
    data = made()
    statement = statements.parse(data)
    assert (statement.decision, statement.person) == ("approve", "alice")
    assert (statement.made_at, statement.expires_at) == (NOW, NOW + timedelta(days=1))
    assert statement.covers == (statements.Covered(PROPOSAL.stage, TARGET, SUBJECT),)
    assert statement.seen == (HEAD,)
    assert statement.digest == digest.of_bytes(data)


def test_it_is_an_in_toto_statement() -> None:
    assert STATEMENT["_type"] == "https://in-toto.io/Statement/v1"
    assert STATEMENT["subject"] == [{"name": PROPOSAL.stage, "digest": {"sha256": SUBJECT.removeprefix("sha256:")}}]
    assert STATEMENT["predicateType"] == "urn:towpath:approval:v2"


def test_one_decision_may_cover_several_stages_each_with_its_subject() -> None:
    first, second = (statements.Covered(name, TARGET, "sha256:" + name[-1] * 64) for name in ("deploy-a", "deploy-b"))
    about: dict[str, Any] = {"person": "alice", "reason": "seen", "run": "r", "made_at": NOW}
    data = statements.make("approve", covers=[second, first], expires_at=NOW + timedelta(days=1), **about)
    statement = statements.parse(data)
    assert statement.covers == (first, second)
    assert (statement.covered("deploy-b"), statement.covered("deploy")) == (second, None)
    value = json.loads(data)
    for wrong in (value["subject"][::-1], value["subject"][:1], value["subject"] * 2):
        with pytest.raises(VerificationFailed):
            statements.parse(digest.canonical({**value, "subject": wrong}))


def test_no_two_decisions_are_the_same() -> None:
    assert made() != made()


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 11, 23, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert statements.parse(made(made_at=moment)).made_at == NOW
    with pytest.raises(ValueError, match="without a zone"):
        made(made_at=datetime(2026, 11, 23))  # noqa: DTZ001


def test_a_target_without_a_stack() -> None:
    target = statements.target_of(Target("artifacts", "111111111111", "eu-central-1", repository="demo"))
    assert target == {
        "partition": "aws",
        "account": "111111111111",
        "region": "eu-central-1",
        "stack": None,
        "environment": "artifacts",
    }
    assert statements.parse(made(target=target)).covers[0].target == target


@pytest.mark.parametrize(
    "reason",
    ["", "   ", "x" * 2_001, "done\x1b[2K\x1b[1Aapproved by bob", "a\rb", "\u202egnitset", "a\tb", "\ud800"],
)
def test_reasons_that_say_nothing_or_deceive_a_terminal(reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(reason=reason)
    assert caught.value.hint == "Say in a sentence why: --reason TEXT"


def test_a_reason_may_have_lines_and_any_language() -> None:
    assert (
        statements.parse(made(reason=" geprüft\nund für gut befunden ✓ \n")).reason == "geprüft\nund für gut befunden ✓"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "urn:towpath:approval:v1"),
        (("subject",), []),
        (("subject",), {}),
        (("subject",), STATEMENT["subject"] * 2),
        (("subject", 0), "proposal"),
        (("subject", 0, "name"), "release"),
        (("subject", 0, "name"), 7),
        (("predicate", "targets"), {}),
        (("predicate", "targets"), {"other": STATEMENT["predicate"]["targets"][PROPOSAL.stage]}),
        (("subject", 0, "digest"), {"sha512": "a" * 64}),
        (("subject", 0, "digest", "sha256"), "A" * 64),
        (("subject", 0, "digest", "sha256"), 5),
        (("predicate",), None),
        (("predicate", "decision"), "APPROVE"),
        (("predicate", "decision"), []),
        (("predicate", "decision"), True),
        (("predicate", "person"), ""),
        (("predicate", "person"), ["alice"]),
        (("predicate", "person"), "al\nice"),
        (("predicate", "reason"), ""),
        (("predicate", "reason"), " "),
        (("predicate", "reason"), "\x1b[2J"),
        (("predicate", "run"), None),
        (("predicate", "targets", PROPOSAL.stage, "stack"), ""),
        (("predicate", "targets", PROPOSAL.stage, "account"), None),
        (("predicate", "targets", PROPOSAL.stage, "account"), 333333333333),
        (("predicate", "made_at"), "2026-11-23T12:00:00"),
        (("predicate", "made_at"), "2026-11-23T12:00:00+00:00"),
        (("predicate", "made_at"), "2026-13-23T12:00:00Z"),
        (("predicate", "made_at"), 1_700_000_000),
        (("predicate", "expires_at"), STATEMENT["predicate"]["made_at"]),
        (("predicate", "seen"), None),
        (("predicate", "seen"), [{}]),
        (("predicate", "seen", 0, "length"), "7"),
        (("predicate", "seen", 0, "length"), True),
        (("predicate", "seen", 0, "head"), "abc"),
        (("predicate", "conditions"), "only on Sundays"),
        (("predicate", "targets", PROPOSAL.stage, "more"), "x"),
        (("more",), "x"),
    ],
)
def test_statements_that_are_not_of_the_form(path: tuple[str | int, ...], value: Any) -> None:
    assert statements.parse(digest.canonical(STATEMENT)).person == "alice"
    with pytest.raises(VerificationFailed):
        statements.parse(altered(*path, to=value))


@pytest.mark.parametrize("name", sorted(STATEMENT["predicate"]))
def test_nothing_may_be_missing(name: str) -> None:
    with pytest.raises(VerificationFailed):
        statements.parse(altered("predicate", name, to=...))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 50_000,
        b'{"a":NaN}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":"\\ud800"}',
        b"\xff\xfe",
        json.dumps(STATEMENT).encode(),
        json.dumps(STATEMENT, separators=(",", ":"), sort_keys=True).encode("utf-16"),
        digest.canonical(STATEMENT) + b"\n",
        digest.canonical(STATEMENT).replace(b'{"_type"', b'{"_type":1,"_type"'),
        b'"' + b"x" * 300_000 + b'"',
    ],
    ids=range(13),
)
def test_what_is_not_written_as_it_must_be(data: bytes) -> None:
    """Two ways to write one decision would be two decisions, and a key given twice is read differently by others."""
    for read in (statements.parse, statements.open_up):
        with pytest.raises(VerificationFailed):
            read(data)


@given(st.binary(max_size=300))
def test_anything_else_is_a_verification_error_and_no_other(data: bytes) -> None:
    for read in (statements.parse, statements.open_up):
        with pytest.raises(VerificationFailed):
            read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([(name,) for name in STATEMENT] + [("predicate", name) for name in STATEMENT["predicate"]]), JSON
)
def test_any_value_in_any_place_is_read_or_refused(path: tuple[str, ...], value: Any) -> None:
    try:
        statements.parse(altered(*path, to=value))
    except VerificationFailed:
        return


def test_a_document_holds_statement_and_signature() -> None:
    data = made()
    signature = SigningKey("alice").sign(data)
    assert statements.open_up(statements.seal_up(data, signature)) == (data, signature)


@pytest.mark.parametrize(
    "value",
    [
        {"v": 1, "statement": "e30="},
        {"v": 1, "statement": "e30=", "signature": "x", "more": 1},
        {"v": 2, "statement": "e30=", "signature": "x"},
        {"v": True, "statement": "e30=", "signature": "x"},
        {"v": 1.0, "statement": "e30=", "signature": "x"},
        {"v": 1, "statement": "e30", "signature": "x"},
        {"v": 1, "statement": "e31=", "signature": "x"},
        {"v": 1, "statement": None, "signature": "x"},
        {"v": 1, "statement": "e30=", "signature": ["x"]},
        [],
    ],
)
def test_what_is_no_document(value: Any) -> None:
    with pytest.raises(VerificationFailed):
        statements.open_up(digest.canonical(value))


def test_anybody_can_verify_a_document_with_ssh_keygen_alone(keys: dict[str, Path], tmp_path: Path) -> None:
    """The auditor's way, without Towpath: base64, and OpenSSH."""
    data = made()
    document = json.loads(statements.seal_up(data, sshsig.sign(data, statements.NAMESPACE, keys["ed25519"])))
    (tmp_path / "signature").write_text(document["signature"])
    public = keys["ed25519"].with_suffix(".pub").read_text()
    (tmp_path / "allowed_signers").write_text(f'alice namespaces="towpath-approval" {public}')
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "allowed_signers",
        "-I",
        "alice",
        "-n",
        "towpath-approval",
        "-s",
        "signature",
    ]
    statement = base64.b64decode(document["statement"])
    for given_data, status in ((statement, 0), (statement.replace(b"approve", b"reject_"), 255)):
        ended = subprocess.run(command, input=given_data, cwd=tmp_path, capture_output=True, check=False)
        assert ended.returncode == status


def test_utc_only() -> None:
    assert statements.parse(made()).made_at.tzinfo == UTC
