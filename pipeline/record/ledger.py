"""The ledger of a target: what was meant to be deployed there, by which approvals, and what came of it. Format version 1.

A ledger is a chain (`pipeline.record.chain`) that is never closed and has many writers, one at a time: an event is put only
if its number is free, so of two runners that decide on the same state one finds the number taken, and decides anew.

    target.enrolled        the rules in force from now on; the first event after the opening
    rules.changed          other rules, with the approvals that allowed a weaker set
    deployment.intended    before a change set is executed: run, stage, attempt, subject, release, approvals
    deployment.resumed     before a later attempt goes on with what was intended, as the runner at it had died
    deployment.finished    what came of it
    break-glass.reviewed   of what was let through by breaking the glass: who has reviewed that
    lock.taken             by people: nothing is deployed there any more; who, and why
    lock.released          and why no longer; with a run, that the runners of its attempts are dead, and what they began holds nobody out
    hold.lifted            that releases may be deployed again after a rollback, on whose word and why

What stands at a target is what was intended, or gone on with, there last of what succeeded, whenever that is written down: a runner that dies between the end
of a deployment and its outcome has that written later, perhaps after others have deployed there.

A rollback holds up every other deployment of a release from its intent on, until it has failed or somebody lifts that: what became of one
whose runner died, or lost sight of it, nobody knows.

The rules in force for a target are the last ones here, whatever a working tree says. Pure: `pipeline.record.ledgers` reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed
from pipeline.record import chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust
    from stages.contract import Target


TARGET_ENROLLED = "target.enrolled"
RULES_CHANGED = "rules.changed"
DEPLOYMENT_INTENDED = "deployment.intended"
DEPLOYMENT_RESUMED = "deployment.resumed"
DEPLOYMENT_FINISHED = "deployment.finished"
GLASS_REVIEWED = "break-glass.reviewed"
LOCK_TAKEN = "lock.taken"
LOCK_RELEASED = "lock.released"
HOLD_LIFTED = "hold.lifted"


@dataclass(frozen=True)
class Ledger:
    """A target's ledger as its events tell it.

    `rules` is the JSON form of the rules in force, None before the target is enrolled. `used` are the digests of the
    approvals that a finished deployment has consumed. `intents` are the deployments that were intended and are not finished, by
    run and stage; there may be several, since what died half-way keeps nobody else out. `current` is the last `deploy`
    that succeeded, None once the stack is deleted: programs of the user's pass the same gate, and replace nothing. `holds` are the rollbacks since which nothing else
    may be deployed, as they began: the last that succeeded, and those that are not finished. `lock` says by whom, since when and why nothing is deployed there, if somebody said
    so; `abandoned` are attempts, by run, stage and number, of which somebody said that their runner is dead. `glass` says, by the digest of the statement, what was let
    through by breaking the glass and is not reviewed yet. `begun_at` are the numbers of the events by which `intents` were begun last, `stands_since` that of the
    last of those whose deployment or deletion succeeded. `superseded` are those `intents` that are history: whatever became of them, something that
    began later has succeeded in their place.
    """

    name: str
    head: chain.Head | None = None
    rules: dict[str, Any] | None = None
    used: frozenset[str] = frozenset()
    intents: Mapping[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    current: dict[str, Any] | None = None
    holds: tuple[Deployment, ...] = ()
    events: tuple[chain.Event, ...] = field(default=(), repr=False)
    lock: dict[str, Any] | None = None
    abandoned: frozenset[tuple[str, str, int]] = frozenset()
    glass: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    begun_at: Mapping[tuple[str, str], int] = field(default_factory=dict)
    stands_since: int = -1
    superseded: frozenset[tuple[str, str]] = frozenset()

    @property
    def unsettled(self) -> frozenset[tuple[str, str]]:
        """What has begun here, and may still matter: neither an end of it is written down nor is it superseded."""
        return frozenset(self.intents) - self.superseded

    @property
    def hold(self) -> Deployment | None:
        """The rollback since which nothing else may be deployed, the last if there are several; None where nothing is held."""
        return self.holds[-1] if self.holds else None

    def held_against(self, run: str) -> Deployment | None:
        """The same for a run: by what it has begun itself it is not held up."""
        return next((each for each in reversed(self.holds) if each.run != run), None)


@dataclass(frozen=True)
class Deployment:
    """A `deploy` as the ledger has it, or what `deletes` the stack. `seq` and `at` are of the event that says so, `opening` is the digest of its run's opening.

    `over` tells that it has succeeded, and not only begun; `late`, that another which was intended after it had by then. `subject` is the digest of what was let through. `way` says how its run took over from another: by promotion or by rollback.
    """

    seq: int
    at: str
    run: str
    stage: str
    opening: str
    requester: dict[str, Any]
    release: str | None = None
    commit: str | None = None
    subject: str | None = None
    way: dict[str, Any] | None = None
    people: tuple[str, ...] = ()
    over: bool = True
    late: bool = False
    deletes: bool = False

    @property
    def goes_back(self) -> bool:
        """Whether it was a rollback."""
        return self.way is not None and self.way.get("kind") == "rollback"

    @property
    def asked_for_by(self) -> str:
        """Who asked for it, by the best name there is."""
        return asked_for_by(self.requester)

    def as_json(self) -> dict[str, Any]:
        """Give what tells people of it."""
        return {"run": self.run, "stage": self.stage, "at": self.at, "by": self.asked_for_by}


def asked_for_by(requester: dict[str, Any] | None) -> str:
    """Give the best name there is of who asked for something."""
    told = requester or {}
    return next((str(told[name]) for name in ("email", "login", "user") if told.get(name)), "?")


def name_of(target: Target) -> str:
    """Give the name of a target's ledger: its identity, whatever the environment is called."""
    partition = "embedded" if target.embedded else target.partition
    return f"ledgers/{partition}.{target.account}.{target.region}.{target.stack}"


