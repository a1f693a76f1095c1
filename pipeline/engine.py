"""Walk a plan: replay, decide, attempt what is ready, until nothing is.

There is one algorithm, for a new run, a resumed one and a single stage alike: what is recorded is replayed, and whatever
is not done yet is done. `pipeline.standings` is the decision, and pure; `drive` carries it out.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipeline import attempt as attempts
from pipeline import cancel, earlier
from pipeline.context import Stop
from pipeline.errors import (
    Blocked,
    Interrupted,
    Rejected,
    StageFailed,
    TimedOut,
    TowpathError,
    UsageError,
    VerificationFailed,
    Waiting,
)
from pipeline.record import runs
from pipeline.record.store import StoreError
from pipeline.standings import Standings, Wish, held_back, unproposed
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import FrameType

    from pipeline.context import Context
    from pipeline.gating import Gate
    from pipeline.notifications.notifier import Notifier
    from pipeline.record.replay import Attempt, Run
    from pipeline.standings import Standing


def drive(context: Context, wish: Wish, jobs: int) -> Run:
    """Attempt what is ready, up to `jobs` stages at a time, and give the run as it then stands.

    Raises the error of the first stage that failed, with those of others, once all that were under way have ended; Interrupted on Ctrl-C.
    """
    earlier.distrust(context)
    with _signals() as received:
        drive = _Drive(context, wish, jobs, received)
        try:
            return drive.walk()
        finally:
            drive.cancel()
            drive.pool.shutdown(wait=True)
            drive.tell()
            if drive.notifier:
                drive.notifier.close()


def notifier(context: Context) -> Notifier | None:
    """Give who tells others of the run; None where nobody wants to know."""
    if not context.plan.notifications:
        return None
    from pipeline.notifications.notifier import Notifier  # late, as most runs tell nobody

    about: dict[str, Any] = {"project": context.project, "endpoint": context.endpoint, "key": context.key.public.raw}
    return Notifier(context.store, context.plan.notifications, **about, warn=context.reporter.note)


class _Drive:
    """The walk, while it goes on: which attempts are under way, and what failed so far."""

    def __init__(self, context: Context, wish: Wish, jobs: int, received: list[int]) -> None:
        self.context = context
        self.wish = wish
        self.jobs = jobs
        self.received = received
        self.pool = ThreadPoolExecutor(jobs, thread_name_prefix="stage")
        self.requests = cancel.Requests(context.store, context.run.id)
        self.looked_at = time.monotonic()
        self.stops: dict[str, Stop] = {}
        self.canceled_by = ""
        self.under_way: dict[Future[Attempt | None], str] = {}
        self.failures: list[TowpathError] = []
        self.tried: set[str] = set()
        self.standings = Standings(context.plan, context.run, wish, self._alive, self._is_held)
        self.notifier = notifier(context)
        self.tell()

    def tell(self) -> None:
        """Tell whoever wants to know what is recorded by now."""
        if self.notifier:
            try:
                self.notifier.look(self.context.plan, self.context.run)
            except TowpathError as error:  # a store that does not answer will fail what matters by itself
                self.context.reporter.note(f"nobody is told: {error.message}")

    def walk(self) -> Run:
        wanted = self.wish.only if self.wish.only is not None else frozenset(self.context.plan.stages)
        standings, found = self.standings, self.standings.found
        while True:
            if not self.received and not self.canceled_by:
                self._start([name for name in found if name in wanted and found[name] == "ready"])
            if not self.under_way:
                break
            taken = {self.under_way.pop(future): future.result() for future in self._next()}
            for name, made in taken.items():
                self._take(name, made)
            self.tell()
            standings.run, standings.wish = self.context.run, self.wish
            elsewhere = [name for name, standing in found.items() if standing in ("running", "gated")]
            standings.look_again(found if None in taken.values() else [*taken, *elsewhere])
        if self.received:
            name = signal.Signals(self.received[0]).name
            raise Interrupted(
                f"stopped by {name}",
                code=128 + self.received[0],
                hint=f"Go on with: towpath resume {self.context.run.id}",
            )
        if self.canceled_by:
            hint = f"Go on with: towpath resume {self.context.run.id}"
            raise Interrupted(f"canceled by {self.canceled_by}", code=143, hint=hint)
        if self.failures:
            first, *others = self.failures
            first.also = (*others, *_held_back(self.context, wanted))
            raise first
        _explain(self.context, {name: standing for name, standing in found.items() if name in wanted}, self.wish)
        return self.context.run

    def cancel(self) -> None:
        """Ask everything that is under way to end."""
        for name in self.under_way.values():
            self._stop(name)

    def _stop(self, name: str, by: str = "") -> None:
        self.stops[name].set(by)
        attempts.cancel(self.context, name)

    def _obey(self) -> None:
        """Stop what somebody asked to, of what this runner makes. A store that does not answer now may the next time."""
        if time.monotonic() - self.looked_at < LIMITS.cancel_look_s:
            return
        self.looked_at = time.monotonic()
        run = self.context.run
        mine = {name: f"{name}.{len(run.attempts.get(name, [])) + 1}" for name in self.under_way.values()}
        with suppress(StoreError):
            for asked in self.requests.new():
                named = [name for name, attempt in mine.items() if attempt in asked.attempts]
                if named and asked.whole:
                    self.canceled_by = asked.by
                for name in mine if named and asked.whole else named:
                    self._stop(name, asked.by)

    def _alive(self, last: Attempt) -> bool:
        known = self.context
        return last.stage in self.under_way.values() or earlier.alive(known.store, known.plan, known.run, last)

    def _is_held(self, last: Attempt) -> bool:
        """Tell whether a proposal that waits has still to wait: people have to approve, or to be asked to."""
        known = self.context
        if known.propose_only or last.proposal is None:
            return last.proposal is not None
        return _look(known, last.stage).state in HELD

    def _start(self, ready: list[str]) -> None:
        for name in ready:
            if len(self.under_way) < self.jobs and name not in self.under_way.values() and name not in self.tried:
                self.stops[name] = Stop()
                self.under_way[self.pool.submit(attempts.make, self.context, name, self.stops[name])] = name

    def _next(self) -> set[Future[Attempt | None]]:
        """Wait until an attempt ends; a signal in the meantime asks all of them to."""
        while True:
            done, _ = wait(self.under_way, timeout=0.1, return_when=FIRST_COMPLETED)
            if self.received:
                self.cancel()
            self._obey()
            if done:
                return done

    def _take(self, name: str, made: Attempt | None) -> None:
        del self.stops[name]
        if made is None:  # another runner claimed it first: see what it does
            self.context.run = runs.load(self.context.store, self.context.run.id)
            earlier.distrust(self.context)
            return
        self.context.run.add(made)
        if made.outcome != "waiting" or made.gate != "open":  # else its turn may yet come
            self.tried.add(name)  # once a command, however it ended
        failed_now = self.wish.failed_now
        if made.outcome not in ("succeeded", "waiting"):
            failed_now |= {name}
            self.failures.append(failure_of(made, self.context.run.id))
        self.wish = Wish(self.wish.only, self.wish.again - {name}, failed_now)


def failure_of(made: Attempt, run_id: str) -> TowpathError:
    """Give the error that an attempt which did not succeed ends the command with."""
    text = f"stage {made.stage} {made.outcome}"
    hint = f"Its log: towpath logs {run_id} {made.stage}   Once it is mended: towpath resume {run_id}"
    kinds: dict[str, type[TowpathError]] = {
        "mismatch": VerificationFailed,
        "moved": VerificationFailed,
        "blocked": Blocked,
        "invalid": UsageError,
    }
    if made.outcome == "rejected":
        again = "What was rejected stays so. Change it, and start a new run: towpath run"
        return Rejected(f"stage {made.stage}: {made.failure.message if made.failure else 'rejected'}", hint=again)
    error: type[TowpathError] = TimedOut if made.outcome == "timed-out" else StageFailed
    where = None
    if made.failure:
        text, where = f"stage {made.stage}: {made.failure.message}", made.failure.where
        hint = made.failure.hint or hint  # what the stage advises may be something else than going on
        hint = hint.replace("`towpath resume`", f"`towpath resume {run_id}`")  # which no stage knows
        error = kinds.get(made.failure.cls, error)
    return error(text, hint=hint, where=where)


def _held_back(context: Context, wanted: Collection[str]) -> Iterator[StageFailed]:
    """Say of what nothing is applied, as a part of it could not be proposed."""
    run = context.run
    for group, lacking in held_back(context.plan, run):
        if any(context.plan.stages[name].group == group for name in wanted):
            text = f"nothing of {group} is applied, as all its environments are proposed before any is changed; not proposed: {', '.join(lacking)}"
            hint = f"Once that is mended, all of it goes on, with what is proposed: towpath resume {run.id}"
            yield StageFailed(text, hint=f"{hint}\nWhere the plan itself has to change, start a new run: towpath run")


HELD = ("waiting", "frozen", "locked")
"""As in `pipeline.gating`, which most runs need not load."""


def _explain_gates(context: Context, found: dict[str, Standing]) -> None:
    run = context.run
    for name, standing in found.items():
        last = run.last(name)
        if standing == "rejected" and last:
            raise failure_of(last, run.id)
    looked = {name: _look(context, name) for name, standing in found.items() if standing == "gated"}
    gates = {name: gate for name, gate in looked.items() if gate.state != "open"}
    for name, gate in gates.items():
        if gate.state in ("outdated", "held", "busy"):
            raise Blocked(f"stage {name}: {'; '.join(gate.reasons)}", hint=gate.hint)
    waiting = {name: gate for name, gate in gates.items() if gate.state not in HELD[1:]}
    if gates and not waiting:
        reasons = [f"stage {name}: {'; '.join(gate.reasons)}" for name, gate in gates.items()]
        raise Blocked("\n".join(reasons), hint=f"What is proposed is kept. Once that is over: towpath resume {run.id}")
    if gates:
        reasons = [f"{name}: {reason}" for name, gate in gates.items() for reason in gate.reasons]
        names = dict.fromkeys(context.plan.stages[name].group or name for name in waiting)
        hint = "\n".join(f"towpath approve {run.id} {name} --reason '...'" for name in names)
        hint += f"\nthen: towpath resume {run.id}"
        if any(gate.decision and gate.decision.stuck for gate in gates.values()):
            hint = (
                "No approval opens this gate. Mend `people`, `approvals` or the commits, then start anew: towpath run"
            )
        raise Waiting("waiting for approval\n" + "\n".join(f"  {each}" for each in reasons), hint=hint)


def _look(context: Context, name: str) -> Gate:
    last = context.run.last(name)
    if last is None or last.proposal is None:
        raise AssertionError(f"{name} waits, and has proposed nothing")
    from pipeline import gating  # late, as most runs have no gate

    stage = context.plan.stages[name]
    return gating.look(context.store, context.plan, context.run, stage, last.proposal, trust=context.trust)


def _ended(last: Attempt) -> str:
    return {"canceled": "canceled", "timed-out": "timed out"}.get(last.outcome or "", "killed")


def _explain(context: Context, found: dict[str, Standing], wish: Wish) -> None:
    """Nothing is under way and nothing failed: say what is not done, if anything is not."""
    run = context.run
    for name, standing in found.items():
        last = run.last(name)
        if standing == "running" and last:
            writer = last.writer
            who = f"process {writer['pid']} on {writer['host']} since {last.opened_at}"
            raise Blocked(f"stage {name} is being run by {who}", hint=f"Wait for it: towpath status {run.id}")
        if standing == "unknown" and last:
            again = (
                f"towpath stage run {name} --run {run.id} --again"
                if wish.only
                else f"towpath resume {run.id} --again {name}"
            )
            raise StageFailed(
                f"stage {name}: attempt {last.number} was {_ended(last)} in the middle, and nobody knows what it had done by then",
                hint=f"Look at what it acts on, then repeat it: {again}\n"
                "(If repeating does no harm, say so in the definition: idempotent: true)",
            )
    _explain_gates(context, found)
    for name, standing in found.items():
        if standing not in ("done", "ready", "gated"):
            stage = context.plan.stages[name]
            missing = [need for need in (*stage.needs, *stage.after) if not run.done(need)]
            if not missing and (others := unproposed(context.plan, run, name)):
                hint = f"First: towpath stage propose {others[0]} --run {run.id}   or all that is left: towpath resume {run.id}"
                raise StageFailed(
                    f"stage {name} is applied once all of {stage.group} is proposed: {', '.join(others)} not yet in run {run.id}",
                    hint=hint,
                )
            raise StageFailed(
                f"stage {name} needs {', '.join(missing)}, not done in run {run.id}",
                hint=f"First: towpath stage run {' '.join(missing)} --run {run.id}   or all that is left: towpath resume {run.id}",
            )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of being torn out of the middle of a write."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
