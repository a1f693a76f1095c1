"""What an approver signs: an in-toto Statement v1 over the subjects of proposals. Format version 2 (docs/adr/0011).

    {"_type":"https://in-toto.io/Statement/v1",
     "subject":[{"name":<stage>,"digest":{"sha256":<of the canonical JSON of the proposal's subject>}}],
     "predicateType":"urn:towpath:approval:v2",
     "predicate":{"decision":"approve"|"reject","person","reason","run",
                  "targets":{<stage>:{"partition","account","region","stack","environment"}},
                  "nonce","made_at","expires_at","seen":[{"chain","head","length"}],"tool"}}

Whoever breaks the glass signs the same, of the type `urn:towpath:break-glass:v1`, with the decision `break-glass` and `waives`, a list of
checks that are not to count; whoever reviews that signs it with the decision `review` and `of`, the digest of the statement
that he has reviewed. Both in the namespace `towpath-break-glass`, so that neither can be taken for an approval, nor one for them.

One decision may cover several stages of a run, each with its own target and subject, and each is let through by it alone. It is written as canonical JSON and read only in that form, so that a decision has one digest. `seen` says what of the record
the approver had before him; it is context, and never compared. A statement and its signature lie in the inbox as one document,

    {"v":1,"statement":<base64>,"signature":<armoured>}

signed in the namespace `towpath-approval`. Everything in an inbox is a stranger's until `pipeline.gates.decide` has looked at it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import pipeline
from pipeline.errors import UsageError, VerificationFailed
from pipeline.gates import sshkeys
from pipeline.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stages.contract import Target

NAMESPACE = "towpath-approval"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:towpath:approval:v2"
GLASS_NAMESPACE = "towpath-break-glass"
GLASS_PREDICATE_TYPE = "urn:towpath:break-glass:v1"
WAIVABLE = ("approvals", "scan", "window")
"""What breaking the glass can waive. Digests, accounts, locks and chains are not among it."""
VERSION = 1
MOST_COVERED = 50
TARGET_FIELDS = ("partition", "account", "region", "stack", "environment")
REASON_CHARACTERS = 2_000

_DOCUMENT_BYTES = 262_144
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

ApprovalDecision = Literal["approve", "reject"]
GlassDecision = Literal["break-glass", "review"]


@dataclass(frozen=True)
class Covered:
    """A stage that is decided on, with what it acts on and the digest of its proposal's subject, `sha256:<hex>`."""

    stage: str
    target: Mapping[str, str | None]
    subject: str


@dataclass(frozen=True)
class Statement:
    """One decision of one person, on one stage or more. `digest` is of the statement itself, `sha256:<hex>`.

    `waives` has what breaking the glass waives, `of` is the digest of the statement that a review is of.
    """

    decision: ApprovalDecision | GlassDecision
    person: str
    reason: str
    run: str
    covers: tuple[Covered, ...]
    nonce: str
    made_at: datetime
    expires_at: datetime
    seen: tuple[Mapping[str, Any], ...]
    tool: str
    digest: str
    waives: tuple[str, ...] = ()
    of: str | None = None

    @property
    def is_approval(self) -> bool:
        """Whether it approves or rejects; else it is about breaking the glass."""
        return self.decision in ("approve", "reject")

    def covered(self, stage: str) -> Covered | None:
        """What it says of a stage; None if it does not speak of it."""
        return next((each for each in self.covers if each.stage == stage), None)


def target_of(target: Target) -> dict[str, str | None]:
    """Give what a statement says of a target: which it is, and what we call it."""
    return {name: getattr(target, name) for name in TARGET_FIELDS}


def namespace(decision: str) -> str:
    """Give the namespace that a decision is signed in."""
    return NAMESPACE if decision in ("approve", "reject") else GLASS_NAMESPACE


