"""By whose word things were let through: approvals, rejects, broken glass, changes of rules. Pure: books and evidence in, findings out.

1. A change of rules is what it says it is, and people who may by the old rules, with what is stricter in the new ones, approved a weaker set.
2. The subject that was let through is what the record gives: the attempt's proposal, the rules it was judged by, the verdicts of the
   run's scans.
3. By those rules, at that time, the approvals that are recorded open the gate, and the ledger names just those that counted.
4. What an attempt found rejected, none that came after it was let through to do.
5. What was let through by breaking the glass, was by those who might, and waives no more than they signed; the rules were not
   made weaker by that. Its review is by somebody else who might, and had seen that. What nobody has reviewed yet is told.
6. Nothing was let through that somebody who may had rejected, whose word still lies in the inbox and came before the gate was looked at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.audit.books import goes_back_to, ledger_of
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.gates import decide, rollbacks, rules, statements, subjects
from pipeline.record import chain, digest, ledger
from pipeline.record.writer import event_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.audit.books import Book, Entry, Evidence, Looked
    from pipeline.gates.decide import Decision
    from pipeline.gates.rules import Rules
    from pipeline.record.chain import Event
    from pipeline.record.replay import Attempt, Run

_UNSEEN = timedelta(seconds=5)
"""A gate may not have seen what came just before it looked: an object's time is to the second, and of when its writing began."""


def rule_changes(book: Book, entry: Entry) -> list[Finding]:
    """Rule 1, but for who approved: that a change is of the kind it says."""
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
    """Rule 1 for a weaker set: an attempt that went on had asked for it, and by what `subjects.judge` says counts that was let through."""
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
                        return let_through(book, entry, evidence, attempt, seen, judged_by=judged_by, wanted=new)
        found.append(
            broken(key, f"makes the rules weaker, and no attempt of run {evidence.run.id} that went on asked for that")
        )
    return found


def rules_in_place(key: str, entry: Entry, judged_by: Rules, wanted: Rules) -> list[Finding]:
    found = []
    named = entry.event.data["judged_by"]
    if named != judged_by.digest:
        found.append(broken(key, "was judged by other rules than those in force", judged_by.digest, named))
    there = digest.of_bytes(digest.canonical(entry.before.rules))
    if there != wanted.digest:
        found.append(broken(key, "stands after other rules than its plan has", wanted.digest, there))
    return found


def let_through(
    book: Book, entry: Entry, evidence: Evidence, attempt: Attempt, seen: Looked, *, judged_by: Rules, wanted: Rules
) -> list[Finding]:
    """Rules 2 and 3: ask the gate's own rules again, with what the ledger says was received, and when."""
    key, run = book.key(entry), evidence.run
    subject, stage = evidence.subjects[seen.subject], evidence.plan.stages[attempt.stage]
    found = [
        broken(key, f"what was let through is not what the run proposed: {field}")
        for field in decide.differences(_composed(evidence, attempt, subject, judged_by, wanted), subject)
    ]
    unscanned = subjects.not_passed(subject, judged_by) if "scan" not in entry.waived else []
    found += [broken(key, f"was let through, though no scan passed the image {config}") for config in unscanned]
    received = [
        decide.Received(evidence.documents[each["document"]], datetime.fromisoformat(each["received_at"]))
        for each in entry.event.data["approvals"]
    ]
    target = statements.target_of(stage.target) if stage.target else {}
    proposal = decide.Proposed(run.id, stage.name, target, decide.subject_digest(subject))
    used = book.entries[seen.length].before.used
    found += _glass_broken(key, entry, evidence, judged_by, proposal=proposal, now=seen.clock, used=used)
    decision = decide.decide(
        received,
        judged_by,
        proposal=proposal,
        now=seen.clock,
        requester=subjects.requesters(run.data),
        authors=(run.data.get("authors") or {}).get(book.name),
        used=used,
        anybody=stage.kind == "deploy" and goes_back_to(book, seen.length, run, stage) is not None,
    )
    return found + _opened(key, decision, entry.event.data["approvals"], may_wait="approvals" in entry.waived)


def _composed(evidence: Evidence, attempt: Attempt, subject: Any, judged_by: Rules, wanted: Rules) -> dict[str, Any]:
    """Give the subject as the record has it. Verdicts that nobody had by then are left out."""
    run, stages = evidence.run, evidence.plan.stages
    scans = [done.facts for name, each in stages.items() if each.kind == "scan" and (done := run.done(name))]
    known = subjects.verdicts(scans)
    verdicts = {config: verdict for config, verdict in known.items() if subject["scan"].get(config) is not None}
    proposal = attempt.proposal.subject if attempt.proposal else {}
    way = rollbacks.way(run.data)
    return subjects.compose(attempt.stage, proposal, judged_by=judged_by, wanted=wanted, verdicts=verdicts, way=way)


def _opened(key: str, decision: Decision, approvals: list[dict[str, Any]], *, may_wait: bool) -> list[Finding]:
    """Rule 3: the gate opens, and by just those who are recorded; or it waits, and the glass was broken for that."""
    if decision.state != "open" and not (may_wait and decision.state == "waiting"):
        reasons = [each.reason for each in decision.refused] + decision.reasons
        return [broken(key, f"was let through, and the gate was {decision.state}: {'; '.join(reasons)}")]
    counted = {(each.digest, each.person, each.key) for each in decision.counted}
    named = {(each["statement"], each["person"], each["key"]) for each in approvals}
    return [] if counted == named else [broken(key, "names other approvals than those that counted")]


def _glass_broken(key: str, entry: Entry, evidence: Evidence, judged_by: Rules, **more: Any) -> list[Finding]:
    """Rule 5: ask again of each who broke the glass whether that counted, and of all together what they waived."""
    found: list[Finding] = []
    data, signed = entry.event.data, set[str]()
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
    if not entry.waived <= signed:
        text = "waives more than whoever broke the glass has signed"
        found.append(broken(key, text, sorted(signed), sorted(entry.waived)))
    return found


def reviewed(book: Book, entry: Entry, document: bytes | None) -> list[Finding]:
    """Rule 5 for a review. `document` is what was signed, None if it is not there, which is told elsewhere."""
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
    """Rule 5: what of a run was let through by breaking the glass, and waits to be reviewed."""
    return [
        missing(
            book.name,
            f"let {each['stage']} of run {run_id} through as {each['person']} broke the glass, and nobody has reviewed that",
        )
        for each in book.end.glass.values()
        if each["run"] == run_id
    ]


def overheard(key: str, entry: Entry, evidence: Evidence, seen: Looked, judged_by: Rules) -> list[Finding]:
    """Rule 6: nobody who might had said no."""
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


def rejected(run: Run, events: Mapping[str, tuple[Event, ...]]) -> list[Finding]:
    """Rule 4. Whoever removes a reject from the inbox cannot remove that it was seen."""
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
