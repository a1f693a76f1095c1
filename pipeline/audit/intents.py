"""Whether deployments stand in a ledger as their runs tell of them: intended, gone on with, over. Pure: books and evidence in, findings out.

1. A deployment was intended by an attempt of its run that had looked at its gate and went on, over just this subject and on
   the ledger just as it was. By whose word it was let through is asked of `approvals`, what kept others out of `holds`.
2. What came of it is what an attempt says that acted on it: the one that intended it, or one that went on after that had died or
   lost sight of it.
3. Each attempt that applied something behind a gate stands in the ledger, also one that went on with what an older one had begun, and
   the outcome once it is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.audit import approvals, holds
from pipeline.audit.books import goes_back_to, ledger_of
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.gates import decide, rollbacks, rules, subjects
from pipeline.record import chain, ledger, replay
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.audit.books import Applied, Book, Entry, Evidence, Looked
    from pipeline.plan import PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.replay import Attempt, Run


def intended(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rule 1 for one intent, and what `approvals` and `holds` ask of it."""
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
        origin = goes_back_to(book, entry.event.seq, run, stage)
        if evidence.plan.releases(stage):
            found += holds.in_order(book, entry, evidence, origin)
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
            found += holds.as_it_ran(key, origin, attempt, evidence)
        found += approvals.rules_in_place(key, entry, judged_by, wanted)
        if entry.waived and change and change.kind == "weaker":
            found.append(broken(key, "made the rules weaker by breaking the glass"))
        found += holds.kept_out(key, entry, judged_by, seen)
        found += approvals.overheard(key, entry, evidence, seen, judged_by)
        found += approvals.let_through(book, entry, evidence, attempt, seen, judged_by=judged_by, wanted=wanted)
        found += holds.comes_after(key, entry, run)
    return found


def resumed(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rule 1 for an attempt that goes on with what an older one had begun."""
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
        found += holds.comes_after(key, entry, run)
        stage = evidence.plan.stages[attempt.stage]
        if KINDS[stage.kind].begins_anew:
            waived: frozenset[str] = intent.waived if intent else frozenset()
            judged_by = holds.rules_then(book, entry.event.seq, run, stage)
            found += [
                *holds.begun_anew(book, entry, evidence, seen, judged_by=judged_by, waived=waived),
                *approvals.overheard(key, entry, evidence, seen, judged_by),
            ]
    return found


def outcome(book: Book, entry: Entry, evidence: Evidence) -> list[Finding]:
    """Rule 2 for the outcome of a deployment of this run."""
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


def accounted(book: Book, attempt: Attempt, evidence: Evidence) -> list[Finding]:
    """Rule 3 for an attempt that went on after looking at its gate."""
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
