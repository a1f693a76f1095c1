"""Ledgers as they are found, and what the runs that stand in them have left. Pure: objects and events in, books and findings out.

1. Events are numbered from 0 without a gap, each an envelope in its one form, signed by the key that it names; if keys are
   pinned, that key is enrolled as gate.
2. Each has the digest that the one after it says, and fits those before it: opening, enrolment, changes, intents, outcomes.
3. The ledger is what each run's opening, and each attempt that looked at its gate, had seen of it.

Whether what they say was right is judged in `intents`, `approvals` and `holds`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, reading
from pipeline.errors import VerificationFailed
from pipeline.gates import order, rollbacks
from pipeline.record import chain, ledger, ledgers
from pipeline.record.writer import event_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.gates.decide import Received
    from pipeline.gates.order import Opened
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Run
    from pipeline.signing.signers import Trust

Applied = tuple[str, Any, bool]
"""What came of a stage: the outcome, its functions, and whether it deleted a stack though it is no `delete`."""

_SLACK = timedelta(seconds=1)
"""A gate is looked at just before that is written down, and approvals expire to the second. Since a gate says what the store's
clock said, none is needed."""


@dataclass(frozen=True)
class Entry:
    """An event of a ledger, and the ledger as it was before it."""

    event: Event
    before: Ledger

    @property
    def waived(self) -> frozenset[str]:
        """What the gate was let off with as the glass was broken, of an intent."""
        return frozenset((self.event.data.get("break_glass") or {}).get("waived", ()))


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
    inbox: Mapping[str, tuple[Received, ...]] = field(default_factory=dict)

    @property
    def looked(self) -> dict[str, Looked]:
        """How each attempt that went on had looked at its gate by then."""
        return {name: each[-1] for name, each in self.looks.items()}


def examine(name: str, objects: Mapping[str, bytes], trust: Trust | None) -> Book:
    """Read a ledger: rules 1 and 2. `objects` are keyed by their names in the store."""
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
            envelope = ledgers.decode(data, where)
            event = chain.decode(envelope.payload, name)
            chain.check_link(event, seq, entries[-1].event if entries else None, name)
            signed_by.add(ledgers.check_signer(event, envelope, where, trust))
            _check_place(event, state)
            entries.append(Entry(event, state))
            state = ledger.after(state, event)
        if found:
            break
    return Book(name, tuple(entries), frozenset(signed_by), tuple(found), state)


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


def seen_so_far(book: Book, run: Run, name: str, heads: Iterable[Any]) -> list[Finding]:
    """Rule 3 for one attempt, or the opening: an attempt that looked at its gate, whether or not it went on, says how the ledger was then."""
    found: list[Finding] = []
    for each in heads:
        if each is not None and not book.is_at(each["length"], each["head"]):
            text = f"is not what {name} of run {run.id} had seen of it"
            found.append(broken(book.name, text, each["head"], f"{len(book.entries)} events"))
    return found


def looks(events: tuple[Event, ...]) -> Iterator[Looked]:
    """Give each time that an attempt looked at its gate and was to go on: again, if somebody else wrote to the ledger just then."""
    for event in events:
        if event.type == chain.GATE_LOOKED_AT and event.data["goes_on"]:
            told = event.data.get("clock")
            clock = datetime.fromisoformat(told) if told else datetime.fromisoformat(event.at) - _SLACK
            yield Looked(clock, str(event.data["subject"]), str(event.data["judged_by"]), event.data["ledger"])


def what_came_of(events: tuple[Event, ...], kind: str) -> Applied | None:
    """Give what an attempt says of what it applied; None if it does not say."""
    for event in reversed(events):
        if event.type == chain.PHASE_FINISHED and event.data["phase"] == "apply":
            facts = event.data["facts"]
            return str(event.data["outcome"]), facts.get("functions", {}), ledger.deletes(kind, facts)
    return None


def ledger_of(stage: PlannedStage) -> str | None:
    """Give the ledger in which what a stage does must stand; None if it has no gate."""
    return ledger.name_of(stage.target) if stage.target and stage.rules else None


def origins(book: Book, run: Run) -> list[str]:
    """Give the digests of what was let through where a rollback goes back to: the subjects to compare with."""
    if not rollbacks.is_rollback(run.data):
        return []
    made = ledger.deployments(each.event for each in book.entries)
    back_to = [each for each in made if each.run == run.data["inherits"]["run"]]
    return [str(each.subject) for each in back_to]


def goes_back_to(book: Book, length: int, run: Run, stage: PlannedStage) -> Deployment | None:
    """Give the deployment that a run goes back to, as the ledger had it when it was this long."""
    if not rollbacks.is_rollback(run.data):
        return None
    named = stage.name if stage.kind == "deploy" else None
    return rollbacks.origin(run, ledger.made(each.event for each in book.entries[:length]), named)


def since_opened(book: Book, run: Run) -> list[Deployment]:
    """Give what other runs have deployed to a target since a run was opened."""
    since = order.of(run, book.name).since
    made = ledger.deployments(each.event for each in book.entries)
    return [each for each in made if each.seq >= since and each.run != run.id]
