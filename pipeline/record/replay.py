"""From events to state: pure, and the only way there is.

The rules:

1. A run exists once its opening chain is closed; its head is what every other chain of the run refers to.
2. An attempt belongs to whoever put the first event of its chain.
3. What an attempt meant to do stands before what it did: `phase.intended`, then `phase.finished`.
4. An attempt has ended when its chain is closed, with the outcome given there. An attempt that is not closed is running,
   or lost: which of the two, events cannot tell, so that is asked of the machine (`pipeline.engine`).
5. Attempt n+1 says in its first event which chain it follows, with head and length: anything that a writer adds to the
   older one after that is not part of the run.
6. What `phase.finished` says is known, even if the writer died before it closed the chain: attempt n+1 adopts a result,
   and does nothing over again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import VerificationFailed
from pipeline.record import chain
from stages.contract import Failure, Phase, Proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Outcome = Literal["succeeded", "failed", "canceled", "timed-out", "waiting", "rejected"]

INTERRUPTED = (None, "canceled", "timed-out")
"""Outcomes of attempts that were ended, by whoever it was, and did not end by themselves."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of one stage, as its chain tells it. `outcome` is None while it is not closed.

    `phase` is the last phase that was intended, `phase_outcome` how it ended, None while nobody knows; `finished` are the
    phases that ended well. `proposal` is what was proposed. `outputs` maps an artifact's name to its digest; `statements` are
    digests too. `people` is what they had said by then, and why the gate stood so. `rejected` is the digest of what its gate found rejected, `looked` how long the ledger was when it last looked, `gate` how the gate
    then stood.
    """

    stage: str
    number: int
    head: chain.Head
    opened_at: str
    closed_at: str | None
    writer: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    follows: dict[str, Any] | None
    builds_on: tuple[dict[str, Any], ...] = ()
    outcome: Outcome | None = None
    phase: Phase | None = None
    phase_outcome: Outcome | None = None
    finished: tuple[Phase, ...] = ()
    proposal: Proposal | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    failure: Failure | None = None
    status: int | None = None
    rejected: str | None = None
    inherited: dict[str, Any] | None = None
    looked: int | None = None
    people: dict[str, Any] | None = None
    gate: str | None = None

    @property
    def half_way(self) -> bool:
        """Whether it was ended in the middle of its apply phase, so that nobody knows what it had done by then."""
        outcome = self.outcome or self.phase_outcome
        stopped = outcome in (None, "canceled", "timed-out") or (self.status is not None and self.status < 0)
        return self.phase == "apply" and outcome != "succeeded" and stopped

    @property
    def undecided(self) -> bool:
        """Whether it was ended in the middle of applying what had been proposed, or lost sight of it (`retryable`).

        What it began outside may have gone on, so whoever comes next goes on with the same proposal.
        """
        if self.phase != "apply":
            return False
        lost = self.outcome == "failed" and self.failure is not None and self.failure.cls == "retryable"
        return self.outcome in INTERRUPTED or (lost and self.proposal is not None)

    @property
    def began_nothing(self) -> bool:
        """Whether it ended before it began a phase, so that what older ones had begun is as they left it."""
        return self.phase is None and self.outcome != "succeeded"

    @property
    def has_result(self) -> bool:
        """Whether it did all it had to do, and its writer died before it closed the chain."""
        return self.outcome is None and "apply" in self.finished

    @property
    def name(self) -> str:
        """The chain's name within its run."""
        return f"{self.stage}.{self.number}"


@dataclass
class Run:
    """A run as its chains tell it. Attempts of a stage are in order."""

    id: str
    head: chain.Head
    opened_at: str
    plan: str
    data: dict[str, Any]
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def add(self, attempt: Attempt) -> None:
        """Put an attempt in its place, over an older reading of the same one."""
        others = [each for each in self.attempts.get(attempt.stage, []) if each.number != attempt.number]
        self.attempts[attempt.stage] = sorted([*others, attempt], key=lambda each: each.number)

    def check_heads(self) -> None:
        """Raise VerificationFailed if a chain that another builds on does not end where that one says it does."""
        heads = {each.head.chain: each.head for attempts in self.attempts.values() for each in attempts}
        for attempt in (each for attempts in self.attempts.values() for each in attempts):
            for told in attempt.builds_on:
                found = heads.get(told["chain"])
                if found is None or (found.digest, found.length) != (told["head"], told["length"]):
                    here = f"has {found.length} events" if found else "is missing"
                    raise VerificationFailed(
                        f"{told['chain']} {here}, and {attempt.head.chain} builds on {told['length']} of it"
                    )

    def last(self, stage: str) -> Attempt | None:
        """The latest attempt of a stage, if there is one."""
        attempts = self.attempts.get(stage)
        return attempts[-1] if attempts else None

    def done(self, stage: str) -> Attempt | None:
        """The attempt of a stage that succeeded, if there is one."""
        last = self.last(stage)
        return last if last and last.outcome == "succeeded" else None