def make(
    decision: ApprovalDecision | GlassDecision,
    *,
    person: str,
    reason: str,
    run: str,
    covers: Iterable[Covered],
    made_at: datetime,
    expires_at: datetime,
    seen: Iterable[Mapping[str, Any]] = (),
    nonce: str | None = None,
    waives: Iterable[str] = (),
    of: str | None = None,
) -> bytes:
    """Give the statement to sign. Times are of any zone.

    Raises UsageError for a reason that is empty, too long, or holds what a terminal would obey.
    """
    by_name = sorted(covers, key=lambda each: each.stage)
    predicate: dict[str, Any] = {
        "decision": decision,
        "person": person,
        "reason": reason.strip(),
        "run": run,
        "targets": {each.stage: {name: each.target[name] for name in TARGET_FIELDS} for each in by_name},
        "nonce": nonce or secrets.token_hex(16),
        "made_at": _written(made_at),
        "expires_at": _written(expires_at),
        "seen": [{name: each[name] for name in ("chain", "head", "length")} for each in seen],
        "tool": f"towpath {pipeline.__version__}",
    }
    if decision == "break-glass":
        predicate["waives"] = sorted(set(waives))
    if decision == "review":
        predicate["of"] = of
    value = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": each.stage, "digest": {"sha256": each.subject.removeprefix("sha256:")}} for each in by_name
        ],
        "predicateType": PREDICATE_TYPE if decision in ("approve", "reject") else GLASS_PREDICATE_TYPE,
        "predicate": predicate,
    }
    try:
        statement = digest.canonical(value)
        parse(statement)
    except (VerificationFailed, UnicodeEncodeError) as error:  # bytes of an argument that are no text
        hint = "Say in a sentence why: --reason TEXT"
        raise UsageError(f"this cannot be stated: {error}", hint=hint) from error
    return statement


def said(reason: str) -> str:
    """Give a reason as it is recorded. Raises UsageError for one that is empty, too long, or holds what a terminal would obey."""
    try:
        return _reason({"reason": reason.strip()})
    except _Form as error:
        raise UsageError(str(error), hint="Say in a sentence why: --reason TEXT") from error


def parse(data: bytes) -> Statement:
    """Read a statement. Raises VerificationFailed for anything that `make` would not have written."""
    value = _json(data, "the approval's statement")
    try:
        return _statement(value, digest.of_bytes(data))
    except _Form as error:
        raise VerificationFailed(f"the approval's statement is not of its form: {error}") from error


def seal_up(statement: bytes, signature: str) -> bytes:
    """Put a statement and its signature into one document for the inbox."""
    return digest.canonical({"v": VERSION, "statement": base64.b64encode(statement).decode(), "signature": signature})


def open_up(document: bytes) -> tuple[bytes, str]:
    """Give the statement and the signature of a document. Nothing of them is checked yet. Raises VerificationFailed."""
    value = _json(document, "the document")
    try:
        return _opened(value)
    except (_Form, sshkeys.Malformed) as error:
        raise VerificationFailed(f"this is no document of an approval: {error}") from error


def is_of_glass(document: bytes) -> bool:
    """Tell whether a document says that it is about breaking the glass. Nothing of it is checked."""
    try:
        return not parse(open_up(document)[0]).is_approval
    except VerificationFailed:
        return False


def _opened(value: Any) -> tuple[bytes, str]:
    _map(value, "the document", ("v", "statement", "signature"))
    if type(value["v"]) is not int or value["v"] != VERSION:
        raise _Form(f"it is of version {str(value['v'])[:40]!r}, not {VERSION}")
    statement, signature = (_text(value, name, _DOCUMENT_BYTES) for name in ("statement", "signature"))
    return sshkeys.from_base64(statement), signature


class _Form(Exception):
    """Something is not of its form."""


def _json(data: bytes, what: str) -> Any:
    if len(data) > _DOCUMENT_BYTES:
        raise VerificationFailed(f"{what} is larger than {_DOCUMENT_BYTES:,} bytes")
    try:
        value = json.loads(data)
        if digest.canonical(value) == data:
            return value
    except (ValueError, RecursionError) as error:
        raise VerificationFailed(f"{what} is not JSON") from error
    raise VerificationFailed(f"{what} is not canonical JSON: it was changed, or not written by Towpath")


def _statement(value: Any, name: str) -> Statement:
    _map(value, "it", ("_type", "subject", "predicateType", "predicate"))
    decisions = _DECISIONS.get(value["predicateType"]) if isinstance(value["predicateType"], str) else None
    if value["_type"] != STATEMENT_TYPE or decisions is None:
        raise _Form(f"it is not a Statement v1 of {' or '.join(_DECISIONS)}")
    predicate, made_at, expires_at = _predicate(value["predicate"])
    return Statement(
        decision=cast("ApprovalDecision | GlassDecision", _one_of(predicate["decision"], decisions)),
        person=_line(predicate, "person"),
        reason=_reason(predicate),
        run=_line(predicate, "run"),
        covers=_covers(value["subject"], predicate["targets"]),
        nonce=_line(predicate, "nonce"),
        made_at=made_at,
        expires_at=expires_at,
        seen=tuple(map(_head, _list(predicate["seen"], "seen"))),
        tool=_line(predicate, "tool"),
        digest=name,
        waives=_waives(predicate) if "waives" in predicate else (),
        of=_reviewed(predicate) if "of" in predicate else None,
    )


