"""Whether a proposal may be applied. Pure: documents, rules and times in; a verdict and its reasons out.

The rules, in the order in which a document is held against them. It counts only if all of them hold:

 1. It is a document of an approval, in the one form there is.
 2. Its statement names a person who may approve here, by the rules in force.
 3. Its signature is over just this statement, for this purpose, by a key of that very person. That the key is known, or
    another person's who may approve, is not enough.
 4. The key counted when the store received the document.
 5. It is of this run, this stage, this target, and this subject. Anything else is named.

A reject that holds so far ends the proposal: whoever may approve may also say no, who asked for the run or wrote its
commits too, and that is not forgotten when it expires. An approval must further be such that

 6. it was not used by a deployment before;
 7. its person neither asked for the run nor wrote one of the commits;
 8. our clock, the store's, and the approver's agree to within 5 minutes in so far as they can be compared;
 9. it has not expired: neither by its own word, nor by the rules, counted from its receipt. What it says of when it was made
    makes no approval live longer.

Then people are counted, not keys and not documents. Who asked, or who wrote a commit, and is no person of the rules, may be
anybody, one of the approvers too: nothing opens until somebody says who it is. Without rules nothing opens. Where the rules say
that nobody need approve, the gate is open.

Whoever breaks the glass signs what is not to count for this one deployment: approvals that are missing, a freeze, a scan that did not
pass. Nothing else can be named, a reject stands, and the rules stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import VerificationFailed
from pipeline.gates import people as gate_people
from pipeline.gates import rules as gate_rules
from pipeline.gates import sshkeys, sshsig, statements
from pipeline.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping
    from datetime import datetime

    from pipeline.gates.rules import Keys, Rules
    from pipeline.gates.statements import ApprovalDecision, GlassDecision, Statement

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far two clocks that are set by the network may be apart."""


@dataclass(frozen=True)
class Proposed:
    """What is to be applied: in which run and stage, to what, and the digest of the proposal's subject.

    `differing` gives, for the digest of another subject, the fields in which that one differs, as far as it is known.
    """

    run: str
    stage: str
    target: Mapping[str, str | None]
    subject: str
    differing: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """A document from the inbox, and when the store received it, by the store's own clock."""

    document: bytes
    at: datetime


@dataclass(frozen=True)
class Counted:
    """A decision that counts. `until` is when an approval ends to; a reject does not end. `document` is what lay in the inbox."""

    decision: ApprovalDecision
    person: str
    reason: str
    key: str
    digest: str
    received_at: datetime
    until: datetime | None
    document: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Glass:
    """That somebody broke the glass, or reviewed that, which counts. `waives` has what was waived, nothing for a review."""

    person: str
    reason: str
    key: str
    digest: str
    received_at: datetime
    waives: tuple[str, ...] = ()
    document: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Refused:
    """A document that does not count, and why. Who it says it is from is known only if it could be read that far.

    `voided`: it would have counted for what was proposed before.
    """

    reason: str
    digest: str | None = None
    person: str | None = None
    decision: ApprovalDecision | GlassDecision | None = None
    voided: bool = False


