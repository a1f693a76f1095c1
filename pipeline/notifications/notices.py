"""What people are told of: pure, from a run's plan and its record. So a runner that was killed before it told somebody tells him later.

A notice has an id that is the same whenever, and by whomever, it is told: who receives two with one id has received one twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.record import digest, ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.plan import Channel, Plan, PlannedStage
    from pipeline.record.replay import Attempt, Run

VERSION = 1
_HELD_UP = ("busy", "held")
"""States of a gate in which nothing has failed: something else is in the way, or was meant by it."""


@dataclass(frozen=True)
class Notice:
    """That something has happened. `at` is when, as the record says; `command` is the one to type next. `which` tells apart what happens
    several times to a stage of a run: the number of an attempt, or the digest of a statement that somebody signed.
    """

    event: str
    run: str
    application: str
    stage: str
    attempt: int
    which: str
    at: str
    text: str
    command: str
    environment: str | None = None
    target: Mapping[str, Any] | None = None
    asked_for_by: str = "?"
    commit: str | None = None

    @property
    def id(self) -> str:
        """Name it."""
        what = {"v": VERSION, "event": self.event, "run": self.run, "stage": self.stage, "which": self.which}
        return digest.of_bytes(digest.canonical(what)).removeprefix("sha256:")[:32]

    def as_json(self) -> dict[str, Any]:
        """Give what a webhook is told."""
        return {
            "v": VERSION,
            "id": self.id,
            "event": self.event,
            "at": self.at,
            "application": self.application,
            "run": self.run,
            "stage": self.stage,
            "attempt": self.attempt,
            "environment": self.environment,
            "target": dict(self.target) if self.target else None,
            "asked_for_by": self.asked_for_by,
            "commit": self.commit,
            "text": self.text,
            "command": self.command,
        }


def wanted(channel: Channel, notice: Notice) -> bool:
    """Tell whether somebody wants to be told of something."""
    return notice.event in channel.on and (not channel.environments or notice.environment in channel.environments)


def of_run(plan: Plan, run: Run, since: datetime) -> list[Notice]:
    """Give what has happened in a run, of attempts that were closed since."""
    closed = [
        each
        for attempts in run.attempts.values()
        for each in attempts
        if each.closed_at and each.stage in plan.stages and datetime.fromisoformat(each.closed_at) >= since
    ]
    return [notice for each in sorted(closed, key=lambda one: one.closed_at or "") for notice in _of(plan, run, each)]


def approved(plan: Plan, run: Run, stage: str, said: Mapping[str, str], at: str) -> Notice:
    """Give that somebody approved what a stage proposed. `said` has the statement's digest and the person."""
    text = f"{said['person']} approved {stage} of run {run.id}"
    last = run.last(stage)
    about = _About(plan, run, plan.stages[stage], last.number if last else 1, at)
    return about.notice("approved", text, f"towpath resume {run.id}", said["statement"])


@dataclass(frozen=True)
class _About:
    """What a notice is about."""

    plan: Plan
    run: Run
    stage: PlannedStage
    attempt: int
    at: str

    @property
    def what(self) -> str:
        return f"{self.stage.name} of run {self.run.id}"

    def approve(self) -> str:
        return f"towpath approve {self.run.id} {self.stage.name} --reason '...'"

    def notice(self, event: str, text: str, command: str, which: str | None = None) -> Notice:
        target, requester = self.stage.target, self.run.data.get("requester")
        known = ("partition", "account", "region", "stack")
        return Notice(
            event=event,
            run=self.run.id,
            application=self.plan.name,
            stage=self.stage.name,
            attempt=self.attempt,
            which=which or str(self.attempt),
            at=self.at,
            text=text,
            command=command,
            environment=target.environment if target else None,
            target={name: getattr(target, name) for name in known} if target else None,
            asked_for_by=ledger.asked_for_by(requester if isinstance(requester, dict) else None),
            commit=(self.run.data.get("source") or {}).get("commit"),
        )


def _of(plan: Plan, run: Run, attempt: Attempt) -> Iterator[Notice]:
    if attempt.inherited:
        return
    about = _About(plan, run, plan.stages[attempt.stage], attempt.number, str(attempt.closed_at))
    people = attempt.people or {}
    for each in people.get("decisions") or []:
        if each["decision"] == "approve":
            yield approved(plan, run, attempt.stage, each, about.at)
    for each in people.get("voided") or []:
        text = f"what {each['person']} approved of {about.what} is void: {each['reason']}"
        yield about.notice("voided", text, about.approve(), each["statement"])
    for each in people.get("glass") or [] if people.get("goes_on") else []:
        text = f"{each['person']} broke the glass for {about.what}, which waives {', '.join(each['waives'])}: {each['reason']}"
        command = f"towpath break-glass {run.id} {attempt.stage} --review --reason '...'"
        yield about.notice("break-glass", text, command, each["statement"])
    yield from _outcome(about, attempt, "; ".join(people.get("reasons") or []))


def _outcome(about: _About, attempt: Attempt, reasons: str) -> Iterator[Notice]:
    """What came of an attempt. `reasons` say how its gate stood."""
    why = attempt.failure.message if attempt.failure else reasons or "see its log"
    environment = about.stage.target.called if about.stage.target else ""
    if attempt.outcome == "waiting" and attempt.gate == "waiting":
        yield about.notice("waiting", f"{about.what} waits for approval: {reasons}", about.approve())
    elif attempt.outcome == "succeeded" and about.stage.kind == "deploy" and _goes_back(about.run):
        text = f"{about.what} went back to what ran in {environment} before; nothing else is deployed there until that is lifted"
        yield about.notice("rolled-back", text, f"towpath rollback {environment} --lift --reason '...'")
    elif attempt.outcome == "succeeded" and about.stage.kind == "deploy":
        yield about.notice("deployed", f"{about.what} deployed to {environment}", f"towpath environments {environment}")
    elif attempt.outcome == "rejected":
        yield about.notice("failed", f"{about.what} was rejected: {why}", "towpath run")
    elif attempt.gate == "outdated":
        yield about.notice(
            "voided", f"{about.what} is {reasons}", "towpath run", "outdated"
        )  # however often it is tried
    elif attempt.outcome in ("failed", "timed-out") and attempt.gate not in _HELD_UP:
        what = "failed" if attempt.outcome == "failed" else "timed out"
        yield about.notice("failed", f"{about.what} {what}: {why}", f"towpath logs {about.run.id} {attempt.stage}")


def _goes_back(run: Run) -> bool:
    way = run.data.get("way")
    return isinstance(way, dict) and way.get("kind") == "rollback"


def first_of_each(notices: Iterable[Notice]) -> list[Notice]:
    """Give each notice once, whichever attempt saw it first."""
    return list({each.id: each for each in reversed(list(notices))}.values())[::-1]
