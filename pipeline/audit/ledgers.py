"""Ledgers: whether what was let through was let through by the rules. Pure: events, documents and runs in, findings out.

1. Events are numbered from 0 without a gap, each an envelope in its one form, signed by the key that it names; if keys are
   pinned, that key is enrolled as gate.
2. Each has the digest that the one after it says, and fits those before it: opening, enrolment, changes, intents, outcomes.
3. A change of rules is what it says it is, and people who may by the old rules approved a weaker set.
4. A deployment was intended by an attempt of its run that had looked at its gate and went on, over just this subject.
5. That subject is what the record gives: the attempt's proposal, the rules it was judged by, the verdicts of the run's scans.
6. By those rules, at that time, the approvals that are recorded open the gate, and the ledger names just those that counted.
7. What came of it is what the attempt says.
8. Each attempt that applied something behind a gate stands in the ledger, and its outcome once it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.errors import VerificationFailed
from pipeline.gates import decide, rules, statements, subjects
from pipeline.record import chain, digest, ledger
from pipeline.record.writer import event_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.gates.decide import Decision
    from pipeline.gates.rules import Rules
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.ledger import Ledger
    from pipeline.record.replay import Attempt, Run
    from pipeline.signing.signers import Trust

_SLACK = timedelta(seconds=1)
"""A gate is looked at just before that is written down, and approvals expire to the second."""


@dataclass(frozen=True)
class Entry:
    """An event of a ledger, and the ledger as it was before it."""

    event: Event
    before: Ledger


@dataclass(frozen=True)
class Book:
    """A ledger as it was found. `entries` end where something is broken; `signed_by` are fingerprints."""

    name: str
    entries: tuple[Entry, ...]
    signed_by: frozenset[str]
    findings: tuple[Finding, ...]

    def key(self, entry: Entry) -> str:
        """Give the key of an entry's object."""
        return event_key(self.name, entry.event.seq)

    def of(self, kind: str) -> Iterator[Entry]:
        """Give the entries of a type."""
        return (each for each in self.entries if each.event.type == kind)

    def is_at(self, length: Any, sha256: Any) -> bool:
        """Tell whether the ledger had this head when it was this long."""
        return (
            isinstance(length, int)
            and 0 < length <= len(self.entries)
            and self.entries[length - 1].event.digest == sha256
        )


@dataclass(frozen=True)
class Looked:
    """That an attempt looked at its gate and went on: when, and over which subject (a digest)."""

    at: datetime
    subject: str
    judged_by: str
    ledger: dict[str, Any] | None


@dataclass(frozen=True)
class Evidence:
    """What the record holds of a run that stands in a ledger.

    `looked` is how each attempt that went on looked at its gate, by the attempt's name; `documents` are approvals, `subjects`
    what was approved, both by digest.
    """

    run: Run
    plan: Plan
    looked: Mapping[str, Looked]
    documents: Mapping[str, bytes]
    subjects: Mapping[str, Any]


def examine(name: str, objects: Mapping[str, bytes], trust: Trust | None) -> Book:
    """Rules 1 and 2. `objects` are keyed by their names in the store."""
    found: list[Finding] = []
    entries: list[Entry] = []
    signed_by: set[str] = set()
    state = ledger.Ledger(name)
    for seq, (key, data) in enumerate(objects.items()):
        where = event_key(name, seq)
        if f"{name}/{key}" != where:
            found.append(broken(where, f"is missing, and {key} is there"))
            break
        with reading(where, found):
            envelope = ledger.decode(data, where)
            event = chain.decode(envelope.payload, name)
            chain.check_link(event, seq, entries[-1].event if entries else None, name)
            signed_by.add(ledger.check_signer(event, envelope, where, trust))
            _check_place(event, state)
            entries.append(Entry(event, state))
            state = ledger.after(state, event)
        if found:
            break
    return Book(name, tuple(entries), frozenset(signed_by), tuple(found))


def rule_changes(book: Book, entry: Entry) -> list[Finding]:
    """Rule 3, but for who approved: that a change is of the kind it says."""
    found: list[Finding] = []
    key, data = book.key(entry), entry.event.data
    with reading(key, found):
        new = rules.from_json(data["rules"], key)
        if entry.event.type == ledger.RULES_CHANGED:
            change = rules.compare(rules.from_json(entry.before.rules, key), new)
            if change.kind != data["kind"]:
                found.append(broken(key, "says of the change of rules what it is not", change.kind, data["kind"]))
    return found