def may_write(ledger: Ledger, key: Key, trust: Trust | None) -> bool:
    """Tell whether what a key writes to a ledger will be relied on: it is enrolled as gate, or has written there before. Pure.

    One event by a key that others do not enrol, and for them the ledger does not hold any more.
    """
    if trust:
        return trust.key("gate", key.public.fingerprint) is not None
    return not ledger.events or any(each.data["writer"]["key"] == key.public.line for each in ledger.events)


def replay(name: str, events: Iterable[chain.Event], before: Ledger | None = None) -> Ledger:
    """Give the ledger as these events tell it, after those of `before`. Pure.

    Raises VerificationFailed for events that do not fit one another.
    """
    ledger, known = before or Ledger(name), list(before.events if before else ())
    for event in events:
        ledger = after(ledger, event)
        known.append(event)
    head = chain.head(known, name) if known else None
    return replace(ledger, name=name, head=head, events=tuple(known))


def heads(name: str, events: Iterable[chain.Event]) -> frozenset[tuple[str, int, str]]:
    """Give the heads that a ledger has had with these events: its name, its length, and the digest of the last event. Pure."""
    return frozenset((name, event.seq + 1, event.digest) for event in events)


def intended(events: Iterable[chain.Event]) -> Iterator[chain.Event]:
    """Give the events that say that something is about to begin, in order. Pure."""
    return (event for event in events if event.type == DEPLOYMENT_INTENDED)


def taken_up(events: Iterable[chain.Event]) -> Iterator[chain.Event]:
    """Give the events that say that an attempt is about to act, in order: the first on what was intended, or a later one. Pure."""
    return (event for event in events if event.type in (DEPLOYMENT_INTENDED, DEPLOYMENT_RESUMED))


def begun(events: Iterable[chain.Event]) -> Iterator[Deployment]:
    """Give the deployments that were intended, in order: by `deploy` alone, as programs of the user's replace nothing. Pure."""
    for event in events:
        if event.type == DEPLOYMENT_INTENDED and event.data["kind"] == "deploy":
            yield _deployment(event, event.data, over=False)


def deletes(kind: str, facts: Mapping[str, Any]) -> bool:
    """Tell from what a stage found whether it deleted its stack though it is no `delete`: what is left of a stack that is stuck. Pure."""
    return kind == "recover" and facts.get("action") == "delete"


def deployments(events: Iterable[chain.Event]) -> Iterator[Deployment]:
    """Give the deployments that succeeded, in the order in which they were begun last: so they came to the target. Pure."""
    return (each for each in made(events) if not each.deletes)