_DECISIONS = {PREDICATE_TYPE: ("approve", "reject"), GLASS_PREDICATE_TYPE: ("break-glass", "review")}
_MORE: dict[str, tuple[str, ...]] = {"break-glass": ("waives",), "review": ("of",)}
"""What else those decisions say."""


_PREDICATE = (
    "decision",
    "person",
    "reason",
    "run",
    "targets",
    "nonce",
    "made_at",
    "expires_at",
    "seen",
    "tool",
)


def _predicate(value: Any) -> tuple[dict[str, Any], datetime, datetime]:
    more = _MORE.get(str(value.get("decision")), ()) if isinstance(value, dict) else ()
    _map(value, "its predicate", (*_PREDICATE, *more))
    made_at, expires_at = _time(value, "made_at"), _time(value, "expires_at")
    if expires_at <= made_at:
        raise _Form("it expires before it is made")
    return value, made_at, expires_at


def _waives(value: Mapping[str, Any]) -> tuple[str, ...]:
    waives = _list(value["waives"], "waives")
    if not waives or any(each not in WAIVABLE for each in waives) or waives != sorted(set(waives)):
        raise _Form(f"what it waives is not among {', '.join(WAIVABLE)}, in order and each once")
    return tuple(waives)


def _reviewed(value: Mapping[str, Any]) -> str:
    if not digest.is_digest(value["of"]):
        raise _Form("what it reviews is no digest")
    return str(value["of"])


def _covers(value: Any, targets: Any) -> tuple[Covered, ...]:
    subjects = _list(value, "subject")
    if not 0 < len(subjects) <= MOST_COVERED:
        raise _Form(f"it has {len(subjects)} subjects, not 1 to {MOST_COVERED}")
    for each in subjects:
        _map(each, "a subject", ("name", "digest"))
        _map(each["digest"], "a subject's digest", ("sha256",))
    names = [_line(each, "name") for each in subjects]
    if names != sorted(set(names)):
        raise _Form("its subjects are not in order, each once")
    _map(targets, "targets", tuple(names))
    return tuple(
        Covered(name, _target(targets[name]), _subject(each)) for name, each in zip(names, subjects, strict=True)
    )


def _subject(value: Any) -> str:
    found = f"sha256:{value['digest']['sha256']}"
    if not digest.is_digest(found):
        raise _Form("a subject is not the digest of a proposal")
    return found


def _target(value: Any) -> dict[str, str | None]:
    _map(value, "its target", TARGET_FIELDS)
    return {name: None if value[name] is None and name == "stack" else _line(value, name) for name in TARGET_FIELDS}


def _head(value: Any) -> dict[str, Any]:
    _map(value, "what was seen", ("chain", "head", "length"))
    if type(value["length"]) is not int or not digest.is_digest(value["head"]):
        raise _Form("what was seen is not the head of a chain")
    return {"chain": _line(value, "chain"), "head": value["head"], "length": value["length"]}


def _map(value: Any, what: str, keys: tuple[str, ...]) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise _Form(f"{what} is not a map of {', '.join(keys)}")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Form(f"{name} is not a list")
    return value


def _text(value: Mapping[str, Any], name: str, most: int, allowed: Callable[[str], bool] = lambda _: True) -> str:
    text = value[name]
    if not isinstance(text, str) or not 0 < len(text) <= most or not allowed(text):
        raise _Form(f"{name} is empty, too long, or no plain text")
    return text


def _line(value: Mapping[str, Any], name: str) -> str:
    """One line of what people can see: it is printed, and must not move the cursor or run from right to left."""
    return _text(value, name, 500, str.isprintable)


def _reason(value: Mapping[str, Any]) -> str:
    reason = _text(value, "reason", REASON_CHARACTERS, lambda text: all(map(str.isprintable, text.split("\n"))))
    if reason != reason.strip():
        raise _Form("reason is empty, or has space around it")
    return reason


def _one_of(value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise _Form(f"{value!r:.60} is neither {' nor '.join(words)}")
    return str(value)


def _time(value: Mapping[str, Any], name: str) -> datetime:
    text = _line(value, name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _Form(f"{name} is no time") from error
    if not _TIME.fullmatch(text):
        raise _Form(f"{name} is not written as 2026-11-23T11:42:19Z")
    return moment


def _written(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
