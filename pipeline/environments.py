"""What runs where, since when, from which commit and approved by whom: ledgers, and the subjects they name, put into words.

Nothing here asks AWS: what is said is what the record proves. Whether it is still so, `pipeline.drift` finds out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import plan as plans
from pipeline.errors import VerificationFailed
from pipeline.gates import rules as gate_rules
from pipeline.record import artifacts, chain, ledger, ledgers, runs
from pipeline.record.ledger import Ledger
from stages.contract import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.gates.rules import Rules
    from pipeline.plan import Auth, PlannedStage
    from pipeline.record.store import Store

READS = "propose"
"""The key of the role that reads what is deployed."""
HISTORY = 10
"""Deployments of the past that are told of an environment."""
_KNOWN = frozenset(
    {
        chain.CHAIN_OPENED,
        ledger.TARGET_ENROLLED,
        ledger.DEPLOYMENT_INTENDED,
        ledger.DEPLOYMENT_RESUMED,
        ledger.DEPLOYMENT_FINISHED,
    }
)
"""Events that `history`, `current` and `unfinished` tell of; all others, those of locks too, are told as they are."""


@dataclass(frozen=True)
class Place:
    """An environment by its name: one of the definition, or one that only the store knows. `profile` and `auth` say how it is read."""

    name: str
    target: Target
    defined: bool
    profile: str | None = None
    auth: Auth | None = None

    @property
    def ledger(self) -> str:
        """The name of its ledger."""
        return ledger.name_of(self.target)


def of_store(store: Store, known: set[str], trust: Any = None) -> Iterator[Place]:
    """Give the environments of the ledgers that are not among the `known`, by what the plan of their last run calls them."""
    for each in store.names("ledgers"):
        name = f"ledgers/{each}"
        if name not in known:
            try:
                book = ledgers.read(store, name, trust)
            except VerificationFailed:  # whoever asks for what it tells will be told why there is nothing
                book = Ledger(name)
            yield _of_ledger(store, name, book)


def _of_ledger(store: Store, name: str, book: Ledger) -> Place:
    partition, account, region, stack = name.removeprefix("ledgers/").split(".", 3)
    embedded = partition == "embedded"
    last = next((each for each in reversed(book.events) if each.type == ledger.DEPLOYMENT_INTENDED), None)
    stage = _planned(store, last.data) if last else None
    if stage and stage.target and ledger.name_of(stage.target) == name:
        return Place(stage.target.called, stage.target, defined=False, profile=stage.profile, auth=reading(stage.auth))
    target = Target(
        stack, account, region, "aws" if embedded else partition, embedded, None if stack == "None" else stack
    )
    return Place(stack, target, defined=False)


def reading(auth: Auth | None) -> Auth | None:
    """Give that of a stage that proposes, as only that one may read what is deployed."""
    return auth if auth and READS in auth.roles else None


def _planned(store: Store, intent: dict[str, Any]) -> PlannedStage | None:
    """Give the stage that a deployment was of; None if its run is not in this store."""
    run = runs.opened(store, intent["run"], str(intent.get("opening")))
    try:
        return plans.of(store, run).stages.get(intent["stage"]) if run else None
    except VerificationFailed:  # its content was pruned
        return None


def told(place: Place, book: Ledger) -> dict[str, Any]:
    """Give what a ledger tells of an environment. Pure. Raises VerificationFailed for rules that are none."""
    target = place.target
    history = list(_history(book))
    rules = gate_rules.from_json(book.rules, book.name) if book.rules else None
    done = [each for each in history if each["outcome"] == "succeeded" and each["kind"] == "deploy"]
    return {
        "environment": place.name,
        "defined": place.defined,
        "target": {
            "partition": target.partition,
            "account": target.account,
            "region": target.region,
            "stack": target.stack,
            "embedded": target.embedded,
        },
        "ledger": place.ledger if book.events else None,
        "rules": {"text": words(rules), **rules.as_json()} if rules else None,
        "current": done[-1] if done and book.current else None,
        "lock": book.lock,
        "hold": book.hold.as_json() if book.hold else None,
        "unfinished": [each for each in history if each["outcome"] is None],
        "to_review": [{"statement": of, **each} for of, each in book.glass.items()],
        "history": [each for each in history if each["outcome"]][: -HISTORY - 1 : -1],
        "events": [_event(each) for each in book.events if each.type not in _KNOWN][: -HISTORY - 1 : -1],
    }


def _history(book: Ledger) -> Iterator[dict[str, Any]]:
    """Give every deployment that was intended, oldest first, by its last intent if an attempt had died before it began.

    `outcome` is None for one of which no end is written down, and `superseded` if that does not matter any more.
    """
    ended: dict[int, chain.Event] = {}
    open_: dict[tuple[Any, Any], int] = {}
    for event in book.events:
        which = (event.data.get("run"), event.data.get("stage"))
        if event.type == ledger.DEPLOYMENT_INTENDED:
            open_[which] = event.seq
        elif event.type == ledger.DEPLOYMENT_FINISHED:
            ended[open_.pop(which)] = event
    shown, superseded = {*ended, *open_.values()}, {open_[which] for which in book.superseded}
    for event in book.events:
        if event.seq in shown:
            yield _deployment(event, ended.get(event.seq), "superseded" if event.seq in superseded else None)


def tokens(book: Ledger) -> frozenset[str]:
    """Give the tokens of the change sets that deployments in a ledger may have executed: attempts take over from one another. Pure."""
    return frozenset(
        f"towpath-{runs.handle(each['run'], each['stage'], number)}"
        for each in _history(book)
        for number in range(1, (each["attempt"] or 1) + 1)
    )


def _deployment(intent: chain.Event, end: chain.Event | None, otherwise: str | None) -> dict[str, Any]:
    data = intent.data
    functions = end.data.get("functions") if end else None
    return {
        "run": data["run"],
        "stage": data["stage"],
        "kind": data["kind"],
        "attempt": data.get("attempt"),
        "outcome": end.data["outcome"] if end else otherwise,
        "at": end.at if end else intent.at,
        "release": data.get("release"),
        "commit": data.get("commit"),
        "asked_for_by": ledger.asked_for_by(data.get("requester")),
        "way": data.get("way"),
        "approved_by": [each["person"] for each in data.get("approvals", [])],
        "subject": data.get("subject"),
        "functions": functions or {},
    }


def _event(event: chain.Event) -> dict[str, Any]:
    data = {name: value for name, value in event.data.items() if name not in ("writer", "rules")}
    return {"type": event.type, "at": event.at, "data": data}


def words(rules: Rules) -> str:
    """Say what rules demand. Pure."""
    more = ", and a scan that its images have passed" if rules.scan == "required" else ""
    if rules.freezes:
        more += f"; nothing in {', '.join(map(str, rules.freezes))}"
    if not rules.people:
        return f"nobody's approval{more}"
    people = "1 approval" if rules.people == 1 else f"{rules.people} approvals"
    count = f"{rules.expires_s // 3600} h" if rules.expires_s % 3600 == 0 else f"{rules.expires_s // 60} min"
    if rules.expires_s % 60:
        count = f"{rules.expires_s} s"
    return f"{people} of {', '.join(sorted(rules.approvers))}, each good for {count}{more}"


def approved(store: Store, deployment: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Give what was approved of a deployment: the subject's own proposal. Raises VerificationFailed, also if it was pruned."""
    if deployment is None or deployment["subject"] is None:
        return None
    subject = artifacts.read_json(store, deployment["subject"], f"what was approved for {name}")
    proposal = subject.get("proposal") if isinstance(subject, dict) else None
    if not isinstance(proposal, dict):
        raise VerificationFailed(f"what was approved for {name} is no subject of a deployment")
    return proposal


