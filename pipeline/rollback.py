"""To what an environment could go back: read from the ledger of its target, and from the runs that deployed there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import inherit
from pipeline import plan as plans
from pipeline.errors import Blocked, Incomplete, TowpathError, UsageError, VerificationFailed
from pipeline.gates import rollbacks
from pipeline.record import artifacts, ledger, ledgers, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.plan import PlannedStage
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


@dataclass(frozen=True)
class Candidate:
    """A deployment that stood at a target. `wrong` says why nobody would go back to it by default, None if it was healthy."""

    deployment: Deployment
    wrong: str | None

    def as_json(self) -> dict[str, Any]:
        """Give what tells people and programs of it."""
        each = self.deployment
        return {
            **each.as_json(),
            "commit": each.commit,
            "release": each.release,
            "approved_by": list(each.people),
            "wrong": self.wrong,
        }


def book_of(store: Store, environment: str, trust: Trust | None, wanted: str | None = None) -> Ledger:
    """Give the ledger of an environment's target: the record says what was deployed under that name, whatever a working tree has.

    A stack that was deployed without a pipeline is found by its own name too. `wanted` is the ledger's name where several targets were called so. Raises UsageError, VerificationFailed.
    """
    found: list[str] = []
    known: list[str] = []
    for name in (f"ledgers/{each}" for each in store.names("ledgers")):
        with suppress(
            VerificationFailed
        ):  # that another target's does not hold, or is another gate's, is no matter here
            stage = _last(store, ledgers.read(store, name))
            target = stage.target if stage else None
            known += [target.called] if target else []
            found += [name] if target and environment in (target.called, target.environment) else []
    chosen = wanted if wanted in found else found[0] if len(found) == 1 else None
    if chosen:
        return ledgers.read(store, chosen, trust)
    if found:
        listed = ", ".join(each.removeprefix("ledgers/") for each in found)
        hint = "Go into the project whose environment it is, name the stack, or a run that was deployed there: --to RUN"
        raise UsageError(f"several targets were deployed to as {environment!r}: {listed}", hint=hint)
    hint = f"Deployed to: {', '.join(sorted(set(known))) or 'nothing yet'}."
    raise UsageError(f"nothing in {store.location} was deployed to {environment!r}", hint=hint)


def _last(store: Store, book: Ledger) -> PlannedStage | None:
    """Give the stage that last deployed there; its plan says what the target is called."""
    return next((_stage(store, each) for each in reversed(list(ledger.deployments(book.events)))), None)


def _stage(store: Store, deployment: Deployment) -> PlannedStage | None:
    run = runs.opened(store, deployment.run, deployment.opening)
    return plans.of(store, run).stages.get(deployment.stage) if run else None


def standing(book: Ledger) -> list[Deployment]:
    """Give what stands at a target, last, or what deleted it, and what that replaced. Raises UsageError if nothing ever stood."""
    found = rollbacks.standing(ledger.made(book.events))
    if not found:
        raise UsageError(f"{book.name}: nothing was deployed there")
    return found


def candidates(store: Store, book: Ledger) -> Iterator[Candidate]:
    """Give what stood before what stands now, the latest first."""
    *before, now = standing(book)
    for each in reversed(before):
        if not each.deletes:
            yield look(store, each, now)


def distinct(store: Store, found: Iterable[Candidate]) -> Iterator[Candidate]:
    """Give those that were healthy: of several that deployed the same, the first. Raises VerificationFailed."""
    kept: list[dict[str, Any]] = []
    for each in found:
        proposal = subject(store, each.deployment) if each.wrong is None else None
        if proposal and all(rollbacks.differing(proposal, other) for other in kept):
            kept.append(proposal)
            yield each


def look(store: Store, deployment: Deployment, now: Deployment) -> Candidate:
    """Say whether a deployment was healthy: all that comes after it in its environment has succeeded in its run."""
    try:
        if not now.deletes and not rollbacks.differing(subject(store, now), subject(store, deployment)):
            return Candidate(deployment, "it is what stands there now")
        return Candidate(deployment, _sick(store, deployment))
    except (TowpathError, KeyError, TypeError, AttributeError) as error:
        return Candidate(deployment, f"its record cannot be read: {error}")


def _sick(store: Store, deployment: Deployment) -> str | None:
    run = runs.load(store, deployment.run)
    if run.head.digest != deployment.opening:
        raise VerificationFailed(f"run {run.id} is another than the ledger says")
    plan = plans.of(store, run)
    target = plan.stages[deployment.stage].target
    part = inherit.part(plan, [target.environment] if target else [])
    after = {deployment.stage}
    for name, stage in part.stages.items():
        if after & {*stage.needs, *stage.after}:
            after.add(name)
            last = run.last(name)
            if not run.done(name):
                return f"{name} had {(last.outcome or 'not ended') if last else 'not begun'}"
    return None


def subject(store: Store, deployment: Deployment) -> dict[str, Any]:
    """Give what was deployed, as people had approved it. Raises VerificationFailed."""
    found: dict[str, Any] = artifacts.read_json(store, str(deployment.subject), f"what run {deployment.run} deployed")
    proposal: dict[str, Any] = found["proposal"]
    return proposal


def choose(store: Store, book: Ledger) -> tuple[Candidate, list[Candidate]]:
    """Give the last healthy deployment before what stands, and those that were passed over. Raises Incomplete if there is none."""
    skipped: list[Candidate] = []
    for each in candidates(store, book):
        if each.wrong is None:
            return each, skipped
        skipped.append(each)
    raise none_healthy(book, skipped)


def none_healthy(book: Ledger, skipped: Iterable[Candidate]) -> Incomplete:
    """Give the error that there is nothing to go back to: of what stood there, no record says that it was healthy."""
    told = "; ".join(f"run {each.deployment.run}: {each.wrong}" for each in skipped)
    text = "nothing healthy was deployed there before what stands"
    return Incomplete(
        f"{book.name}: {text}{f' ({told})' if told else ''}",
        hint="One of those, all the same: --to RUN" if told else "Go forward instead: mend it, then towpath run",
    )


def chosen(store: Store, book: Ledger, run_id: str) -> Candidate:
    """Give the deployment of a run that somebody names. Raises UsageError."""
    made = list(ledger.deployments(book.events))
    *before, now = standing(book)
    mine = [each for each in made if each.run == run_id]
    while mine and mine[-1].way and mine[-1].goes_back:  # what it went back to is what is meant
        to = str(mine[-1].way.get("run"))
        mine = [each for each in made if each.run == to and each.seq < mine[-1].seq]
    if not mine:
        known = ", ".join(dict.fromkeys(each.run for each in reversed(made)))
        raise UsageError(f"run {run_id} has deployed nothing there that succeeded", hint=f"These have: {known}")
    if mine[-1] == now:
        raise Blocked(
            f"the release of run {mine[-1].run} is what stands there", hint="There is nothing to go back from."
        )
    if mine[-1] not in before:
        text = f"somebody went back from the release of run {mine[-1].run} there: to deploy it again is no rollback"
        last = _last(store, book)
        where = last.target.called if last and last.target else "ENV"
        hint = "Lift the hold, with a reason, then: " if book.hold else "Deploy it as any other release: "
        raise Blocked(text, hint=f"{hint}towpath promote {mine[-1].run} --to {where}")
    return look(store, mine[-1], now)


def lift(store: Store, book: Ledger, told: dict[str, Any], key: Key) -> None:
    """Let releases be deployed again: lift all that holds them up. `told` says who lifts it and why. Raises UsageError, Blocked."""
    if not book.holds:
        raise UsageError(f"{book.name}: nothing is held there", hint="There is nothing to lift.")
    lifted = [(ledger.HOLD_LIFTED, {"lifts": each.seq, "run": each.run, **told}) for each in book.holds]
    ledgers.append(store, book, lifted, key)
