"""Read what the ledgers and the runs in them say of one another, and apply the rules of `books`, `intents`, `approvals` and `holds`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.audit import approvals, holds, intents
from pipeline.audit.books import (
    Book,
    Evidence,
    examine,
    ledger_of,
    looks,
    origins,
    seen_so_far,
    since_opened,
    what_came_of,
)
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.errors import TowpathError
from pipeline.gates import decide, order, statements
from pipeline.record import artifacts, chain, ledger, runs
from pipeline.record.writer import read_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.audit.blobs import Blobs
    from pipeline.audit.books import Applied, Entry, Looked
    from pipeline.plan import Plan
    from pipeline.record.chain import Event
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


_LATEST_S = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""Whoever may write a file may give it any time."""


@dataclass(frozen=True)
class BrokenGlass:
    """That a stage was let through by breaking the glass: by whom, past what, and who has reviewed it since."""

    people: list[str]
    waived: list[str]
    reviewed_by: list[str]


@dataclass
class Judged:
    """What the ledgers say of a run: in which it stands, who let which stage through, and past what the glass was broken for it."""

    findings: list[Finding] = field(default_factory=list)
    ledgers: list[str] = field(default_factory=list)
    approved_by: dict[str, list[str]] = field(default_factory=dict)
    glass: dict[str, BrokenGlass] = field(default_factory=dict)