def details(proposal: dict[str, Any] | None, current: dict[str, Any] | None) -> dict[str, Any]:
    """Give what runs in an environment in detail. Pure. Values of secret parameters are digests in the record."""
    if proposal is None or current is None:
        return {"images": {}, "parameters": {}, "template": None, "tags": {}}
    images = {name: each["image"] for name, each in proposal.get("images", {}).items()}
    ran = {name: each.get("image") for name, each in current["functions"].items()}
    return {
        "images": {**images, **{name: image for name, image in ran.items() if image}},
        "parameters": {name: _value(each) for name, each in proposal.get("parameters", {}).items()},
        "template": proposal.get("template"),
        "tags": proposal.get("execution", {}).get("tags", {}),
    }


def _value(parameter: dict[str, Any]) -> str:
    """Give a parameter as text; of a secret its digest, which is equal for equal secrets of one target."""
    if "digest" in parameter:
        return f"(secret, {parameter['digest'][:14]}…)" if parameter["digest"] else "(secret, kept from the stack)"
    resolved = parameter.get("resolved")
    return f"{parameter.get('value')} ({resolved})" if resolved is not None else str(parameter.get("value"))


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what differs between two environments of which `told` and `details` tell, as `what`, and each one's value. Pure.

    One image in two registries is the same, and so is the template of one release, which names it there.
    """
    mine, other = _flat(ours), _flat(theirs)
    same = mine["release"] and mine["release"] == other["release"]
    return [
        {"what": what, "values": [mine.get(what), other.get(what)]}
        for what in sorted({*mine, *other}, key=_order)
        if _compared(what, mine.get(what)) != _compared(what, other.get(what))
        and not (same and what.startswith("template, "))
    ]


def _compared(what: str, value: str | None) -> str | None:
    """What of a value is compared: of an image its digest, wherever it is."""
    return value.rpartition("@")[2] if value and what.startswith("image of ") else value


_ORDER = ("release", "commit", "run", "approved by", "image", "parameter", "template", "tag", "rules")


def _order(what: str) -> tuple[int, str]:
    place = next((at for at, each in enumerate(_ORDER) if what.startswith(each)), len(_ORDER))
    return place, what


def _flat(state: dict[str, Any]) -> dict[str, str | None]:
    current = state["current"] or {}
    flat: dict[str, str | None] = {
        "release": current.get("release"),
        "commit": current.get("commit"),
        "run": current.get("run"),
        "approved by": ", ".join(current.get("approved_by", [])) or None,
        "rules": state["rules"]["text"] if state["rules"] else None,
    }
    for kind, values in (
        ("image of", state["images"]),
        ("parameter", state["parameters"]),
        ("template,", state["template"] or {}),
        ("tag", state["tags"]),
    ):
        flat |= {f"{kind} {name}": value for name, value in values.items()}
    return flat