def made(events: Iterable[chain.Event]) -> Iterator[Deployment]:
    """Give the same, and deletions among them. Pure."""
    intents: dict[tuple[Any, Any], dict[str, Any]] = {}
    begun_at: dict[tuple[Any, Any], int] = {}
    found: list[tuple[int, Deployment]] = []
    last = -1
    for event in events:
        which = (event.data.get("run"), event.data.get("stage"))
        if event.type == DEPLOYMENT_INTENDED:
            intents[which], begun_at[which] = event.data, event.seq
        elif event.type == DEPLOYMENT_RESUMED:
            begun_at[which] = event.seq
        elif event.type == DEPLOYMENT_FINISHED and event.data["outcome"] == "succeeded":
            intent, seq = intents[which], begun_at[which]
            if came := _came(intent, event.data):
                done = _deployment(event, intent, late=seq < last)
                found.append((seq, replace(done, deletes=came == "delete")))
                last = max(last, seq)
    return iter([each for _, each in sorted(found, key=itemgetter(0))])


def _came(intent: Mapping[str, Any], finished: Mapping[str, Any]) -> str | None:
    """Say what came of a stage that succeeded: `deploy` or `delete`; None for programs of the user's, which replace nothing."""
    if intent["kind"] == "recover" and finished.get("deleted") is True:
        return "delete"
    return str(intent["kind"]) if intent["kind"] in ("deploy", "delete") else None


def _deployment(event: chain.Event, intent: dict[str, Any], *, over: bool = True, late: bool = False) -> Deployment:
    asked = intent.get("requester")
    requester = asked if isinstance(asked, dict) else {}
    way = intent.get("way")
    return Deployment(
        event.seq,
        event.at,
        intent["run"],
        intent["stage"],
        str(intent.get("opening")),
        requester,
        release=intent.get("release"),
        commit=intent.get("commit"),
        subject=intent.get("subject"),
        way=way if isinstance(way, dict) else None,
        people=tuple(str(each["person"]) for each in intent.get("approvals") or [] if "person" in each),
        over=over,
        late=late,
    )


def after(ledger: Ledger, event: chain.Event) -> Ledger:
    """Give the ledger after one more event. Raises VerificationFailed."""
    if event.type not in _CHANGES:
        raise VerificationFailed(f"{ledger.name}: event {event.seq} is of the unknown type {event.type!r}")
    try:
        changed = _CHANGES[event.type](ledger, event)
    except (KeyError, TypeError) as error:
        raise VerificationFailed(f"{ledger.name}: event {event.seq} lacks {error}") from error
    return replace(ledger, head=None, events=(), **changed)