class Targets:
    """The ledgers of a store, each looked at once however many runs stand in it, unless it grows."""

    def __init__(self, store: Store, trust: Trust | None, blobs: Blobs) -> None:
        self._store = store
        self._trust = trust
        self._blobs = blobs
        self._books: dict[str, Book] = {}
        self._histories: dict[str, list[Finding]] = {}
        self._lengths: dict[str, int] = {}

    def names(self) -> list[str]:
        """Give the names of all ledgers of the store."""
        return [f"ledgers/{name}" for name in self._store.names("ledgers")]

    def book(self, name: str) -> Book:
        """Read a ledger."""
        if name not in self._books:
            keys = self._store.names(name)
            contents = self._store.read_each(f"{name}/{key}" for key in keys)
            objects = {key: data or b"" for key, data in zip(keys, contents, strict=True)}
            self._books[name], self._lengths[name] = examine(name, objects, self._trust), len(keys)
        return self._books[name]

    @property
    def read(self) -> list[str]:
        """The ledgers that were read, by name."""
        return list(self._books)

    def forget_grown(self) -> None:
        """Forget the ledgers that somebody has written to since they were read."""
        for name in [each for each in self._books if len(self._store.names(each)) != self._lengths[each]]:
            del self._books[name]
            self._histories.pop(name, None)

    def verify(self, run: Run, plan: Plan, events: Mapping[str, tuple[Event, ...]]) -> Judged:
        """Verify what the ledgers say of one run, and the run of them. `events` are those of each attempt."""
        judged = Judged()
        books = [self.book(name) for name in sorted({ledger_of(each) or "" for each in plan.stages.values()} - {""})]
        evidence = self._evidence(run, plan, events, books, judged.findings)
        for book in books:
            judged.findings += self._history(book)
            with reading(book.name, judged.findings):
                at_opening = [(run.data.get("ledgers") or {}).get(book.name)]
                judged.findings += seen_so_far(book, run, "the opening", at_opening)
            for entry in _of_run(book, run.id):
                judged.findings += _entry(book, entry, evidence)
                with reading(book.key(entry), judged.findings):
                    if entry.event.type == ledger.DEPLOYMENT_INTENDED:
                        people = [str(each["person"]) for each in entry.event.data["approvals"]]
                        judged.approved_by[str(entry.event.data["stage"])] = people
                        if "break_glass" in entry.event.data:
                            judged.glass[str(entry.event.data["stage"])] = _glass(book, entry)
                        judged.ledgers = sorted({*judged.ledgers, book.name})
            judged.findings += approvals.not_reviewed(book, run.id)
            for attempt in (each for attempts in run.attempts.values() for each in attempts):
                stage = plan.stages.get(attempt.stage)
                if stage is None or ledger_of(stage) != book.name:
                    continue
                with reading(book.name, judged.findings):
                    seen = [each.data["ledger"] for each in events[attempt.name] if each.type == chain.GATE_LOOKED_AT]
                    judged.findings += seen_so_far(book, run, attempt.name, seen)
                    judged.findings += holds.held_up(book, attempt, events[attempt.name], evidence)
                    if attempt.name in evidence.looks:
                        judged.findings += intents.accounted(book, attempt, evidence)
        judged.findings += approvals.rejected(run, events)
        return judged

    def rest(self) -> list[Finding]:
        """Verify every ledger by itself, and that each run which stands in one is there."""
        found: list[Finding] = []
        books = [self.book(name) for name in self.names()]
        known = set(runs.run_ids(self._store))  # read last: what a ledger names was there before
        for book in books:
            found += self._history(book)
            gone = {str(each.event.data.get("run")): each for each in book.of(ledger.DEPLOYMENT_INTENDED)}
            for run_id, entry in gone.items():
                if run_id not in known:
                    found.append(missing(f"runs/{run_id}", f"is missing: {book.key(entry)} says that it deployed"))
        return found

    def _history(self, book: Book) -> list[Finding]:
        """A ledger by itself: the chain, who changed which rules, and who reviewed what."""
        if book.name not in self._histories:
            found = list(book.findings)
            for entry in book.entries:
                if entry.event.type in (ledger.TARGET_ENROLLED, ledger.RULES_CHANGED):
                    found += approvals.rule_changes(book, entry)
                if entry.event.type == ledger.GLASS_REVIEWED:
                    found += approvals.reviewed(book, entry, self._document(book, entry, found))
                if entry.event.type == ledger.RULES_CHANGED and entry.event.data.get("kind") == "weaker":
                    found += self._weakened(book, entry)
            self._histories[book.name] = found
        return self._histories[book.name]

    def _document(self, book: Book, entry: Entry, found: list[Finding]) -> bytes | None:
        sha256, what = str(entry.event.data.get("document")), f"the review in {book.key(entry)}"
        wrong = self._blobs.check(sha256, what)
        if wrong:
            found.append(wrong)
        return None if wrong else self._blobs.read(sha256, what)

    def _weakened(self, book: Book, entry: Entry) -> list[Finding]:
        found: list[Finding] = []
        run_id, key = str(entry.event.data.get("run")), book.key(entry)
        if not self._store.names(f"runs/{run_id}"):
            return [missing(f"runs/{run_id}", f"is missing: {key} says that it made the rules weaker")]
        try:
            run = runs.load(self._store, run_id)
            plan = plans.of(self._store, run)
            events = {
                each.name: tuple(read_chain(self._store, runs.chain_name(run_id, each.name)))
                for attempts in run.attempts.values()
                for each in attempts
            }
        except TowpathError as error:
            return [broken(key, f"rests on run {run_id}, which does not hold: {error.message}")]
        evidence = self._evidence(run, plan, events, [book], found)
        return found + approvals.weakened(book, entry, evidence)

    def _evidence(
        self, run: Run, plan: Plan, events: Mapping[str, tuple[Event, ...]], books: list[Book], found: list[Finding]
    ) -> Evidence:
        looked: dict[str, tuple[Looked, ...]] = {}
        applied: dict[str, Applied | None] = {}
        for name, each in events.items():
            with reading(runs.chain_name(run.id, name), found):
                applied[name] = what_came_of(each, plan.stages[name.rpartition(".")[0]].kind)
                if seen := tuple(looks(each)):
                    looked[name] = seen
        documents: dict[str, bytes] = {}
        wanted = {each.subject for seen in looked.values() for each in seen}
        for book in books:
            with reading(book.name, found):
                wanted |= set(origins(book, run))
        for entry in (entry for book in books for entry in _of_run(book, run.id)):
            wanted.add(str(entry.event.data.get("subject") or ""))
            glass = (entry.event.data.get("break_glass") or {}).get("statements", [])
            for approval in [*(entry.event.data.get("approvals") or []), *glass]:
                sha256, what = approval["document"], f"an approval of run {run.id}"
                wrong = self._blobs.check(sha256, what)
                if wrong:
                    found.append(wrong)
                    continue
                documents[sha256] = self._blobs.read(sha256, what)
                with reading(artifacts.blob_key(sha256), found):
                    stage = str(entry.event.data.get("stage"))
                    covered = statements.parse(statements.open_up(documents[sha256])[0]).covered(stage)
                    wanted |= {covered.subject} if covered else set()
        subjects: dict[str, Any] = {}
        for sha256 in sorted(wanted):
            if sha256:
                subjects[sha256] = self._blobs.json(sha256, f"a subject of run {run.id}", found)
        opened, inbox = self._opened(run, books, found), self._inbox(run, books)
        return Evidence(run, plan, looked, applied, documents, subjects, opened, inbox)

    def _inbox(self, run: Run, books: list[Book]) -> dict[str, tuple[decide.Received, ...]]:
        """Read what lies in the inbox for the stages that the ledgers say were let through. It is a stranger's."""
        found: dict[str, tuple[decide.Received, ...]] = {}
        began = (each for book in books for each in book.of(ledger.DEPLOYMENT_INTENDED))
        for name in {str(each.event.data["stage"]) for each in began if each.event.data["run"] == run.id}:
            keys = [f"inbox/{run.id}/{name}/{each}" for each in self._store.names(f"inbox/{run.id}/{name}")]
            documents = zip(keys, self._store.read_each(keys), strict=True)
            found[name] = tuple(
                decide.Received(document, datetime.fromtimestamp(min(max(at, 0), _LATEST_S), UTC))
                for key, document in documents
                if document is not None and (at := self._store.written_at(key)) is not None
            )
        return found

    def _opened(self, run: Run, books: list[Book], found: list[Finding]) -> dict[str, order.Opened]:
        """Say where the runs stand that have deployed to these targets since this one was opened."""
        opened: dict[str, order.Opened] = {}
        for book in books:
            with reading(book.name, found):
                for made in since_opened(book, run):
                    if other := runs.opened(self._store, made.run, made.opening):
                        opened[made.opening] = order.of(other, book.name)
        return opened


def _entry(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    if entry.event.type == ledger.DEPLOYMENT_INTENDED:
        return intents.intended(book, entry, evidence)
    if entry.event.type == ledger.DEPLOYMENT_RESUMED:
        return intents.resumed(book, entry, evidence)
    return intents.outcome(book, entry, evidence) if entry.event.type == ledger.DEPLOYMENT_FINISHED else []


def _of_run(book: Book, run_id: str) -> Iterator[Entry]:
    return (each for each in book.entries if each.event.data.get("run") == run_id)


def _glass(book: Book, entry: Entry) -> BrokenGlass:
    statements = entry.event.data["break_glass"]["statements"]
    of = {each["statement"] for each in statements}
    reviews = [each.event.data for each in book.entries if each.event.type == ledger.GLASS_REVIEWED]
    return BrokenGlass(
        people=[str(each["person"]) for each in statements],
        waived=sorted(entry.waived),
        reviewed_by=[str(each["person"]) for each in reviews if each["of"] in of],
    )
