"""Ledgers: whether what was let through was let through by the rules. Pure: events, documents and runs in, findings out.

1. Events are numbered from 0 without a gap, each an envelope in its one form, signed by the key that it names; if keys are
   pinned, that key is enrolled as gate.
2. Each has the digest that the one after it says, and fits those before it: opening, enrolment, changes, intents, outcomes.
3. A change of rules is what it says it is, and people who may by the old rules, with what is stricter in the new ones, approved a weaker set.
4. A deployment was intended by an attempt of its run that had looked at its gate and went on, over just this subject and on
   the ledger just as it was.
5. That subject is what the record gives: the attempt's proposal, the rules it was judged by, the verdicts of the run's scans.
6. By those rules, at that time, the approvals that are recorded open the gate, and the ledger names just those that counted.
7. What came of it is what an attempt says that acted on it: the one that intended it, or one that went on after that had died or
   lost sight of it.
8. Each attempt that applied something behind a gate stands in the ledger, also one that went on with what an older one had begun, and
   the outcome once it is decided. The ledger is what each attempt had seen of it.
9. What an attempt found rejected, none that came after it was let through to do.
10. Nothing older was put over something newer: what was let through was not outdated then, and what was held up as that, was.
11. Where another run's deployment had begun and was neither over nor superseded, it says so: it came after one that had died.
12. What was let through by breaking the glass, was by those who might, and waives no more than they signed; the rules were not
    made weaker by that. Its review is by somebody else who might, and had seen that. What nobody has reviewed yet is told.
13. No freeze of the rules that it was judged by lasted when it was let through, and one did when it was held up as frozen, by what
    the store's clock said then.
14. What went back to an older release by the shorter rule is what the run that it names had deployed there, by the same ledger, and
    stood before what stood then; it was the last to be deployed since it was opened. What else such a run did behind the gate, was by the
    rules in force, and changed none. While it holds up others, from its intent on, none was let through, and what was held up was held.
15. Nothing was let through while its target was locked, whoever broke the glass.
16. Nor was anything that somebody who may had rejected, whose word still lies in the inbox and came before the gate was looked at.
17. What went on with something that had begun, and began it anew, did so at a target that was not locked, held or frozen by then, unless
    breaking the glass had waived the freeze when it was let through; and rule 16 holds for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.errors import VerificationFailed
from pipeline.gates import decide, freezes, order, rollbacks, rules, statements, subjects
from pipeline.record import chain, digest, ledger, replay
from pipeline.record.writer import event_key
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.gates.decide import Decision
    from pipeline.gates.order import Opened
    from pipeline.gates.rules import Rules
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Attempt, Run
    from pipeline.signing.signers import Trust

Applied = tuple[str, Any, bool]
"""What came of a stage: the outcome, its functions, and whether it deleted a stack though it is no `delete`."""

_SLACK = timedelta(seconds=1)
"""A gate is looked at just before that is written down, and approvals expire to the second. Since a gate says what the store's
clock said, none is needed."""

_UNSEEN = timedelta(seconds=5)
"""A gate may not have seen what came just before it looked: an object's time is to the second, and of when its writing began."""


@dataclass(frozen=True)
class Entry:
    """An event of a ledger, and the ledger as it was before it."""

    event: Event
    before: Ledger


@dataclass(frozen=True)
class Book:
    """A ledger as it was found. `entries` end where something is broken, `end` is the ledger after them; `signed_by` are fingerprints."""

    name: str
    entries: tuple[Entry, ...]
    signed_by: frozenset[str]
    findings: tuple[Finding, ...]
    end: Ledger

    def key(self, entry: Entry) -> str:
        """Give the key of an entry's object."""
        return event_key(self.name, entry.event.seq)

    def at(self, length: int) -> Ledger:
        """Give the ledger as it was when it had so many events."""
        return self.entries[length].before if length < len(self.entries) else self.end

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
    """That an attempt looked at its gate and went on: when, and over which subject (a digest). `clock` is the store's."""

    clock: datetime
    subject: str
    judged_by: str
    ledger: dict[str, Any] | None

    @property
    def length(self) -> int:
        """How many events the ledger had then."""
        return int(self.ledger["length"]) if self.ledger else 0


