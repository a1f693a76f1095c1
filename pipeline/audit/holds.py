"""What keeps a deployment out of a target: newer ones, another run at work, a freeze, a rollback, a lock. Pure, as `approvals` is.

1. Nothing older was put over something newer: what was let through was not outdated then, and what was held up as that, was.
2. Where another run's deployment had begun and was neither over nor superseded, it says so: it came after one that had died.
3. No freeze of the rules that it was judged by lasted when it was let through, and one did when it was held up as frozen, by what
   the store's clock said then.
4. What went back to an older release by the shorter rule is what the run that it names had deployed there, by the same ledger, and
   stood before what stood then; it was the last to be deployed since it was opened. What else such a run did behind the gate, was by the
   rules in force, and changed none. While it holds up others, from its intent on, none was let through, and what was held up was held.
5. Nothing was let through while its target was locked, whoever broke the glass.
6. What went on with something that had begun, and began it anew, did so at a target that was not locked, held or frozen by then, unless
   breaking the glass had waived the freeze when it was let through.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.audit.books import goes_back_to, since_opened
from pipeline.audit.findings import Finding, broken, missing
from pipeline.gates import freezes, order, rollbacks, rules, subjects
from pipeline.record import chain, ledger
from pipeline.record.writer import event_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.audit.books import Book, Entry, Evidence, Looked
    from pipeline.gates.rules import Rules
    from pipeline.plan import PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.ledger import Deployment
    from pipeline.record.replay import Attempt, Run


def kept_out(key: str, entry: Entry, judged_by: Rules, seen: Looked) -> list[Finding]:
    """Rules 3 and 5 for what was let through: neither a freeze nor a lock was there."""
    found: list[Finding] = []
    frozen = freezes.frozen(judged_by.freezes, seen.clock)
    if frozen and "window" not in entry.waived:
        found.append(broken(key, f"was let through at {seen.clock.isoformat()}, when the target was {frozen}"))
    lock = entry.before.lock
    if lock:
        by = ledger.asked_for_by(lock["by"])
        found.append(broken(key, f"was let through, though it was locked by {by} since {lock['at']}"))
    return found


def comes_after(key: str, entry: Entry, run: Run) -> list[Finding]:
    """Rule 2."""
    others = {which for which in entry.before.unsettled if which[0] != run.id}
    named = {(each["run"], each["stage"]) for each in entry.event.data.get("after") or []}
    text = "was let through while another run's deployment was under way, and names others"
    superseded = {which for which in entry.before.superseded if which[0] != run.id}  # may be named, and need not be
    return [broken(key, text, sorted(others), sorted(named))] if others != named - superseded else []


def begun_anew(
    book: Book, entry: Entry, evidence: Evidence, seen: Looked, *, judged_by: Rules, waived: frozenset[str]
) -> list[Finding]:
    """Rule 6. `waived` is what the glass was broken for when it was let through."""
    run, before, stage = evidence.run, entry.before, evidence.plan.stages[entry.event.data["stage"]]
    goes_back = goes_back_to(book, entry.event.seq, run, stage)
    held = before.held_against(run.id) and evidence.plan.releases(stage) and not goes_back
    frozen = freezes.frozen(judged_by.freezes, seen.clock) if "window" not in waived else None
    against = {"was locked": before.lock, "was held by a rollback": held, f"was {frozen}": frozen}
    key = book.key(entry)
    return [broken(key, f"begins anew, though the target {each}") for each, is_so in against.items() if is_so]


def in_order(book: Book, entry: Entry, evidence: Evidence, origin: Deployment | None) -> list[Finding]:
    """Rules 1 and 4 for what was let through: nothing was held, and nothing newer there."""
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


def as_it_ran(key: str, origin: Deployment | None, attempt: Attempt, evidence: Evidence) -> list[Finding]:
    """Rule 4: what goes back is what ran."""
    if origin is None:
        text = "went back by the shorter rule to a release of which this ledger has no deployment before what stood"
        return [broken(key, text)]
    then, proposal = evidence.subjects[str(origin.subject)], attempt.proposal
    now = proposal.subject if proposal else {}
    return [
        broken(key, f"went back by the shorter rule to what run {origin.run} had not deployed: another {name}")
        for name in rollbacks.differing(then["proposal"], now)
    ]


def held_up(book: Book, attempt: Attempt, events: Iterable[Event], evidence: Evidence) -> list[Finding]:
    """Rules 1 to 5 for an attempt that was held up: whoever is by a word of the runner's own alone, is kept out by it."""
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
    judged_by = rules_then(book, length, run, stage)
    return freezes.frozen(judged_by.freezes, datetime.fromisoformat(event.data["clock"])) is not None


def rules_then(book: Book, length: int, run: Run, stage: PlannedStage) -> Rules:
    """Give the rules that counted for a stage when the ledger was this long."""
    in_force = book.at(length).rules
    known = rules.from_json(in_force, book.name) if in_force else None
    goes_back = goes_back_to(book, length, run, stage) is not None
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