def applied_since(attempts: Iterable[Attempt], number: int) -> bool:
    """Tell whether one of these attempts of a stage, from a number on, was about to apply what was proposed."""
    return any(each.phase == "apply" for each in attempts if each.number >= number)


def _is_authors(value: Any) -> bool:
    """Tell whether this is, for each ledger, a list of names, or null where nobody knows."""
    return isinstance(value, dict) and all(
        names is None or (isinstance(names, list) and all(isinstance(each, str) for each in names))
        for names in value.values()
    )


def _is_inheritance(value: Any) -> bool:
    """Tell whether this says which attempts of an older run are taken over, each by the head of its chain."""
    if not isinstance(value, dict) or not isinstance(value.get("stages"), dict):
        return False
    stages, asked, root = value["stages"], value.get("requesters"), value.get("root")
    if not isinstance(root, dict) or not all(isinstance(root.get(each), str) for each in ("run", "opening")):
        return False
    if not isinstance(asked, list) or not all(each is None or _is_map(each) for each in asked):
        return False
    return all(
        _is_head(each) and isinstance(each.get("run"), str) and type(each.get("attempt")) is int
        for each in stages.values()
    )


def _is_way(value: Any) -> bool:
    """Tell whether this says how a run takes over from another: for which environments, and of which plan its own is a part."""
    if not _is_map(value) or not all(isinstance(value.get(each), str) for each in ("kind", "plan")):
        return False
    named = value.get("environments")
    return isinstance(named, list) and all(isinstance(each, str) for each in named)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is_head(value: Any) -> bool:
    """Tell whether this is the head of a chain, as others hold it."""
    return _is_map(value) and isinstance(value.get("chain"), str) and type(value.get("length")) is int


def _is_before(value: Any) -> bool:
    """Tell whether this is a list of runs, each with its opening."""
    return isinstance(value, list) and all(
        _is_map(each) and isinstance(each.get("run"), str) and isinstance(each.get("opening"), str) for each in value
    )


_OPENING: dict[str, Callable[[Any], bool]] = {
    "requester": lambda value: value is None or isinstance(value, dict),
    "source": lambda value: value is None or isinstance(value, dict),
    "authors": lambda value: value is None or _is_authors(value),
    "inherits": lambda value: value is None or _is_inheritance(value),
    "way": lambda value: value is None or _is_way(value),
    "identity": lambda value: value is None or isinstance(value, str),
    "before": lambda value: value is None or _is_before(value),
    "ledgers": lambda value: value is None or (_is_map(value) and all(map(_is_head, value.values()))),
}


_CLAIM: dict[str, Callable[[Any], bool]] = {
    "writer": _is_map,
    "inputs": lambda value: _is_map(value) and all(map(_is_map, value.values())),
    "builds_on": lambda value: isinstance(value, list) and all(map(_is_head, value)),
    "follows": lambda value: value is None or _is_head(value),
}


def opening(run_id: str, events: list[chain.Event]) -> Run | None:
    """Replay a run's opening chain; None if it is not complete (rule 1)."""
    if [event.type for event in events] != [chain.CHAIN_OPENED, chain.RUN_OPENED, chain.CHAIN_CLOSED]:
        return None
    opened = events[1]
    wrong = [name for name, form in _OPENING.items() if not form(opened.data.get(name))]
    if wrong:
        raise VerificationFailed(f"runs/{run_id}/open: what it says of {' and '.join(wrong)} is not of its form")
    try:
        return Run(run_id, chain.head(events, f"runs/{run_id}/open"), opened.at, opened.data["plan"], opened.data)
    except KeyError as error:
        raise VerificationFailed(f"runs/{run_id}/open: the opening does not say {error}") from error


