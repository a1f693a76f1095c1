"""What a verified run proves and what it does not, in words."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.audit.run import Pruned, Report
    from pipeline.audit.targets import BrokenGlass

_NEVER = (
    "That the latest runs, or the last attempts of an unfinished one, were not removed. Keep `towpath audit heads` elsewhere.",
    "That nobody removed a decision from the inbox before it counted, or a reject afterwards: what did count stands in the ledger.",
    "That clocks were right: times are those of the machines that wrote.",
    "That who held a key did what the record says: whoever can use it can write another record.",
)


_WAIVED = {"approvals": "approvals", "scan": "the scan", "window": "a freeze"}
"""What the glass may be broken for, as `pipeline.gates.statements` names it."""


def proved(report: Report) -> list[str]:
    """Say what holds. Nothing is said of a run in which anything is broken."""
    if report.verdict == "broken":
        return []
    told = [
        f"{report.chains} chains with {report.events} events and {report.log_lines} lines of logs: whole, in order, of this run only.",
        f"{report.blobs} objects that they name have their digests: plan, files, requests, artifacts, statements.",
        "Every input of a stage is the output, by digest, of the attempt it names.",
    ]
    if report.way and report.deployed:
        told.append(_way(report.way))
    for stage, people in report.approved_by.items():
        rule = "the shorter rule" if report.way and report.way["kind"] == "rollback" else "the rules in force"
        who = _who(people, report.glass.get(stage))
        told.append(f"{stage} was let through by {rule}, {who}; what was applied is what was let through.")
    if report.ledgers:
        told.append(f"The ledger of each target has it, whole and in order: {', '.join(report.ledgers)}.")
    if report.deployed:
        told.append(f"What was found running is what the release pins: {', '.join(report.deployed)}.")
    if report.versions:
        told.append("No object of it was deleted or written again: the store's own versions say so.")
    if report.trust and report.sealed_by:
        who = ", ".join(sorted(set(report.sealed_by.values())))
        told.append(f"They were sealed by keys that {report.trust} enrols: {who}.")
    if report.covered:
        names = ", ".join(name.rpartition("/")[2] for name in report.covered)
        told.append(f"Without a seal of their own, vouched for by the sealed chains that build on them: {names}.")
    return told


def _who(people: list[str], glass: BrokenGlass | None) -> str:
    approved = f"approved by {', '.join(people)}" if people else "where nobody need approve"
    if glass is None:
        return approved
    past = " and ".join(_WAIVED[each] for each in glass.waived)
    broken = f"but past {past}, as {', '.join(glass.people)} broke the glass"
    after = f", which {', '.join(glass.reviewed_by)} reviewed" if glass.reviewed_by else ""
    return f"{approved}, {broken}{after}" if people else f"{broken}{after}"


def _way(way: dict[str, Any]) -> str:
    if way["kind"] == "rollback":
        return (
            f"It rolled {', '.join(way['environments'])} back to the release of run {way['run']}, by the shorter rule: the ledger has that this run "
            "had deployed just that there."
        )
    return f"It promoted run {way['run']} to {', '.join(way['environments'])}: it built nothing, and took over what that run had made and proved."


def not_proved(report: Report) -> list[str]:
    """Say what does not follow."""
    told = list(_NEVER)
    for each in report.pruned.values():
        told.insert(0, f"What {len(each.contents)} files of artifacts held, as that {each.prune}. Their digests hold.")
    if not report.trust:
        who = ", ".join(sorted(set(report.sealed_by.values()))) or "no key at all"
        told.insert(0, f"Who wrote it: it was sealed by {who}, and nobody said which keys count (--trust FILE).")
    return told


def as_json(report: Report) -> dict[str, Any]:
    """Give all that was found of one run."""
    return {
        "run": report.run,
        "name": report.name,
        "verdict": report.verdict,
        "findings": [each.as_json() for each in report.findings],
        "proved": proved(report),
        "not_proved": not_proved(report),
        "trust": report.trust,
        "sealed_by": report.sealed_by,
        "covered": report.covered,
        "ledgers": report.ledgers,
        "approved_by": report.approved_by,
        "break_glass": {stage: dataclasses.asdict(each) for stage, each in report.glass.items()},
        "way": report.way,
        "pruned": [_pruned(each) for each in report.pruned.values()],
        "chains": report.chains,
        "events": report.events,
        "log_lines": report.log_lines,
        "objects": report.blobs,
        "versions": report.versions,
    }


def _pruned(each: Pruned) -> dict[str, Any]:
    prune = each.prune
    return {"prune": prune.id, "at": prune.at, "by": prune.by, "rule": prune.rule, "contents": sorted(each.contents)}
