"""What earlier attempts of a stage leave to the next one: whether their writer lives, what they proposed, what nobody vouches for."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Any

from pipeline import locks
from pipeline.errors import Blocked, VerificationFailed
from pipeline.record import chain, runs
from pipeline.record.replay import INTERRUPTED
from pipeline.record.writer import follow_log
from stages.contract import Earlier

if TYPE_CHECKING:
    from pipeline.context import Context
    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store import Store


alive = locks.alive


def under_way(store: Store, plan: Plan, run: Run) -> list[Attempt]:
    """Give the attempts of a run that somebody may be at."""
    lasts = [run.last(name) for name in plan.stages]
    return [last for last in lasts if last and last.outcome is None and alive(store, plan, run, last)]


def proposed(run: Run, stage: str) -> Attempt | None:
    """Give the attempt with whose proposal to go on, rather than propose something else: it is waited for, or was being applied.

    An attempt that died before it began a phase adds nothing to what stood before it. One that ended there by itself takes nothing from what was
    being applied; what was only waited for is proposed anew after it.
    """
    ended = False
    for last in reversed(run.attempts.get(stage, [])):
        if last.undecided or (last.outcome == "waiting" and not ended):
            return last
        if not last.began_nothing:
            break
        ended |= last.outcome not in INTERRUPTED
    return None


def distrust(context: Context) -> None:
    """Where keys are pinned, forget what attempts that are not closed say they came to: nobody sealed that.

    What they were about to apply is kept if the ledger, of which each event is signed, says that just this had begun.
    """
    if context.trust is None:
        return
    from pipeline import gating

    for last in [each for attempts in context.run.attempts.values() for each in attempts if not each.closed_at]:
        stage, proposal = context.plan.stages[last.stage], last.proposal
        if proposal and not (
            stage.rules and gating.has_begun(context.store, context.run, stage, proposal, context.trust)
        ):
            proposal = None
        nothing: dict[str, Any] = {"phase_outcome": None, "finished": (), "outputs": {}, "facts": {}, "status": None}
        context.run.add(dataclasses.replace(last, proposal=proposal, **nothing))


def follows(context: Context, last: Attempt) -> dict[str, Any]:
    """Say where the attempt before ends; if its writer died, also where its log does, which nobody else vouches for."""
    if last.closed_at:
        return last.head.as_json()
    name = runs.log_name(context.run.id, last.stage, last.number)
    try:
        end = next(iter(deque(follow_log(context.store, name), maxlen=1)), None)
    except VerificationFailed:  # going on does not depend on it, and an audit will name what is wrong with it
        return last.head.as_json()
    return {**last.head.as_json(), "log": chain.Head(name, end.digest, end.seq + 1).as_json() if end else None}


def unknown(context: Context, name: str) -> list[Earlier]:
    """Give the attempts just before of which nobody knows what they came to, once nothing of them is alive any more."""
    found: list[Earlier] = []
    for last in reversed(context.run.attempts.get(name, [])):
        if last.phase is None:
            if last.began_nothing:
                continue
            break
        if last.outcome not in INTERRUPTED and not last.undecided:
            break
        handle = runs.handle(context.run.id, name, last.number)
        if not context.executor.lost(f"{handle}-{last.phase}"):
            hint = f"Look at it, and end it: ps -ef | grep {handle}"
            raise Blocked(
                f"stage {name}: a process of attempt {last.number} is still alive and does not end", hint=hint
            )
        found.append(Earlier(handle, last.phase, last.proposal))
    return found