@dataclass(frozen=True)
class Evidence:
    """What the record holds of a run that stands in a ledger.

    `looks` is how each attempt that went on looked at its gate, the last time last, `applied` what came of that, both by the attempt's name;
    `documents` are approvals, `subjects` what was approved, both by digest. `opened` says where the runs stand that
    have deployed to the same targets since this one was opened, by the digests of their openings. `inbox` is what lies there for each stage.
    """

    run: Run
    plan: Plan
    looks: Mapping[str, tuple[Looked, ...]]
    applied: Mapping[str, Applied | None]
    documents: Mapping[str, bytes]
    subjects: Mapping[str, Any]
    opened: Mapping[str, Opened]
    inbox: Mapping[str, tuple[decide.Received, ...]] = field(default_factory=dict)

    @property
    def looked(self) -> dict[str, Looked]:
        """How each attempt that went on had looked at its gate by then."""
        return {name: each[-1] for name, each in self.looks.items()}


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
    return Book(name, tuple(entries), frozenset(signed_by), tuple(found), state)


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
    """Rule 3 for a weaker set: an attempt that went on had asked for it, and by what `subjects.judge` says counts that was let through."""
    found: list[Finding] = []
    key, data = book.key(entry), entry.event.data
    with reading(key, found):
        old, new = rules.from_json(entry.before.rules, key), rules.from_json(data["rules"], key)
        if old.people and not data["approvals"]:
            return [broken(key, "makes the rules weaker, and nobody approved that")]
        judged_by, _, _ = subjects.judge(old, new)
        asked = {"judged_by": judged_by.digest, "wanted": new.digest}
        for attempt in (each for attempts in evidence.run.attempts.values() for each in attempts):
            stage = evidence.plan.stages.get(attempt.stage)
            for seen in evidence.looks.get(attempt.name, ()):
                if stage and seen.length == entry.event.seq and ledger_of(stage) == book.name:
                    subject = evidence.subjects[seen.subject]
                    if subject["rules"] == asked:
                        return _let_through(book, entry, evidence, attempt, seen, judged_by=judged_by, wanted=new)
        found.append(
            broken(key, f"makes the rules weaker, and no attempt of run {evidence.run.id} that went on asked for that")
        )
    return found


def looks(events: tuple[Event, ...]) -> Iterator[Looked]:
    """Give each time that an attempt looked at its gate and was to go on: again, if somebody else wrote to the ledger just then."""
    for event in events:
        if event.type == chain.GATE_LOOKED_AT and event.data["goes_on"]:
            told = event.data.get("clock")
            clock = datetime.fromisoformat(told) if told else datetime.fromisoformat(event.at) - _SLACK
            yield Looked(clock, str(event.data["subject"]), str(event.data["judged_by"]), event.data["ledger"])


def applied(events: tuple[Event, ...], kind: str) -> Applied | None:
    """Give what an attempt says of what it applied; None if it does not say."""
    for event in reversed(events):
        if event.type == chain.PHASE_FINISHED and event.data["phase"] == "apply":
            facts = event.data["facts"]
            return str(event.data["outcome"]), facts.get("functions", {}), ledger.deletes(kind, facts)
    return None


