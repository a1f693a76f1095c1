"""One attempt's way through the gate of its stage: how the gate stood, and what the ledger is told before and after."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import barriers, gating
from pipeline.errors import Blocked
from pipeline.record import artifacts, chain, ledger, ledgers
from stages.contract import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.context import Context
    from pipeline.gating import Gate, State
    from pipeline.plan import PlannedStage
    from pipeline.record.replay import Outcome
    from pipeline.record.writer import ChainWriter
    from stages.contract import Proposal


_LOOKS = 20
"""At a ledger that others write to: each time that one is put off, somebody else has got on."""


def _people(gate: Gate) -> dict[str, Any]:
    """What people had said by then, for whoever is to be told of it."""
    decision = gate.decision
    return {
        "decisions": [
            {"statement": each.digest, "person": each.person, "decision": each.decision}
            for each in (decision.counted if decision else ())
        ],
        "voided": [
            {"statement": each.digest, "person": each.person, "reason": each.reason}
            for each in (decision.refused if decision else ())
            if each.voided
        ],
        "glass": [
            {"statement": each.digest, "person": each.person, "waives": list(each.waives), "reason": each.reason}
            for each in gate.glass
            if gate.waived & set(each.waives)
        ],
    }


@dataclass
class Passage:
    """See the module. `say` tells a line to the log and the screen. `turn` says for what the stage has to wait before it is applied.

    `seen` is how long the ledger was when somebody first looked whether what is proposed may be done. `resumes`: it goes on with what an older
    attempt had begun.
    """

    context: Context
    stage: PlannedStage
    number: int
    writer: ChainWriter
    say: Callable[[dict[str, Any], dict[str, Any]], None]
    turn: list[str]
    seen: int | None = None
    told_first_time: bool = False
    resumes: bool = False

    def is_held_up(self) -> bool:
        """Look whether anything keeps the stage from its target, before a proposal leaves a trace there; if so, record it."""
        context = self.context
        found = barriers.barrier(context.store, context.plan, context.run, self.stage, context.trust)
        if found is None:
            return False
        on = {"subject": None, "judged_by": None, "ledger": found.ledger.head}
        self._looked(found.state, found.reasons, on, found.hint)
        return True

    def held(self, proposal: Proposal) -> Outcome | None:
        """Look whether the proposal may be applied, and record it. None if it may: then the ledger says that it begins.

        If somebody else has written to the ledger just then, look again: it may have been another's deployment, or a lock.
        """
        left = _LOOKS
        while True:
            try:
                return self._held(proposal)
            except Blocked:
                left -= 1
                if not left:
                    raise

    def _held(self, proposal: Proposal) -> Outcome | None:
        context = self.context
        if not context.propose_only:
            self._take_up_reviews()
        gate = gating.look(context.store, context.plan, context.run, self.stage, proposal, trust=context.trust)
        proposes_only = context.propose_only or bool(self.turn)
        is_first = not ledger.may_write(gate.ledger, context.key, context.trust)
        if not proposes_only:
            gate = gating.barred(gate, context.key, context.trust)
            if is_first and gate.state in ("open", "waiting"):
                self._tell_first_time(gate)
        gate = gating.declined(gate, context.declined)
        subject = artifacts.put_json(context.store, gate.subject)
        on = {
            "subject": subject,
            "judged_by": gate.judged_by.digest,
            "ledger": gate.ledger.head,
            "clock": gate.clock.isoformat(),
            **_people(gate),
        }
        is_open = gate.state == "open"
        told = self.turn if is_open else []
        self._looked(gate.state, [*gate.reasons, *told], on, gate.hint, goes_on=is_open and not proposes_only)
        if self.seen is None:
            self.seen = gate.ledger.head.length if gate.ledger.head else 0
        if gate.state in gating.HELD or (is_open and proposes_only):
            return "waiting"
        if gate.state != "open":
            return "rejected" if gate.state == "rejected" else "failed"
        if gate.ledger.rules is None:
            context.reporter.note(
                f"{gate.ledger.name} is enrolled: these rules are in force from now on, and weaker ones must be approved"
            )
        gating.enter(context.store, gate, context.run, (self.stage.kind, self.number), context.key)
        if is_first:
            self._take_up_reviews()
        self.resumes = gate.begun
        return None

    def _take_up_reviews(self) -> None:
        """Write down what others have reviewed since: whoever did, may have no key that writes ledgers.

        One that has never written to this ledger does not begin with that: it may be that nothing is let through.
        """
        context = self.context
        if self.stage.target is None:
            return
        book = ledgers.read(context.store, ledger.name_of(self.stage.gated_target), context.trust)
        if book.glass and ledger.may_write(book, context.key, context.trust):
            from pipeline import reviews  # late, as hardly ever somebody broke the glass

            reviews.take_up(context.store, book.name, context.key, context.trust)

    def _tell_first_time(self, gate: Gate) -> None:
        """Say beforehand that those who pin keys will have to enrol this one. Without pinned keys, who can write to the store is believed."""
        if not self.told_first_time:
            self.told_first_time = True
            self.context.reporter.note(gating.first_time(gate.ledger, self.context.key))

    def told_apart(self, result: Result) -> Result:
        """Where the target has moved, look in the ledger whether it was another run's deployment: that is nobody's tampering."""
        context, failure = self.context, result.failure
        if failure is None or failure.cls != "moved" or self.seen is None:
            return result
        other = barriers.lost_race(context.store, context.run, self.stage, self.seen, context.trust)
        if other is None:
            return result
        text = f"{failure.message}; run {other.run}, asked for by {other.asked_for_by}, deploys here at the same time"
        hint = f"Once that is over, this proposes anew: towpath resume {context.run.id}"
        return dataclasses.replace(result, failure=dataclasses.replace(failure, cls="blocked", message=text, hint=hint))

    def leave(self, outcome: Outcome, facts: dict[str, Any], failure: Failure | None = None) -> None:
        """Say in the ledger what came of it; of what was stopped in the middle, or lost sight of, nobody knows yet."""
        context = self.context
        if outcome in ("succeeded", "failed") and not (failure and failure.cls == "retryable"):
            about = {"run": context.run.id, "stage": self.stage.name}
            told = {**about, "outcome": outcome, "functions": facts.get("functions", {})}
            told |= {"deleted": True} if ledger.deletes(self.stage.kind, facts) else {}
            book = gating.leave(context.store, self.stage, told, context.key, context.trust)
            if outcome == "succeeded" and any(each.run == context.run.id for each in book.holds):
                environment = self.stage.target.called if self.stage.target else ""
                text = f"{environment} is held: nothing else is deployed there until towpath rollback {environment} --lift --reason '...'"
                context.reporter.note(text)

    def _looked(
        self, state: State, reasons: list[str], on: dict[str, Any], hint: str | None, *, goes_on: bool = False
    ) -> None:
        """Record how the gate stood, and tell of it. `on` is what that was found on: subject, rules, the ledger's head."""
        for reason in reasons:
            self.say({"phase": "apply", "stream": "gate", "text": reason}, {})
        text = "; ".join(reasons)
        failures = {
            "refused": Failure("terminal", text),
            "rejected": Failure("terminal", text),
            **{each: Failure("blocked", text, hint=hint) for each in ("outdated", "held", "busy")},
        }
        failure = failures.get(state)
        looked = {
            "state": state,
            "goes_on": goes_on,
            **on,
            "ledger": on["ledger"].as_json() if on["ledger"] else None,
            "reasons": reasons,
            "failure": dataclasses.asdict(failure) if failure else None,
        }
        self.writer.append(chain.GATE_LOOKED_AT, looked)