def weakened(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rule 3 for a weaker set: it was approved by the old rules, as part of what was approved."""
    found: list[Finding] = []
    key, data = book.key(entry), entry.event.data
    with reading(key, found):
        old, new = rules.from_json(entry.before.rules, key), rules.from_json(data["rules"], key)
        if not data["approvals"]:
            return [broken(key, "makes the rules weaker, and nobody approved that")]
        signed = statements.parse(statements.open_up(evidence.documents[data["approvals"][0]["document"]])[0])
        subject = evidence.subjects[signed.subject]
        if subject["rules"] != {"judged_by": old.digest, "wanted": new.digest}:
            found.append(broken(key, "makes the rules weaker, and what was approved is something else"))
        found += _opened(key, _decide(book, entry, evidence, old, subject), data["approvals"])
    return found


def looked(events: tuple[Event, ...]) -> Looked | None:
    """Give how an attempt looked at its gate, if it went on after that."""
    for event in reversed(events):
        if event.type == chain.GATE_LOOKED_AT and event.data["goes_on"]:
            at = datetime.fromisoformat(event.at)
            return Looked(at, event.data["subject"], event.data["judged_by"], event.data["ledger"])
    return None


def intended(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rules 4, 5 and 6 for one intent."""
    found: list[Finding] = []
    key, data, run = book.key(entry), entry.event.data, evidence.run
    with reading(key, found):
        stage = evidence.plan.stages.get(data["stage"])
        if stage is None or stage.target is None or not stage.rules or ledger.name_of(stage.target) != book.name:
            return [broken(key, f"run {run.id} has no stage {data['stage']!r} with a gate to this target")]
        attempt = next((each for each in run.attempts.get(stage.name, []) if each.number == data["attempt"]), None)
        seen = evidence.looked.get(attempt.name) if attempt else None
        if attempt is None or seen is None or attempt.proposal is None:
            return [broken(key, f"attempt {data['attempt']} of {stage.name} did not look at its gate and go on")]
        found += _as_recorded(key, data, run, stage, seen)
        wanted = rules.from_json(stage.rules, key)
        judged_by, _ = subjects.judge(_in_force(book, entry, run), wanted)
        found += _rules_in_place(key, entry, judged_by, wanted)
        subject = evidence.subjects[data["subject"]]
        expected = _composed(evidence, attempt, subject, judged_by, wanted)
        for field in decide.differences(expected, subject):
            found.append(broken(key, f"what was let through is not what the run proposed: {field}"))
        for config in subjects.not_passed(subject, judged_by):
            found.append(broken(key, f"was let through, though no scan passed the image {config}"))
        found += _opened(key, _decide(book, entry, evidence, judged_by, subject, at=seen.at), data["approvals"])
    return found


def outcome(book: Book, entry: Entry, run: Run) -> list[Finding]:
    """Rule 7 for the outcome of a deployment of this run."""
    found: list[Finding] = []
    key, data = book.key(entry), entry.event.data
    with reading(key, found):
        first = (entry.before.intent or {}).get("attempt", 0)
        told = [
            (each.outcome, each.facts.get("functions", {}))
            for each in run.attempts.get(data["stage"], [])
            if each.number >= first
        ]
        if (data["outcome"], data["functions"]) not in told:
            found.append(broken(key, f"tells of another outcome than the attempts of {data['stage']} in run {run.id}"))
    return found


def accounted(book: Book, attempt: Attempt, evidence: Evidence) -> list[Finding]:
    """Rule 8 for an attempt that went on after looking at its gate."""
    found: list[Finding] = []
    run, seen = evidence.run, evidence.looked[attempt.name]
    if seen.ledger and not book.is_at(seen.ledger["length"], seen.ledger["head"]):
        text = f"is not what {attempt.name} of run {run.id} had seen of it"
        found.append(broken(book.name, text, seen.ledger["head"], f"{len(book.entries)} events"))
    mine = [each for each in book.of(ledger.DEPLOYMENT_INTENDED) if _is_of(each.event.data, attempt, evidence)]
    if not mine and attempt.phase == "apply":
        text = f"holds no intent of {attempt.name} of run {run.id}, which applied what it proposed"
        return [*found, broken(book.name, text)]
    if not mine:
        return found  # it was killed between looking and writing that down
    told = [
        each
        for each in book.of(ledger.DEPLOYMENT_FINISHED)
        if each.event.seq > mine[-1].event.seq
        and (each.event.data["run"], each.event.data["stage"]) == (run.id, attempt.stage)
    ]
    if attempt.outcome in ("succeeded", "failed") and not told:
        text = f"does not hold that {attempt.name} of run {run.id} {attempt.outcome}: its end was cut off"
        found.append(broken(book.name, text))
    elif not told:
        found.append(missing(book.key(mine[-1]), f"what {attempt.name} began has no outcome yet"))
    return found


def _is_of(intent: Mapping[str, Any], attempt: Attempt, evidence: Evidence) -> bool:
    """Tell whether an attempt acted on this intent: it wrote it, or went on with what an older attempt had begun."""
    if (intent["run"], intent["stage"]) != (evidence.run.id, attempt.stage) or intent["attempt"] > attempt.number:
        return False
    theirs, ours = intent["subject"], evidence.looked[attempt.name].subject
    if theirs == ours:
        return True
    first, second = (
        evidence.subjects.get(theirs, {}),
        evidence.subjects.get(ours, {}),
    )  # other rules may be in force by then
    return bool(first) and bool(second) and decide.differences(first["proposal"], second["proposal"]) == []


def _check_place(event: Event, before: Ledger) -> None:
    """Rule 2, what `ledger.after` leaves open. Raises VerificationFailed."""
    if (event.type == ledger.TARGET_ENROLLED) != (event.seq == 1):
        raise VerificationFailed(
            f"event {event.seq} is {event.type}: a target is enrolled right after the opening, and once"
        )
    if event.type == ledger.DEPLOYMENT_INTENDED and before.intent and before.intent["run"] == event.data["run"]:
        same = before.intent["stage"] == event.data["stage"]
        if same and before.intent["attempt"] == event.data["attempt"]:
            raise VerificationFailed(f"event {event.seq} intends a second time what is under way")


def _as_recorded(key: str, data: Mapping[str, Any], run: Run, stage: PlannedStage, seen: Looked) -> list[Finding]:
    """What an intent copies from its run."""
    expected = {
        "opening": run.head.digest,
        "kind": stage.kind,
        "subject": seen.subject,
        "judged_by": seen.judged_by,
        "requester": run.data.get("requester"),
        "commit": (run.data.get("source") or {}).get("commit"),
    }
    return [
        broken(key, f"has another {name} than run {run.id}", value, data.get(name))
        for name, value in expected.items()
        if data.get(name) != value
    ]


def _in_force(book: Book, entry: Entry, run: Run) -> Rules | None:
    """Give the rules that were in force when this run came: a change just before its intent is its own."""
    before = book.entries[entry.event.seq - 1]
    own = before.event.type in (ledger.RULES_CHANGED, ledger.TARGET_ENROLLED) and before.event.data["run"] == run.id
    value = before.before.rules if own else entry.before.rules
    return rules.from_json(value, book.name) if value else None


def _rules_in_place(key: str, entry: Entry, judged_by: Rules, wanted: Rules) -> list[Finding]:
    found = []
    named = entry.event.data["judged_by"]
    if named != judged_by.digest:
        found.append(broken(key, "was judged by other rules than those in force", judged_by.digest, named))
    there = digest.of_bytes(digest.canonical(entry.before.rules))
    if there != wanted.digest:
        found.append(broken(key, "stands after other rules than its plan has", wanted.digest, there))
    return found


def _composed(evidence: Evidence, attempt: Attempt, subject: Any, judged_by: Rules, wanted: Rules) -> dict[str, Any]:
    """Give the subject as the record has it. Verdicts that nobody had by then are left out."""
    run, stages = evidence.run, evidence.plan.stages
    scans = [done.facts for name, each in stages.items() if each.kind == "scan" and (done := run.done(name))]
    known = subjects.verdicts(scans)
    verdicts = {config: verdict for config, verdict in known.items() if subject["scan"].get(config) is not None}
    proposal = attempt.proposal.subject if attempt.proposal else {}
    return subjects.compose(attempt.stage, proposal, judged_by=judged_by, wanted=wanted, verdicts=verdicts)


def _decide(
    book: Book, entry: Entry, evidence: Evidence, judged_by: Rules, subject: Any, *, at: datetime | None = None
) -> Decision:
    """Ask the gate's own rules again, with what the ledger says was received, and when. Raises VerificationFailed."""
    run, stage = evidence.run, evidence.plan.stages[subject["stage"]]
    if stage.target is None or ledger.name_of(stage.target) != book.name:
        raise VerificationFailed(f"{book.key(entry)}: what was approved is for another target", where=book.key(entry))
    received = [
        decide.Received(evidence.documents[each["document"]], datetime.fromisoformat(each["received_at"]))
        for each in entry.event.data["approvals"]
    ]
    target = statements.target_of(stage.target)
    return decide.decide(
        received,
        judged_by,
        proposal=decide.Proposed(run.id, stage.name, target, decide.subject_digest(subject)),
        now=(at or datetime.fromisoformat(entry.event.at)) - _SLACK,
        requester=subjects.requesters(run.data),
        authors=(run.data.get("authors") or {}).get(book.name),
        used=entry.before.used,
    )


def _opened(key: str, decision: Decision, approvals: list[dict[str, Any]]) -> list[Finding]:
    """Rule 6: the gate opens, and by just those who are recorded."""
    if decision.state != "open":
        reasons = [each.reason for each in decision.refused] + decision.reasons
        return [broken(key, f"was let through, and the gate was {decision.state}: {'; '.join(reasons)}")]
    counted = {(each.digest, each.person, each.key) for each in decision.counted}
    named = {(each["statement"], each["person"], each["key"]) for each in approvals}
    return [] if counted == named else [broken(key, "names other approvals than those that counted")]