def attempt(run: Run, name: str, events: list[chain.Event]) -> Attempt:
    """Replay one attempt's chain. Raises VerificationFailed if it is not of this run or not of the form."""
    full = f"runs/{run.id}/{name}"
    if not events:
        raise VerificationFailed(f"{full}: the chain has no events")
    first, last = events[0], events[-1]
    if first.data.get("opening") != run.head.digest:
        raise VerificationFailed(f"{full}: its first event does not refer to this run's opening")
    if (first.data.get("stage"), first.data.get("attempt")) != _split(name):
        raise VerificationFailed(
            f"{full}: its first event is of stage {first.data.get('stage')!r}, attempt {first.data.get('attempt')}"
        )
    wrong = [name for name, form in _CLAIM.items() if not form(first.data.get(name))]
    if wrong:
        raise VerificationFailed(f"{full}: what its first event says of {' and '.join(wrong)} is not of its form")
    try:
        base = Attempt(
            stage=first.data["stage"],
            number=first.data["attempt"],
            head=chain.head(events, full),
            opened_at=first.at,
            closed_at=last.at if last.type == chain.CHAIN_CLOSED else None,
            writer=first.data["writer"],
            inputs=first.data["inputs"],
            follows=first.data["follows"],
            builds_on=tuple(first.data["builds_on"]),
        )
        return _fold(base, events[1:], full)
    except (KeyError, TypeError) as error:
        raise VerificationFailed(f"{full}: an event lacks what its type must hold: {error!r}") from error


def _split(name: str) -> tuple[str, int]:
    stage, _, number = name.rpartition(".")
    is_number = number.isascii() and number.isdecimal() and not number.startswith("0")  # one attempt, one name
    return stage, int(number) if is_number else 0


def _fold(base: Attempt, events: list[chain.Event], full: str) -> Attempt:
    state: dict[str, Any] = {}
    for event in events:
        if event.type == chain.PHASE_INTENDED:
            state |= {"phase": event.data["phase"], "phase_outcome": None}
        elif event.type == chain.PROPOSAL_ADOPTED:
            state["proposal"] = _proposal(event.data["proposal"])
        elif event.type == chain.RESULT_ADOPTED:
            state |= {name: event.data[name] for name in ("outputs", "facts")}
            state |= {"statements": tuple(event.data["statements"]), "finished": ("apply",)}
        elif event.type == chain.RESULT_INHERITED:
            state |= {name: event.data[name] for name in ("outputs", "facts")}
            state |= {"statements": tuple(event.data["statements"]), "inherited": _inherited(event.data["from"])}
        elif event.type == chain.PHASE_FINISHED:
            state |= _phase(event.data, state.get("finished", ()))
        elif event.type == chain.GATE_LOOKED_AT:
            state |= {"failure": Failure(**event.data["failure"])} if event.data["failure"] else {}
            state |= {"rejected": event.data["subject"]} if event.data["state"] == "rejected" else {}
            state["gate"] = event.data["state"]
            state["people"] = {name: event.data.get(name) for name in _PEOPLE}
            state["looked"] = event.data["ledger"]["length"] if event.data["ledger"] else 0
        elif event.type == chain.CHAIN_CLOSED:
            state["outcome"] = event.data["outcome"]
        else:
            raise VerificationFailed(f"{full}: event {event.seq} is of the unknown type {event.type!r}")
    return Attempt(**{**vars(base), **state})


_PEOPLE = ("goes_on", "reasons", "decisions", "voided", "glass")


def _inherited(told: Any) -> dict[str, Any]:
    if not _is_head(told) or not isinstance(told.get("run"), str) or type(told.get("attempt")) is not int:
        raise TypeError("what it was taken over from")
    return dict(told)


def _phase(data: dict[str, Any], finished: tuple[Phase, ...]) -> dict[str, Any]:
    if not _is_map(data["outputs"]) or not _is_map(data["facts"]) or not isinstance(data["status"], int | None):
        raise TypeError("outputs, facts or status")
    told: dict[str, Any] = {name: data[name] for name in ("outputs", "facts", "status")}
    told |= {"phase_outcome": data["outcome"], "statements": tuple(data["statements"])}
    if data["outcome"] == "succeeded":
        told["finished"] = (*finished, data["phase"])
    if data["proposal"] and data["phase"] == "propose":
        told["proposal"] = _proposal(data["proposal"])
    if data["failure"]:
        told["failure"] = Failure(**data["failure"])
    return told


def _proposal(value: Any) -> Proposal:
    proposal = Proposal(**value)
    if not _is_map(proposal.subject) or not _is_map(proposal.handle) or not isinstance(proposal.view, str):
        raise TypeError("the proposal")
    return proposal