@dataclass(frozen=True)
class Decision:
    """How a gate stands. `missing` people have yet to approve; `reasons` say so, for people to read.

    `stuck`: no approval opens it, as it is not known who asked or wrote, or too few are left who may.
    """

    state: Literal["open", "waiting", "rejected"]
    counted: list[Counted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    missing: int = 0
    reasons: list[str] = field(default_factory=list)
    stuck: bool = False


def subject_digest(subject: Any) -> str:
    """Give the digest by which approvals name a proposal's subject."""
    return digest.of_bytes(digest.canonical(subject))


# One document


def check(
    document: bytes,
    rules: Rules,
    *,
    proposal: Proposed,
    received_at: datetime,
    now: datetime,
    used: Collection[str] = (),
    excluded: Mapping[str, str] | None = None,
) -> Counted | Refused:
    """Hold one document against the rules. `used` are digests of statements, `excluded` says of people why they cannot approve."""
    try:
        data, signature = statements.open_up(document)
        statement = statements.parse(data)
    except VerificationFailed as error:
        return Refused(error.message)
    decision, person, reason = statement.decision, statement.person, statement.reason
    if decision not in ("approve", "reject"):
        return Refused("it is no approval", statement.digest, person, decision)
    try:
        key = _key(statement, (data, signature), rules, rules.approvers, received_at)
        _same_proposal(statement, proposal)
        until = None
        if decision == "approve":
            _not_twice(statement, used)
            until = _approval(statement, rules, (received_at, now), excluded or {})
    except (_Refusal, VerificationFailed) as error:
        return Refused(str(error), statement.digest, person, decision, isinstance(error, _Voided))
    return Counted(decision, person, reason, key, statement.digest, received_at, until, document)


class _Refusal(Exception):
    """The document does not count; the message says why."""


class _Voided(_Refusal):
    """It is for another subject, and all before that holds."""


def _key(
    statement: Statement, signed: tuple[bytes, str], rules: Rules, able: Mapping[str, Keys], received_at: datetime
) -> str:
    """Give the key that signed, which is one of the person's that the statement names. `able` are those who may, with their keys."""
    person, may = statement.person, _MAY[statement.decision]
    if person not in able:
        raise _Refusal(f"{person!r} may not {may} here; {_named(able)} may")
    key = sshsig.verify(*signed, statements.namespace(statement.decision))
    if key not in able[person]:
        owner = next((name for name, keys in able.items() if key in keys), None)
        whose = f"it is a key of {owner!r}" if owner else f"it is nobody's who may {may}"
        raise _Refusal(f"it is signed with {sshkeys.fingerprint(key)}, which is no key of {person!r}: {whose}")
    if not rules.valid_at(key, received_at):
        raise _Refusal(f"the key {sshkeys.fingerprint(key)} of {person!r} did not count when the approval came in")
    return key


_MAY = {"approve": "approve", "reject": "approve", "break-glass": "break the glass", "review": "review that"}


def _not_twice(statement: Statement, used: Collection[str]) -> None:
    if statement.digest in used:
        raise _Refusal("it was used by a deployment before: each approval is for one")


def _same_proposal(statement: Statement, proposal: Proposed) -> None:
    if statement.run != proposal.run:
        raise _Refusal(f"it is for another run: {statement.run!r}, not {proposal.run!r}")
    covered = statement.covered(proposal.stage)
    if covered is None:
        others = ", ".join(repr(each.stage) for each in statement.covers)
        raise _Refusal(f"it is for another stage: {others}, not {proposal.stage!r}")
    for name in statements.TARGET_FIELDS:
        theirs, ours = covered.target[name], proposal.target.get(name)
        if theirs != ours:
            raise _Refusal(f"it is for another target.{name}: {theirs!r}, not {ours!r}")
    if covered.subject != proposal.subject:
        fields = proposal.differing.get(covered.subject)
        named = f"; these differ: {', '.join(fields)}" if fields else ""
        raise _Voided(f"it is for another subject: what would be done is no longer what was approved{named}")


def _approval(
    statement: Statement,
    rules: Rules,
    times: tuple[datetime, datetime],
    excluded: Mapping[str, str],
) -> datetime:
    """Give until when an approval counts. `times` are when it was received, and now."""
    if statement.person in excluded:
        raise _Refusal(f"{statement.person!r} cannot approve this: {excluded[statement.person]}")
    return _until(statement, times, rules.expires_s)


def _until(statement: Statement, times: tuple[datetime, datetime], longest_s: int) -> datetime:
    """Give until when a statement counts, at most so long since it was received."""
    received_at, now = times
    if received_at + CLOCK_TOLERANCE < statement.made_at:
        raise _Refusal(f"it says it was made at {_shown(statement.made_at)}, after it came in at {_shown(received_at)}")
    if now + CLOCK_TOLERANCE < received_at:
        raise _Refusal(f"it came in at {_shown(received_at)} by the store's clock, and ours says {_shown(now)}")
    until = min(statement.expires_at, received_at + timedelta(seconds=longest_s))
    if now >= until:
        raise _Refusal(f"it expired at {_shown(until)}")
    return until


# Breaking the glass

GLASS_S = 24 * 3600
"""The longest time for which it counts that somebody broke the glass: an emergency that lasts for longer is none."""


def broken(
    document: bytes,
    rules: Rules,
    *,
    proposal: Proposed,
    received_at: datetime,
    now: datetime,
    used: Collection[str] = (),
) -> Glass | Refused:
    """Hold a document by which somebody breaks the glass against the rules.

    It counts as an approval does, for its own purpose, by those whom the rules name for that, and once. Who asked for the run, or
    wrote its commits, may: somebody else reviews it.
    """

    def counts(statement: Statement) -> None:
        _same_proposal(statement, proposal)
        _not_twice(statement, used)
        _until(statement, (received_at, now), GLASS_S)

    return _glass("break-glass", Received(document, received_at), rules, rules.glass, counts)


def reviewed(
    document: bytes,
    rules: Rules,
    *,
    run: str,
    of: str,
    received_at: datetime,
    excluded: Mapping[str, str],
    heads: Container[tuple[str, int, str]],
) -> Glass | Refused:
    """Hold a document by which somebody reviews that the glass was broken in a run, by the statement `of`, against the rules.

    Whoever may approve or break the glass may review it, except the `excluded`. It does not expire, and counts once the store has it.
    `heads` are those that the ledger has had since (chain, length, digest): whoever reviews has seen one of them, as the same statement
    may have let something through before.
    """

    def counts(statement: Statement) -> None:
        if (statement.run, statement.of) != (run, of):
            raise _Refusal("it is of something else")
        if statement.person in excluded:
            raise _Refusal(f"{statement.person!r} cannot review this: {excluded[statement.person]}")
        if not any((each["chain"], each["length"], each["head"]) in heads for each in statement.seen):
            raise _Refusal("it was signed by somebody who had not seen that in the ledger yet")

    return _glass("review", Received(document, received_at), rules, reviewers(rules), counts)


def reviewers(rules: Rules) -> dict[str, Keys]:
    """Give who may review that the glass was broken, with their keys for that."""
    return {**rules.approvers, **{who: (*rules.approvers.get(who, ()), *keys) for who, keys in rules.glass.items()}}


def not_reviewers(rules: Rules, glass: Mapping[str, Any]) -> dict[str, str]:
    """Give who cannot review that the glass was broken, each with why. `glass` is what a ledger says of it."""
    asked = [*(glass.get("requester") or {}).values(), *glass["requesters"]]
    known = {
        person: "asked for the run" for each in asked if isinstance(each, str) and (person := _person(rules, each))
    }
    return {**known, **dict.fromkeys(glass["people"], "broke the glass")}


def _glass(
    decision: GlassDecision,
    received: Received,
    rules: Rules,
    able: Mapping[str, Keys],
    counts: Callable[[Statement], None],
) -> Glass | Refused:
    try:
        data, signature = statements.open_up(received.document)
        statement = statements.parse(data)
    except VerificationFailed as error:
        return Refused(error.message)
    person, at = statement.person, received.at
    if statement.decision != decision:
        return Refused("it says something else", statement.digest, person, statement.decision)
    try:
        key = _key(statement, (data, signature), rules, able, at)
        counts(statement)
    except (_Refusal, VerificationFailed) as error:
        return Refused(str(error), statement.digest, person, statement.decision)
    return Glass(person, statement.reason, key, statement.digest, at, statement.waives, received.document)


# All of them


def decide(
    received: Iterable[Received],
    rules: Rules | None,
    *,
    proposal: Proposed,
    now: datetime,
    requester: str | Collection[str] | None,
    authors: Collection[str] | None,
    used: Collection[str] = (),
    anybody: bool = False,
) -> Decision:
    """Say how the gate stands.

    `requester` is the mail address or login of who asked for the run, or all that are told of him: one must be known, and
    everybody whom one of them names is excluded. `authors` are those of the commits since the last deployment; None if that
    cannot be told. `used` are the digests of statements that deployments have used. `anybody` of those
    who may approve counts, requester and authors too: that is so for going back to what ran before.
    """
    wrong = ["no rules are in force for this target"] if rules is None else gate_rules.problems(rules)
    if rules is None or wrong:
        return Decision("waiting", missing=1, reasons=wrong)
    if rules.people == 0:
        return Decision("open", reasons=["nobody need approve here"])
    excluded, unknown = exclusions(rules, requester, authors) if not anybody else _NOBODY_EXCLUDED
    counted: list[Counted] = []
    refused: list[Refused] = []
    for each in sorted(received, key=lambda one: (one.at, one.document)):
        found = check(
            each.document, rules, proposal=proposal, received_at=each.at, now=now, used=used, excluded=excluded
        )
        if isinstance(found, Counted):
            counted.append(found)
        else:
            refused.append(found)
    return _decision(rules, counted, refused, excluded, unknown)


_NOBODY_EXCLUDED: tuple[dict[str, str], list[str]] = ({}, [])


def exclusions(
    rules: Rules, requester: str | Collection[str] | None, authors: Collection[str] | None
) -> tuple[dict[str, str], list[str]]:
    """Give the people who cannot approve, each with why, and what keeps us from knowing all of them."""
    asked = [requester] if isinstance(requester, str) else sorted(requester or ())
    excluded: dict[str, str] = {}
    unknown: list[str] = []
    if authors is None:
        unknown.append("nobody knows who wrote the commits that this deploys")
    for author in sorted(authors or ()):
        person = _person(rules, author)
        if person is None:
            unknown.append(f"nobody knows who {author!r} is, who wrote commits that this deploys. {_REMEDY}")
        else:
            excluded[person] = "wrote commits that this deploys"
    people = {person for each in asked if (person := _person(rules, each))}
    if not people:
        who = f"who {' or '.join(map(repr, asked))} is, who" if any(asked) else "who"
        unknown.append(f"nobody knows {who} asked for the run. {_REMEDY}")
    for person in sorted(people):
        excluded[person] = f"{excluded[person]}, and asked for the run" if person in excluded else "asked for the run"
    return excluded, unknown


_REMEDY = "Add the address or login to `people`."


def _person(rules: Rules, identity: str) -> str | None:
    return rules.identities.get(gate_people.identity(identity))


def _decision(
    rules: Rules, counted: list[Counted], refused: list[Refused], excluded: Mapping[str, str], unknown: list[str]
) -> Decision:
    rejects = [each for each in counted if each.decision == "reject"]
    people = {each.person for each in counted if each.decision == "approve"}
    missing = max(0, rules.people - len(people))
    if rejects:
        reasons = [f"{each.person!r} rejected it: {each.reason}" for each in rejects]
        return Decision("rejected", counted, refused, missing, reasons)
    so_far = f"{len(people)} of {rules.people} approved{f': {_named(people)}' if people else ''}"
    if not missing and not unknown:
        return Decision("open", counted, refused, 0, [so_far])
    waiting = [so_far, *_who_may(rules, people, excluded)] if missing else [so_far]
    able = set(rules.approvers) - people - set(excluded)
    return Decision("waiting", counted, refused, missing, unknown + waiting, stuck=bool(unknown) or len(able) < missing)


def _who_may(rules: Rules, people: Collection[str], excluded: Mapping[str, str]) -> list[str]:
    able = sorted(person for person in rules.approvers if person not in people and person not in excluded)
    lines = [f"who may approve: {_named(able)}" if able else "nobody is left who may approve"]
    return lines + [
        f"{person!r} may not: {excluded[person]}" for person in sorted(rules.approvers) if person in excluded
    ]


def _named(people: Iterable[str]) -> str:
    return ", ".join(sorted(people)) or "nobody"


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


# What became different


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Name the fields in which two subjects differ, dotted: `images.Hello.config`, `changes[2].action`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in _difference(old, new, key, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found
            for index, pair in enumerate(zip(old, new, strict=True))
            for found in differences(*pair, f"{path}[{index}]")
        ]
    return [] if _equal(old, new) else [path or "the subject"]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], key: str, path: str) -> list[str]:
    """What is null is not what is missing: the digest tells them apart, so must we."""
    return differences(old[key], new[key], path) if key in old and key in new else [path]


def _equal(old: Any, new: Any) -> bool:
    """Equal as JSON is: true is not 1, 1 is not 1.0."""
    return digest.canonical(old) == digest.canonical(new)