def _lifted(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    data = event.data
    if data["lifts"] not in [each.seq for each in ledger.holds] or not data["reason"]:
        raise VerificationFailed(f"{ledger.name}: a hold was lifted that there was not")
    return {"holds": tuple(each for each in ledger.holds if each.seq != data["lifts"])}


def _others(ledger: Ledger, data: Mapping[str, Any]) -> tuple[Deployment, ...]:
    """Give the holds but for what the stage of this event had begun."""
    which = (data["run"], data["stage"])
    return tuple(each for each in ledger.holds if each.over or (each.run, each.stage) != which)


def _intended(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    data = event.data
    held = [each for each in begun([event]) if each.goes_back]
    return {
        "holds": (*_others(ledger, data), *held),
        "begun_at": {**ledger.begun_at, (data["run"], data["stage"]): event.seq},
        "intents": {**ledger.intents, (data["run"], data["stage"]): data},
        "superseded": ledger.superseded - {(data["run"], data["stage"])},
        "glass": {**ledger.glass, **_broken(event)},
    }


def _resumed(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    data = event.data
    intent = ledger.intents.get((data["run"], data["stage"]))
    if intent is None:
        raise VerificationFailed(f"{ledger.name}: a deployment of run {data['run']} was resumed that was not intended")
    if not data["attempt"] > intent["attempt"]:
        raise VerificationFailed(f"{ledger.name}: event {event.seq} resumes what no earlier attempt began")
    anew = _deployment(event, intent, over=False)
    held = [anew] if intent["kind"] == "deploy" and anew.goes_back else []
    return {
        "holds": (*_others(ledger, data), *held),
        "begun_at": {**ledger.begun_at, (data["run"], data["stage"]): event.seq},
        "superseded": ledger.superseded - {(data["run"], data["stage"])},
    }


def _broken(event: chain.Event) -> dict[str, dict[str, Any]]:
    """What is to be reviewed of something that was let through, by the digest of the statement that broke the glass."""
    data = event.data
    told = data.get("break_glass") or {"waived": [], "statements": []}
    about = {"run": data["run"], "stage": data["stage"], "seq": event.seq, "at": event.at}
    about |= {"requester": data.get("requester"), "requesters": told.get("requesters", [])}
    about |= {"people": sorted({str(each["person"]) for each in told["statements"]})}
    return {
        each["statement"]: {**about, "person": each["person"], "reason": each["reason"], "waived": told["waived"]}
        for each in told["statements"]
    }


def _reviewed(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    if event.data["of"] not in ledger.glass:
        raise VerificationFailed(f"{ledger.name}: event {event.seq} reviews what nobody has to review")
    return {"glass": {name: each for name, each in ledger.glass.items() if name != event.data["of"]}}


def _taken(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    del ledger
    return {"lock": {"by": event.data["by"], "at": event.at, "reason": event.data["reason"]}}


def _released(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    run = event.data["run"]
    if not run:
        return {"lock": None}
    return {"abandoned": ledger.abandoned | {(run, each["stage"], each["attempt"]) for each in event.data["attempts"]}}


def _finished(ledger: Ledger, event: chain.Event) -> dict[str, Any]:
    data = event.data
    which = (data["run"], data["stage"])
    intent = ledger.intents.get(which)
    if intent is None:
        raise VerificationFailed(f"{ledger.name}: a deployment of run {data['run']} finished that was not intended")
    left = _others(ledger, data)
    over: dict[str, Any] = {
        "intents": {each: other for each, other in ledger.intents.items() if each != which},
        "begun_at": {each: seq for each, seq in ledger.begun_at.items() if each != which},
        "holds": left,
        "superseded": ledger.superseded - {which},
    }
    if data["outcome"] != "succeeded":
        return over
    glass = (intent.get("break_glass") or {}).get("statements", [])
    used = ledger.used | {each["statement"] for each in [*intent["approvals"], *glass]}
    since, came = ledger.begun_at[which], _came(intent, data)
    over["superseded"] |= frozenset(_history(ledger, intent, since, came)) - {which}
    if came is None or since < ledger.stands_since:
        return {**over, "used": used}
    stands: dict[str, Any] = {"current": None if came == "delete" else {**intent, **data}}
    done = _deployment(event, intent)
    if came == "deploy" and done.goes_back:  # what others had begun before, this has looked after
        stands["holds"] = (done, *(each for each in left if not each.over and each.seq > since))
    return {**over, "used": used, "stands_since": since, **stands}


def _history(ledger: Ledger, intent: Mapping[str, Any], since: int, came: str | None) -> Iterator[tuple[str, str]]:
    """Give what had begun before something that succeeded, and is history by that.

    A deployment or deletion looks first whether the stack is in progress, and has read it back at its end: what others had begun there is over by
    then, and CloudFormation has dropped their change sets. Of a program nothing is known but that the same stage has succeeded since.
    """
    for which, other in ledger.intents.items():
        same = (other["kind"], other["stage"]) == (intent["kind"], intent["stage"])
        if ledger.begun_at[which] < since and (same or (came and other["kind"] in _STACKS)):
            yield which


_STACKS = ("deploy", "delete", "recover")
"""Kinds that act on the stack and on nothing else."""


_CHANGES: dict[str, Callable[[Ledger, chain.Event], dict[str, Any]]] = {
    chain.CHAIN_OPENED: lambda _ledger, _event: {},
    TARGET_ENROLLED: lambda _, event: {"rules": event.data["rules"]},
    RULES_CHANGED: lambda _, event: {"rules": event.data["rules"]},
    DEPLOYMENT_INTENDED: _intended,
    DEPLOYMENT_RESUMED: _resumed,
    DEPLOYMENT_FINISHED: _finished,
    GLASS_REVIEWED: _reviewed,
    LOCK_TAKEN: _taken,
    LOCK_RELEASED: _released,
    HOLD_LIFTED: _lifted,
}
"""What each event changes."""