def intended(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rules 4, 5 and 6 for one intent."""
    found: list[Finding] = []
    key, data, run = book.key(entry), entry.event.data, evidence.run
    with reading(key, found):
        stage = evidence.plan.stages.get(data["stage"])
        if stage is None or ledger_of(stage) != book.name:
            return [broken(key, f"run {run.id} has no stage {data['stage']!r} with a gate to this target")]
        attempt = next((each for each in run.attempts.get(stage.name, []) if each.number == data["attempt"]), None)
        seen = evidence.looked.get(attempt.name) if attempt else None
        if attempt is None or seen is None or attempt.proposal is None:
            return [broken(key, f"attempt {data['attempt']} of {stage.name} did not look at its gate and go on")]
        found += _as_recorded(key, data, run, stage, seen)
        origin = _origin(book, entry.event.seq, run, stage)
        if evidence.plan.releases(stage):
            found += _in_order(book, entry, evidence, origin)
        proposal = subjects.proposal_digest(attempt.proposal)
        if data["proposal"] != proposal:
            found.append(broken(key, "lets through another proposal than the attempt has", proposal, data["proposal"]))
        between = book.entries[seen.length : entry.event.seq]
        if seen.length > entry.event.seq or not all(_is_own(each.event, run.id) for each in between):
            found.append(broken(key, f"was not decided on the ledger as it was then, but with {seen.length} events"))
            return found
        wanted = rules.from_json(stage.rules, key)
        in_force = book.entries[seen.length].before.rules
        judged_by, wanted, change = subjects.judge(
            rules.from_json(in_force, book.name) if in_force else None,
            wanted,
            goes_back=origin is not None,
            kind=stage.kind,
        )
        if rollbacks.is_rollback(run.data) and stage.kind == "deploy":
            found += _as_it_ran(key, origin, attempt, evidence)
        found += _rules_in_place(key, entry, judged_by, wanted)
        waived = _waived(data)
        if waived and change and change.kind == "weaker":
            found.append(broken(key, "made the rules weaker by breaking the glass"))
        found += _kept_out(key, entry, judged_by, seen, waived)
        found += _overheard(key, entry, evidence, seen, judged_by)
        found += _let_through(book, entry, evidence, attempt, seen, judged_by=judged_by, wanted=wanted)
        found += _comes_after(key, entry, run)
    return found


def _comes_after(key: str, entry: Entry, run: Run) -> list[Finding]:
    """Rule 11."""
    others = {which for which in entry.before.unsettled if which[0] != run.id}
    named = {(each["run"], each["stage"]) for each in entry.event.data.get("after") or []}
    text = "was let through while another run's deployment was under way, and names others"
    superseded = {which for which in entry.before.superseded if which[0] != run.id}  # may be named, and need not be
    return [broken(key, text, sorted(others), sorted(named))] if others != named - superseded else []


def resumed(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rules 4, 11 and 17 for an attempt that goes on with what an older one had begun."""
    found: list[Finding] = []
    key, data, run = book.key(entry), entry.event.data, evidence.run
    with reading(key, found):
        attempt = next((each for each in run.attempts.get(data["stage"], []) if each.number == data["attempt"]), None)
        seen = evidence.looked.get(attempt.name) if attempt else None
        if attempt is None or seen is None:
            return [broken(key, f"attempt {data['attempt']} of {data['stage']} did not look at its gate and go on")]
        intent = governing(book, attempt, evidence)
        if intent is None or intent.event.data["attempt"] == attempt.number:
            found.append(broken(key, f"goes on with what no older attempt of {attempt.stage} had begun"))
        if seen.length != entry.event.seq:
            found.append(broken(key, f"was not decided on the ledger as it was then, but with {seen.length} events"))
        found += _comes_after(key, entry, run)
        if KINDS[evidence.plan.stages[attempt.stage].kind].begins_anew:
            waived = _waived(intent.event.data) if intent else frozenset()
            found += _begun_anew(book, entry, evidence, seen, waived)
    return found


def _kept_out(key: str, entry: Entry, judged_by: Rules, seen: Looked, waived: frozenset[str]) -> list[Finding]:
    """Rules 13 and 15 for what was let through: neither a freeze nor a lock was there."""
    found: list[Finding] = []
    frozen = freezes.frozen(judged_by.freezes, seen.clock)
    if frozen and "window" not in waived:
        found.append(broken(key, f"was let through at {seen.clock.isoformat()}, when the target was {frozen}"))
    lock = entry.before.lock
    if lock:
        by = ledger.asked_for_by(lock["by"])
        found.append(broken(key, f"was let through, though it was locked by {by} since {lock['at']}"))
    return found


def _overheard(key: str, entry: Entry, evidence: Evidence, seen: Looked, judged_by: Rules) -> list[Finding]:
    """Rule 16: nobody who might had said no."""
    if not judged_by.people:
        return []
    stage = evidence.plan.stages[entry.event.data["stage"]]
    target = statements.target_of(stage.target) if stage.target else {}
    proposal = decide.Proposed(evidence.run.id, stage.name, target, seen.subject)
    for each in evidence.inbox.get(stage.name, ()):
        if each.at + _UNSEEN <= seen.clock:
            one = decide.check(each.document, judged_by, proposal=proposal, received_at=each.at, now=seen.clock)
            if isinstance(one, decide.Counted) and one.decision == "reject":
                return [broken(key, f"was let through, though {one.person!r} had rejected it at {each.at.isoformat()}")]
    return []


def _begun_anew(book: Book, entry: Entry, evidence: Evidence, seen: Looked, waived: frozenset[str]) -> list[Finding]:
    """Rule 17."""
    seq, run, before, key = entry.event.seq, evidence.run, entry.before, book.key(entry)
    stage = evidence.plan.stages[entry.event.data["stage"]]
    judged_by = _judged_by(book, seq, run, stage)
    held = before.held_against(run.id) and evidence.plan.releases(stage) and not _origin(book, seq, run, stage)
    frozen = freezes.frozen(judged_by.freezes, seen.clock) if "window" not in waived else None
    against = {"was locked": before.lock, "was held by a rollback": held, f"was {frozen}": frozen}
    found = [broken(key, f"begins anew, though the target {each}") for each, is_so in against.items() if is_so]
    return found + _overheard(key, entry, evidence, seen, judged_by)


def _in_order(book: Book, entry: Entry, evidence: Evidence, origin: Deployment | None) -> list[Finding]:
    """Rules 10 and 14 for what was let through: nothing was held, and nothing newer there."""
    found: list[Finding] = []
    key, run = book.key(entry), evidence.run
    hold = entry.before.held_against(run.id)
    if hold and not origin:
        did = "had gone back" if hold.over else "had begun to go back"
        text = f"was let through, though run {hold.run} {did} there, and that holds up all others"
        found.append(broken(key, text))
    newer, goes_back = _newer(book, entry.event.seq, evidence), rollbacks.is_rollback(run.data)
    if newer and (goes_back or newer.opening in evidence.opened):
        later = "after this rollback was opened" if goes_back else "opened later"
        text = f"was let through, though it was outdated: run {newer.run}, {later}, had deployed to this target"
        found.append(broken(key, text))
    elif newer:
        found.append(_not_told(newer, run))
    return found


def origin(book: Book, run: Run) -> list[str]:
    """Give the digests of what was let through where a rollback goes back to: the subjects to compare with."""
    if not rollbacks.is_rollback(run.data):
        return []
    made = ledger.deployments(each.event for each in book.entries)
    back_to = [each for each in made if each.run == run.data["inherits"]["run"]]
    return [str(each.subject) for each in back_to]


def _origin(book: Book, length: int, run: Run, stage: PlannedStage) -> Deployment | None:
    """Give the deployment that a run goes back to, as the ledger had it when it was this long."""
    if not rollbacks.is_rollback(run.data):
        return None
    named = stage.name if stage.kind == "deploy" else None
    return rollbacks.origin(run, ledger.made(each.event for each in book.entries[:length]), named)


def _as_it_ran(key: str, origin: Deployment | None, attempt: Attempt, evidence: Evidence) -> list[Finding]:
    """Rule 14: what goes back is what ran."""
    if origin is None:
        text = "went back by the shorter rule to a release of which this ledger has no deployment before what stood"
        return [broken(key, text)]
    then, proposal = evidence.subjects[str(origin.subject)], attempt.proposal
    now = proposal.subject if proposal else {}
    return [
        broken(key, f"went back by the shorter rule to what run {origin.run} had not deployed: another {name}")
        for name in rollbacks.differing(then["proposal"], now)
    ]


def outcome(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rule 7 for the outcome of a deployment of this run."""
    found: list[Finding] = []
    key, data, run = book.key(entry), entry.event.data, evidence.run
    with reading(key, found):
        told = [
            evidence.applied.get(each.name)
            for each in run.attempts.get(data["stage"], [])
            if (intent := governing(book, each, evidence))
            and _acted(each, intent)
            and _closed_by(book, intent) is entry
        ]
        if _told(data) not in told:
            found.append(broken(key, f"tells of another outcome than the attempts of {data['stage']} in run {run.id}"))
    return found


def governing(book: Book, attempt: Attempt, evidence: Evidence) -> Entry | None:
    """Give the intent on which an attempt acted: its own, or that of an older attempt which had died, and which it goes on with."""
    seen = evidence.looked.get(attempt.name)
    if seen is None:
        return None
    which = (evidence.run.id, attempt.stage)
    mine = [each for each in book.of(ledger.DEPLOYMENT_INTENDED) if _which(each.event.data) == which]
    own = [each for each in mine if each.event.data["attempt"] == attempt.number]
    if own:
        return own[0]
    begun = [each for each in mine if each.event.seq < seen.length and each.event.data["attempt"] < attempt.number]
    closing = _closed_by(book, begun[-1]) if begun else None
    if not begun or (closing and closing.event.seq < seen.length):
        return None
    older = [each for each in evidence.run.attempts.get(attempt.stage, []) if each.number < attempt.number]
    if not replay.applied_since(older, begun[-1].event.data["attempt"]):
        return None  # nothing had begun yet
    theirs, ours = (evidence.subjects.get(each) for each in (begun[-1].event.data["subject"], seen.subject))
    if not theirs or not ours:  # other rules may be in force by then, but not another proposal
        return None
    return begun[-1] if decide.differences(theirs["proposal"], ours["proposal"]) == [] else None


def seen_so_far(book: Book, run: Run, name: str, heads: Iterable[Any]) -> list[Finding]:
    """Rule 2 from outside: an attempt that looked at its gate, whether or not it went on, says how the ledger was then."""
    found: list[Finding] = []
    for each in heads:
        if each is not None and not book.is_at(each["length"], each["head"]):
            text = f"is not what {name} of run {run.id} had seen of it"
            found.append(broken(book.name, text, each["head"], f"{len(book.entries)} events"))
    return found


def since_opened(book: Book, run: Run) -> list[Deployment]:
    """Give what other runs have deployed to a target since a run was opened."""
    since = order.of(run, book.name).since
    made = ledger.deployments(each.event for each in book.entries)
    return [each for each in made if each.seq >= since and each.run != run.id]


def held_up(book: Book, attempt: Attempt, events: Iterable[Event], evidence: Evidence) -> list[Finding]:
    """Rules 10 to 14 for an attempt that was held up: whoever is by a word of the runner's own alone, is kept out by it."""
    found: list[Finding] = []
    for event in events:
        if event.type != chain.GATE_LOOKED_AT or event.data["state"] not in ("outdated", *_NOT_HELD):
            continue
        length = event.data["ledger"]["length"] if event.data["ledger"] else 0
        key = event_key(f"runs/{evidence.run.id}/{attempt.name}", event.seq)
        if event.data["state"] == "outdated":
            found += _held_up_outdated(book, length, key, evidence)
        elif not _was_held(book, length, event, evidence.run, evidence.plan.stages[attempt.stage]):
            found.append(broken(key, _NOT_HELD[event.data["state"]]))
    return found


_NOT_HELD = {
    "frozen": "says that the target was frozen, and by the rules in force it was not",
    "held": "says that deployments were held up there, and they were not",
    "locked": "says that the target was locked, and it was not",
    "busy": "says that another run was deploying there, and none had begun",
}


def _was_held(book: Book, length: int, event: Event, run: Run, stage: PlannedStage) -> bool:
    """Tell whether a target was held as an attempt says, by the ledger as it then was."""
    state, before = event.data["state"], book.at(length)
    if state != "frozen":
        others = [which for which in before.intents if which[0] != run.id]
        return bool({"held": before.held_against(run.id), "locked": before.lock, "busy": others}[state])
    judged_by = _judged_by(book, length, run, stage)
    return freezes.frozen(judged_by.freezes, datetime.fromisoformat(event.data["clock"])) is not None


def _judged_by(book: Book, length: int, run: Run, stage: PlannedStage) -> Rules:
    """Give the rules that counted for a stage when the ledger was this long."""
    in_force = book.at(length).rules
    known = rules.from_json(in_force, book.name) if in_force else None
    goes_back = _origin(book, length, run, stage) is not None
    return subjects.judge(known, rules.from_json(stage.rules, book.name), goes_back=goes_back, kind=stage.kind)[0]


def _held_up_outdated(book: Book, length: int, key: str, evidence: Evidence) -> list[Finding]:
    if _newer(book, length, evidence):
        return []
    made = [each for each in since_opened(book, evidence.run) if each.seq < length]
    unknown = [each for each in made if each.opening not in evidence.opened]
    text = "says that it was outdated, and no run that was opened later had deployed there"
    return [_not_told(unknown[-1], evidence.run) if unknown else broken(key, text)]


def _not_told(other: Deployment, run: Run) -> Finding:
    text = f"is not here, so it cannot be told whether that run was opened later than run {run.id}"
    return missing(f"runs/{other.run}/open", text, other.opening)


def _newer(book: Book, length: int, evidence: Evidence) -> Deployment | None:
    """Give the deployment that makes one by this run outdated, when the ledger was this long."""
    run = evidence.run
    if rollbacks.is_rollback(run.data):
        return order.since(ledger.deployments(each.event for each in book.entries[:length]), run, book.name)
    made = [each for each in since_opened(book, run) if each.seq < length]
    return order.newer(made, order.of(run, book.name), lambda each: evidence.opened.get(each.opening))


def accounted(book: Book, attempt: Attempt, evidence: Evidence) -> list[Finding]:
    """Rule 8 for an attempt that went on after looking at its gate."""
    run, intent = evidence.run, governing(book, attempt, evidence)
    if intent is None or attempt.number not in _taken_up(book, intent):
        if attempt.phase != "apply":
            return []  # it was killed between looking and writing that down
        text = f"holds no intent of {attempt.name} of run {run.id}, which applied what it proposed"
        if intent:
            text = f"does not say that {attempt.name} of run {run.id} went on with what an older attempt had begun"
        return [broken(book.name, text)]
    closing = _closed_by(book, intent)
    if attempt.outcome in ("succeeded", "failed") and not attempt.undecided and _acted(attempt, intent):
        told = _told(closing.event.data) if closing else None
        if told is None:
            text = f"does not hold that {attempt.name} of run {run.id} {attempt.outcome}: its end was cut off"
            return [broken(book.name, text)]
        if told != evidence.applied.get(attempt.name):
            return [broken(book.name, f"tells of another outcome of {attempt.name} of run {run.id} than that has")]
    elif closing is None and not _superseded(book, intent):
        return [missing(book.key(intent), f"what {attempt.name} began has no outcome yet")]
    return []


def rejected(run: Run, events: Mapping[str, tuple[Event, ...]]) -> list[Finding]:
    """Rule 9. Whoever removes a reject from the inbox cannot remove that it was seen."""
    found: list[Finding] = []
    for attempts in run.attempts.values():
        subjects_rejected: set[str] = set()
        for attempt in attempts:
            name = f"runs/{run.id}/{attempt.name}"
            for event in events[attempt.name]:
                if event.type != chain.GATE_LOOKED_AT:
                    continue
                key = event_key(name, event.seq)
                with reading(key, found):
                    if event.data["goes_on"] and event.data["subject"] in subjects_rejected:
                        found.append(broken(key, "goes on with what an older attempt had found rejected"))
                    if event.data["state"] == "rejected":
                        subjects_rejected.add(event.data["subject"])
    return found


def _which(data: Mapping[str, Any]) -> tuple[Any, Any]:
    return data["run"], data["stage"]


def _told(data: Mapping[str, Any]) -> Applied:
    return data["outcome"], data["functions"], bool(data.get("deleted"))


def _closed_by(book: Book, intent: Entry) -> Entry | None:
    """Give the entry that ends what an intent began."""
    following = next(_later(book, intent), None)
    return following if following and following.event.type == ledger.DEPLOYMENT_FINISHED else None


def _acted(attempt: Attempt, intent: Entry) -> bool:
    """Tell whether what became of an attempt is what came of an intent: of an older one's, only if it began to apply that."""
    return attempt.phase == "apply" or attempt.number == intent.event.data["attempt"]


def _taken_up(book: Book, intent: Entry) -> set[int]:
    """Give the numbers of the attempts that the ledger says acted on an intent, or went on with it."""
    told = ledger.taken_up(each.event for each in book.entries[intent.event.seq :])
    return {each.data["attempt"] for each in told if _which(each.data) == _which(intent.event.data)}


def _superseded(book: Book, intent: Entry) -> bool:
    """Tell whether a later attempt of the stage, which proposed something else, was let through since."""
    return any(each.event.type == ledger.DEPLOYMENT_INTENDED for each in _later(book, intent))


def _later(book: Book, intent: Entry) -> Iterator[Entry]:
    """Give what stands of the same run and stage after an intent."""
    kinds = (ledger.DEPLOYMENT_INTENDED, ledger.DEPLOYMENT_FINISHED)
    later = (each for each in book.entries[intent.event.seq + 1 :] if each.event.type in kinds)
    return (each for each in later if _which(each.event.data) == _which(intent.event.data))


def _is_own(event: Event, run_id: str) -> bool:
    """Tell whether an event is what a runner writes just before its intent: opening, enrolment, or a change of rules."""
    kinds = (ledger.TARGET_ENROLLED, ledger.RULES_CHANGED)
    return event.type == chain.CHAIN_OPENED or (event.type in kinds and event.data["run"] == run_id)


def ledger_of(stage: PlannedStage) -> str | None:
    """Give the ledger in which what a stage does must stand; None if it has no gate."""
    return ledger.name_of(stage.target) if stage.target and stage.rules else None


def _check_place(event: Event, before: Ledger) -> None:
    """Rule 2, what `ledger.after` leaves open. Raises VerificationFailed."""
    locks = (ledger.LOCK_TAKEN, ledger.LOCK_RELEASED)
    if event.seq and event.type not in locks and (event.type == ledger.TARGET_ENROLLED) != (before.rules is None):
        raise VerificationFailed(
            f"event {event.seq} is {event.type}: a target is enrolled before all but locks, and once"
        )
    if (
        event.type in locks
        and event.data.get("run") is None
        and (event.type == ledger.LOCK_TAKEN) != (before.lock is None)
    ):
        raise VerificationFailed(
            f"event {event.seq} is {event.type}, and the target was {'' if before.lock else 'not '}locked"
        )
    if event.type == ledger.DEPLOYMENT_INTENDED:
        open_one = before.intents.get((event.data["run"], event.data["stage"]))
        if open_one and open_one["attempt"] == event.data["attempt"]:
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
        "way": rollbacks.way(run.data),
    }
    return [
        broken(key, f"has another {name} than run {run.id}", value, data.get(name))
        for name, value in expected.items()
        if data.get(name) != value
    ]


def _rules_in_place(key: str, entry: Entry, judged_by: Rules, wanted: Rules) -> list[Finding]:
    found = []
    named = entry.event.data["judged_by"]
    if named != judged_by.digest:
        found.append(broken(key, "was judged by other rules than those in force", judged_by.digest, named))
    there = digest.of_bytes(digest.canonical(entry.before.rules))
    if there != wanted.digest:
        found.append(broken(key, "stands after other rules than its plan has", wanted.digest, there))
    return found


def _let_through(
    book: Book, entry: Entry, evidence: Evidence, attempt: Attempt, seen: Looked, *, judged_by: Rules, wanted: Rules
) -> list[Finding]:
    """Rules 5 and 6: ask the gate's own rules again, with what the ledger says was received, and when."""
    key, run = book.key(entry), evidence.run
    subject, stage = evidence.subjects[seen.subject], evidence.plan.stages[attempt.stage]
    found = [
        broken(key, f"what was let through is not what the run proposed: {field}")
        for field in decide.differences(_composed(evidence, attempt, subject, judged_by, wanted), subject)
    ]
    waived = _waived(entry.event.data)
    unscanned = subjects.not_passed(subject, judged_by) if "scan" not in waived else []
    found += [broken(key, f"was let through, though no scan passed the image {config}") for config in unscanned]
    received = [
        decide.Received(evidence.documents[each["document"]], datetime.fromisoformat(each["received_at"]))
        for each in entry.event.data["approvals"]
    ]
    target = statements.target_of(stage.target) if stage.target else {}
    proposal = decide.Proposed(run.id, stage.name, target, decide.subject_digest(subject))
    used = book.entries[seen.length].before.used
    found += _glass_broken(key, entry.event.data, evidence, judged_by, proposal=proposal, now=seen.clock, used=used)
    decision = decide.decide(
        received,
        judged_by,
        proposal=proposal,
        now=seen.clock,
        requester=subjects.requesters(run.data),
        authors=(run.data.get("authors") or {}).get(book.name),
        used=used,
        anybody=stage.kind == "deploy" and _origin(book, seen.length, run, stage) is not None,
    )
    return found + _opened(key, decision, entry.event.data["approvals"], may_wait="approvals" in waived)


def _composed(evidence: Evidence, attempt: Attempt, subject: Any, judged_by: Rules, wanted: Rules) -> dict[str, Any]:
    """Give the subject as the record has it. Verdicts that nobody had by then are left out."""
    run, stages = evidence.run, evidence.plan.stages
    scans = [done.facts for name, each in stages.items() if each.kind == "scan" and (done := run.done(name))]
    known = subjects.verdicts(scans)
    verdicts = {config: verdict for config, verdict in known.items() if subject["scan"].get(config) is not None}
    proposal = attempt.proposal.subject if attempt.proposal else {}
    way = rollbacks.way(run.data)
    return subjects.compose(attempt.stage, proposal, judged_by=judged_by, wanted=wanted, verdicts=verdicts, way=way)


def _waived(data: Mapping[str, Any]) -> frozenset[str]:
    return frozenset((data.get("break_glass") or {}).get("waived", ()))


def _glass_broken(
    key: str, data: Mapping[str, Any], evidence: Evidence, judged_by: Rules, **more: Any
) -> list[Finding]:
    """Rule 12: ask again of each who broke the glass whether that counted, and of all together what they waived."""
    found: list[Finding] = []
    signed: set[str] = set()
    for each in (data.get("break_glass") or {}).get("statements", []):
        document, at = evidence.documents[each["document"]], datetime.fromisoformat(each["received_at"])
        one = decide.broken(document, judged_by, received_at=at, **more)
        if isinstance(one, decide.Refused):
            found.append(broken(key, f"was let through by breaking the glass, which does not count: {one.reason}"))
        elif (one.digest, one.person, one.key) != (each["statement"], each["person"], each["key"]):
            found.append(broken(key, "names another who broke the glass than signed that"))
        else:
            signed |= set(one.waives)
    asked, told = subjects.requesters(evidence.run.data), data.get("break_glass", {}).get("requesters")
    if "break_glass" in data and told != asked:
        found.append(broken(key, f"names others who asked for it than run {evidence.run.id}", asked, told))
    if not _waived(data) <= signed:
        text = "waives more than whoever broke the glass has signed"
        found.append(broken(key, text, sorted(signed), sorted(_waived(data))))
    return found


def reviewed(book: Book, entry: Entry, document: bytes | None) -> list[Finding]:
    """Rule 12 for a review. `document` is what was signed, None if it is not there, which is told elsewhere."""
    found: list[Finding] = []
    key, data = book.key(entry), entry.event.data
    with reading(key, found):
        in_force = rules.from_json(entry.before.rules, key)
        glass, at = entry.before.glass[data["of"]], datetime.fromisoformat(data["received_at"])
        if document is not None:
            one = decide.reviewed(
                document,
                in_force,
                run=glass["run"],
                of=data["of"],
                received_at=at,
                excluded=decide.not_reviewers(in_force, glass),
                heads=ledger.heads(book.name, (each.event for each in book.entries[glass["seq"] : entry.event.seq])),
            )
            if isinstance(one, decide.Refused):
                found.append(broken(key, f"is no review: {one.reason}"))
            elif (one.digest, one.person, one.key) != (data["statement"], data["person"], data["key"]):
                found.append(broken(key, "names another reviewer than signed that"))
    return found


def not_reviewed(book: Book, run_id: str) -> list[Finding]:
    """Rule 12: what of a run was let through by breaking the glass, and waits to be reviewed."""
    return [
        missing(
            book.name,
            f"let {each['stage']} of run {run_id} through as {each['person']} broke the glass, and nobody has reviewed that",
        )
        for each in book.end.glass.values()
        if each["run"] == run_id
    ]


def _opened(key: str, decision: Decision, approvals: list[dict[str, Any]], *, may_wait: bool) -> list[Finding]:
    """Rule 6: the gate opens, and by just those who are recorded; or it waits, and the glass was broken for that."""
    if decision.state != "open" and not (may_wait and decision.state == "waiting"):
        reasons = [each.reason for each in decision.refused] + decision.reasons
        return [broken(key, f"was let through, and the gate was {decision.state}: {'; '.join(reasons)}")]
    counted = {(each.digest, each.person, each.key) for each in decision.counted}
    named = {(each["statement"], each["person"], each["key"]) for each in approvals}
    return [] if counted == named else [broken(key, "names other approvals than those that counted")]
