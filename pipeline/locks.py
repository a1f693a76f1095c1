"""Who is at what: whether the writer of an attempt lives, and which run's deployment holds a target.

What holds a target is a deployment that its ledger says has begun and not that it is over, for as long as the runner lives that is at
it. What a dead runner left holds nobody out: the stage that comes next looks, before it touches anything, whether its stack is in progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import Blocked, TowpathError, UsageError
from pipeline.record import ledger, ledgers, runs
from pipeline.record.writer import boot_id, event_key, pid_namespace, process_started
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.plan import Plan
    from pipeline.record.chain import Event
    from pipeline.record.ledger import Ledger
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

_TRIES = 20
"""At a ledger that others write to."""
_PHASES = 3
"""As many as a kind has, for a stage of which nothing is known but that it began."""


@dataclass(frozen=True)
class Holder:
    """A deployment that has begun: of which run, by whom and since when. `alive`: its runner may still be at it; `here`: that can be seen."""

    run: str
    stage: str
    attempt: int
    pid: int
    host: str
    since: str
    asked_for_by: str
    alive: bool
    here: bool = False

    def __str__(self) -> str:
        return f"stage {self.stage}, attempt {self.attempt}, process {self.pid} on {self.host}, asked for by {self.asked_for_by}"

    def as_json(self) -> dict[str, Any]:
        """Give what tells people of it."""
        return {name: value for name, value in vars(self).items() if name != "here"}


def alive(store: Store, plan: Plan, run: Run, attempt: Attempt) -> bool:
    """Tell whether the writer of an attempt that is not closed may still be at it.

    On this machine we look; of another machine we only know how long an attempt may last.
    """
    stage = plan.stages[attempt.stage]
    claim = event_key(runs.chain_name(run.id, attempt.name), 0)
    return _lives(store, attempt.writer, claim, stage.timeout_s * len(KINDS[stage.kind].phases))


def _lives(store: Store, writer: Mapping[str, Any], claim: str, limit_s: float) -> bool:
    if _is_here(writer):
        return process_started(int(writer["pid"])) == str(writer["started"])
    claimed_at = store.written_at(claim)
    return claimed_at is None or store.now() < claimed_at + limit_s + LIMITS.grace_s


def _is_here(writer: Mapping[str, Any]) -> bool:
    return (writer["boot"], writer["pid_namespace"]) == (boot_id(), pid_namespace())


def holders(store: Store, book: Ledger, run_id: str) -> list[Holder]:
    """Give the deployments of other runs to a target that have begun and are not over. A run's own stages are in its plan's order.

    What is superseded is none of them, unless somebody is about to go on with it.
    """
    found = [_holder(store, book, event) for event in _begun(book) if event.data["run"] != run_id]
    return [each for each in found if each.alive or (each.run, each.stage) in book.unsettled]


def _begun(book: Ledger) -> Iterator[Event]:
    """Give of each intent that is open the event of the attempt that was last at it."""
    last = {(event.data["run"], event.data["stage"]): event for event in ledger.taken_up(book.events)}
    return (last[which] for which in book.intents)


def _holder(store: Store, book: Ledger, event: Event) -> Holder:
    data, writer, since = event.data, event.data["writer"], event.at
    living, number = None, data["attempt"]
    asked = book.intents[data["run"], data["stage"]].get("requester")
    try:  # whoever is about to go on with it has an attempt of its own, and may not stand in the ledger yet
        run = runs.load(store, data["run"])
        last = run.last(data["stage"])
        living = last is not None and last.outcome is None and alive(store, plans.of(store, run), run, last)
        if last and living:
            writer, since, number = last.writer, last.opened_at, last.number
    except (TowpathError, KeyError):  # a run that is not here, or does not hold: what the ledger itself says is left
        living = _lives(store, writer, event_key(book.name, event.seq), LIMITS.stage_timeout_s * _PHASES)
    return Holder(
        run=data["run"],
        stage=data["stage"],
        attempt=number,
        pid=int(writer["pid"]),
        host=str(writer["host"]),
        since=since,
        asked_for_by=ledger.asked_for_by(asked),
        alive=living and (data["run"], data["stage"], number) not in book.abandoned,
        here=_is_here(writer),
    )


def describe(lock: Mapping[str, Any]) -> str:
    """Say who keeps others from deploying to a target, since when and why."""
    return f"locked by {ledger.asked_for_by(lock['by'])} since {lock['at']}: {lock['reason']}"


@dataclass(frozen=True)
class Act:
    """That somebody locks a target or lets go of it: who (as a run's opening says who asked), and why."""

    by: Mapping[str, Any]
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Give what is recorded of it."""
        return {"by": dict(self.by), "reason": self.reason}


def take(store: Store, name: str, act: Act, *, key: Key, trust: Trust | None) -> Ledger:
    """Lock a target for people. Raises Blocked if it is locked already."""

    def taken(book: Ledger) -> dict[str, Any]:
        if book.lock:
            raise Blocked(f"it is {describe(book.lock)}", hint="Whoever took it lets go of it with: towpath unlock")
        return {**act.as_json(), "run": None}

    return _write(store, name, ledger.LOCK_TAKEN, taken, key=key, trust=trust)


def release(store: Store, name: str, act: Act, run_id: str | None, *, key: Key, trust: Trust | None) -> Ledger:
    """Unlock a target; or say of a run that is deploying there that its runner is dead, of the attempts that are at it now.

    Raises UsageError if there is no such lock, Blocked for a runner that is seen to be alive.
    """

    def released(book: Ledger) -> dict[str, Any]:
        there = [
            each for each in holders(store, book, "") if (each.run, each.stage, each.attempt) not in book.abandoned
        ]
        runs_there = sorted({each.run for each in there})
        if run_id is None and book.lock is None:
            remedy = (
                f"There is run {runs_there[0]}, if its runner is dead: --run {runs_there[0]}" if runs_there else None
            )
            raise UsageError("it is not locked", hint=remedy)
        if run_id is not None and run_id not in runs_there:
            raise UsageError(
                f"run {run_id} is not deploying there", hint=f"These are: {', '.join(runs_there) or 'none'}."
            )
        said_dead = [each for each in there if each.run == run_id]
        if seen := [each for each in said_dead if each.alive and each.here]:
            hint = f"End it: towpath cancel {run_id}   or wait until it is over."
            raise Blocked(f"run {run_id} is alive, on this machine: {seen[0]}", hint=hint)
        attempts = (
            {"attempts": [{"stage": each.stage, "attempt": each.attempt} for each in said_dead]} if run_id else {}
        )
        return {**act.as_json(), "run": run_id, **attempts}

    return _write(store, name, ledger.LOCK_RELEASED, released, key=key, trust=trust)


def _write(
    store: Store, name: str, kind: str, data: Callable[[Ledger], dict[str, Any]], *, key: Key, trust: Trust | None
) -> Ledger:
    """Put an event at the end of a ledger, decided anew if somebody else has put one there meanwhile."""
    left = _TRIES
    while True:
        book = ledgers.read(store, name, trust)
        told = data(book)
        try:
            return ledgers.append(store, book, [(kind, told)], key)
        except Blocked:
            left -= 1
            if not left:
                raise
