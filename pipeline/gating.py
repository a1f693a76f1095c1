"""Whether a proposal may be applied: read the ledger, the inbox and the run, ask `pipeline.gates`, and write down what follows.

What people approve is a subject around the proposal's own: with it stand the rules it is judged by, a change of those
rules if there is one, and the verdicts of the scan over the images. Any difference in any of it is another subject.

What bars a stage from its target whatever people say is asked of `pipeline.barriers`.

    look    reads, and says how the gate stands; nothing is written
    enter   before the apply phase, into the ledger: the target's enrolment, a change of rules, and the intent; or that an intent of an
            attempt that died is gone on with. Either is put only if nothing else has come into the ledger since `look`
    leave   after it: what came of it
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline import barriers, inherit, locks
from pipeline.errors import Blocked, VerificationFailed
from pipeline.gates import decide, freezes, rollbacks, rules, statements, subjects
from pipeline.record import artifacts, ledger, ledgers, replay, runs
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.gates.decide import Counted, Decision, Glass, Received
    from pipeline.gates.rules import Change, Rules
    from pipeline.locks import Holder
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust
    from stages.contract import Proposal

State = Literal["open", "waiting", "rejected", "refused", "outdated", "held", "frozen", "locked", "busy"]
"""`waiting`: people have to approve. `rejected`: somebody did not. `refused`: no approval opens it, as a scan is missing.
`outdated`: a run that was opened later has deployed to the target, and this one's release would replace it. `held`: somebody went back
there to an older release, and it is not lifted yet that others wait. `frozen`, `locked`: it may be applied, and not now, as the rules or
somebody said. `busy`: another run's deployment is under way there."""

HELD = ("waiting", "frozen", "locked")
"""States in which what is proposed is kept, and gone on with once the gate is open."""

FOUND_REJECTED = "an older attempt found just this rejected"

_LATEST_S = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""A store may say any time of receipt; what is later than this cannot be reckoned with."""


@dataclass(frozen=True)
class Gate:
    """How the gate of a proposal stands, and what led to it.

    `judged_by` are the rules that count (`subjects.judge`). `begun`: this
    very deployment was let through before, and an attempt that died was at it; people are not asked for it again. `newer`
    is the deployment that makes this one outdated. `clock` is what the store's clock said. `left` are deployments of other runs that have
    begun and are not over, as their runners are dead. `origin` is the one that a rollback goes back to, by the shorter rule. `hint` is the
    remedy where no approval opens it. `glass` is who broke the glass, `waived` what holds only by that.
    """

    state: State
    reasons: list[str]
    proposal: Proposal
    subject: dict[str, Any]
    digest: str
    wanted: Rules
    judged_by: Rules
    change: Change | None
    ledger: Ledger
    clock: datetime
    decision: Decision | None = None
    begun: bool = False
    newer: Deployment | None = None
    left: tuple[Holder, ...] = ()
    origin: Deployment | None = None
    hint: str | None = None
    glass: tuple[Glass, ...] = ()
    waived: frozenset[str] = frozenset()


def inbox(run_id: str, stage: str) -> str:
    """Give the prefix under which decisions on a stage of a run are put."""
    return f"inbox/{run_id}/{stage}"


def document_key(run_id: str, stage: str, statement: str) -> str:
    """Give where in the inbox the document of a statement belongs, by the statement's digest."""
    return f"{inbox(run_id, stage)}/{statement.removeprefix('sha256:')}.json"


def look(
    store: Store, plan: Plan, run: Run, stage: PlannedStage, proposal: Proposal, *, trust: Trust | None = None
) -> Gate:
    """Say how the gate of a proposal stands now. Raises VerificationFailed for a ledger that does not hold."""
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    wanted = rules.from_json(stage.rules, f"the plan of run {run.id}")
    in_force = rules.from_json(book.rules, book.name) if book.rules else None
    back_to = barriers.goes_back_to(book, run, stage)
    origin = back_to if stage.kind == "deploy" else None
    judged_by, wanted, change = subjects.judge(in_force, wanted, goes_back=back_to is not None, kind=stage.kind)
    scans = [done.facts for name, each in plan.stages.items() if each.kind == "scan" and (done := run.done(name))]
    try:
        verdicts = subjects.verdicts(scans)
        subject = subjects.compose(
            *(stage.name, proposal.subject),
            judged_by=judged_by,
            wanted=wanted,
            verdicts=verdicts,
            way=rollbacks.way(run.data),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        text = f"run {run.id}: what {stage.name} proposes, or what a scan found, is not of its form: {error!r}"
        raise VerificationFailed(text) from error
    sha256, clock = decide.subject_digest(subject), _moment(store.now())
    found = Gate("open", [], proposal, subject, sha256, wanted, judged_by, change, book, clock, origin=origin)
    others = locks.holders(store, book, run.id)
    found = dataclasses.replace(found, left=tuple(each for each in others if not each.alive))
    if held := [each for each in others if each.alive]:
        return _with(found, "busy", [barriers.busy_with(each) for each in held], hint=barriers.once_over(run))
    if _begun(store, book, run, stage, proposal):
        found = _with(found, "open", ["it had begun before: this goes on with it"], begun=True)
        return _asked_again(found, store, plan, run, stage) if KINDS[stage.kind].begins_anew else found
    if any(each.rejected == found.digest for each in run.attempts.get(stage.name, [])):
        return _with(found, "rejected", [FOUND_REJECTED])
    barrier = barriers.bars(store, plan, run, stage, book)
    if barrier:
        return _with(found, barrier.state, barrier.reasons, newer=barrier.newer, hint=barrier.hint)
    inbox_has = received(store, run.id, stage.name)
    found = dataclasses.replace(found, glass=_broken(found, run, stage, inbox_has))
    missing = subjects.not_passed(subject, judged_by)
    if missing and _waives(found, "scan"):
        found, missing = _waived(found, "scan"), []
    refused = [f"the image {each} has no scan of this run that it passed" for each in missing]
    if rollbacks.is_rollback(run.data) and stage.kind == "deploy":
        refused += _not_what_ran(store, book, run, origin, proposal)
    if refused:
        return _with(found, "refused", refused)
    return _told_of_glass(_timed(_decided(found, store, run, stage, inbox_has)))


def _broken(gate: Gate, run: Run, stage: PlannedStage, documents: Iterable[Received]) -> tuple[Glass, ...]:
    """Give who broke the glass for just this, so that it counts."""
    proposal = decide.Proposed(run.id, stage.name, statements.target_of(stage.gated_target), gate.digest)
    more: dict[str, Any] = {"proposal": proposal, "now": gate.clock, "used": gate.ledger.used}
    found = [decide.broken(each.document, gate.judged_by, received_at=each.at, **more) for each in documents]
    return tuple(each for each in found if isinstance(each, decide.Glass))


def _waives(gate: Gate, check: str) -> bool:
    return any(check in each.waives for each in gate.glass)


def _waived(gate: Gate, check: str) -> Gate:
    return dataclasses.replace(gate, waived=gate.waived | {check})


def _told_of_glass(gate: Gate) -> Gate:
    """Say of what is let through only because somebody broke the glass whose word that was. The rules stay as they are."""
    if not gate.waived:
        return gate
    told = [
        f"{each.person!r} broke the glass, which waives {', '.join(each.waives)}: {each.reason}" for each in gate.glass
    ]
    if gate.change and gate.change.kind == "weaker":
        text = "breaking the glass changes no rules, and this would make them weaker: take those in force back into the definition"
        return _with(gate, "refused", [*told, text, *gate.change.reasons])
    return _with(gate, gate.state, [*told, *gate.reasons])


def _asked_again(gate: Gate, store: Store, plan: Plan, run: Run, stage: PlannedStage) -> Gate:
    """Hold what had begun, and would begin anew, against all that may be said against it since: a reject, a rollback, a lock, a freeze."""
    if any(each.rejected == gate.digest for each in run.attempts.get(stage.name, [])):
        return _with(gate, "rejected", [FOUND_REJECTED])
    if held := barriers.hold_against(plan, run, stage, gate.ledger):
        return _with(gate, held.state, held.reasons, hint=held.hint)
    decided = _decided(gate, store, run, stage, received(store, run.id, stage.name))
    waived = (gate.ledger.intents[run.id, stage.name].get("break_glass") or {}).get("waived", [])
    return decided if decided.state == "rejected" else _timed(gate, anyway="window" in waived)


def _timed(gate: Gate, *, anyway: bool = False) -> Gate:
    """Hold a gate that people have opened, or may yet, against a lock, and the freezes of the rules that count, unless `anyway`."""
    if gate.state not in ("open", "waiting"):
        return gate
    frozen = None if anyway else freezes.frozen(gate.judged_by.freezes, gate.clock)
    if frozen and _waives(gate, "window"):
        gate, frozen = _waived(gate, "window"), None
    against: dict[State, str] = {
        "locked": locks.describe(gate.ledger.lock) if gate.ledger.lock else "",
        "frozen": str(frozen or ""),
    }
    states: list[State] = [state for state, reason in against.items() if reason]
    held, left = list(filter(None, against.values())), list(map(barriers.left_by, gate.left))
    if states and gate.state == "open":
        return _with(gate, states[0], [*held, *gate.reasons, *left])
    return _with(gate, gate.state, [*gate.reasons, *held, *left])


def _not_what_ran(store: Store, book: Ledger, run: Run, origin: Deployment | None, proposal: Proposal) -> list[str]:
    """Say why a proposal is no rollback, whatever its run says; nothing if it is one."""
    if origin is None and rollbacks.ran(run, ledger.deployments(book.events)):
        return ["it says that it goes back, and what it goes to did not stand here before what stands"]
    if origin is None:
        text = "it says that it goes back to a release that ran here"
        return [f"{text}, and the ledger of this target has no such deployment"]
    try:
        then = artifacts.read_json(store, str(origin.subject), "a subject")["proposal"]
        differing = rollbacks.differing(then, proposal.subject)
    except (KeyError, TypeError, AttributeError, VerificationFailed) as error:
        return [f"what run {origin.run} deployed here cannot be read: {error}"]
    found = [f"it is not what run {origin.run} deployed here: other {', '.join(differing)}"] if differing else []
    return found + _not_its_plan(store, run)


def _not_its_plan(store: Store, run: Run) -> list[str]:
    """Say why the plan of a rollback is not the part of the older run's that is for its environments; nothing if it is."""
    told, way = run.data["inherits"], run.data["way"]
    try:
        older = runs.opened(store, told["run"], told["opening"])
        part = inherit.part(inherit.whole(store, older), way["environments"]) if older else None
    except (KeyError, TypeError, AttributeError, VerificationFailed) as error:
        return [f"the plan of run {told['run']} cannot be read: {error}"]
    same = part is not None and part.digest == run.plan
    return [] if same else [f"its plan is not the part of run {told['run']}'s that is for {way['environments']}"]


def _goes_back(store: Store, origin: Deployment, proposal: Proposal) -> str:
    """Say to what a rollback goes back, by which rule, and with which parameters beside today's."""
    who = f"approved by {', '.join(origin.people)}" if origin.people else f"asked for by {origin.asked_for_by}"
    text = f"back to the release of run {origin.run}, which ran here since {origin.at}, {who}; by the shorter rule for going back"
    changed = rollbacks.parameters_today(proposal.subject)
    told = [f"{each['name']} becomes {each['then']}, today {each['today']}" for each in changed]
    then = artifacts.read_json(store, str(origin.subject), "a subject")["proposal"]
    told += rollbacks.others_than_then(then, proposal.subject)
    return f"{text}; parameters: {'; '.join(told) if told else 'as today'}"


def to_review(store: Store, run: Run, stage: PlannedStage, trust: Trust | None = None) -> list[dict[str, Any]]:
    """Give what of a stage was let through by breaking the glass, and nobody has reviewed yet."""
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    return [each for each in book.glass.values() if (each["run"], each["stage"]) == (run.id, stage.name)]


def received(store: Store, run_id: str, stage: str) -> list[Received]:
    """Give what the inbox has for a stage of a run. It is a stranger's until a gate has looked at it."""
    prefix = inbox(run_id, stage)
    found: list[Received] = []
    for name in store.names(prefix):
        document, at = store.read(f"{prefix}/{name}"), store.written_at(f"{prefix}/{name}")
        if document is not None and at is not None:
            found.append(decide.Received(document, _moment(at)))
    return found


def _decided(found: Gate, store: Store, run: Run, stage: PlannedStage, documents: Iterable[Received]) -> Gate:
    approvals = [each for each in documents if not statements.is_of_glass(each.document)]
    decision = decide.decide(
        approvals,
        found.judged_by,
        proposal=decide.Proposed(
            run.id,
            stage.name,
            statements.target_of(stage.gated_target),
            found.digest,
            _differing(store, found, [each.document for each in approvals]),
        ),
        now=found.clock,
        requester=subjects.requesters(run.data),
        authors=(run.data.get("authors") or {}).get(found.ledger.name),
        used=found.ledger.used,
        anybody=found.origin is not None,
    )
    reasons = list(decision.reasons)
    if found.origin:
        reasons.insert(0, _goes_back(store, found.origin, found.proposal))
    if found.change and found.change.kind == "weaker":
        text = "the rules would become weaker, so the old ones decide, with what is stricter in the new ones"
        reasons.append(f"{text}: {'; '.join(found.change.reasons)}")
    if decision.state == "waiting" and _waives(found, "approvals"):
        return _with(_waived(found, "approvals"), "open", reasons, decision=decision)
    return _with(found, decision.state, reasons, decision=decision)


def _moment(seconds: float) -> datetime:
    """A time of the store, within what can be reckoned with: anybody may set one of the year 30000."""
    return datetime.fromtimestamp(min(max(seconds, 0), _LATEST_S), UTC)


def _differing(store: Store, found: Gate, documents: Iterable[bytes]) -> dict[str, list[str]]:
    """Give the fields in which subjects that people signed differ from this one; only those that a gate of ours has recorded."""
    differing: dict[str, list[str]] = {}
    for document in documents:
        try:
            covered = statements.parse(statements.open_up(document)[0]).covered(found.subject["stage"])
            signed = covered.subject if covered else found.digest
            if signed not in (found.digest, *differing):
                differing[signed] = decide.differences(artifacts.read_json(store, signed, "a subject"), found.subject)
        except (VerificationFailed, ValueError, RecursionError):  # anybody may put anything into an inbox
            continue
    return differing


def barred(gate: Gate, key: Key, trust: Trust | None) -> Gate:
    """Refuse an open gate where this runner's key may not write the ledger, so that nobody would rely on what it wrote."""
    if gate.state != "open" or trust is None or ledger.may_write(gate.ledger, key, trust):
        return gate
    text = f"the gate is open, and {trust.path} does not enrol this runner's key as gate: apply it where such a key is"
    return _with(gate, "refused", [*gate.reasons, text])


def first_time(book: Ledger, key: Key) -> str:
    """Say what it means that a key writes to a ledger in which only others have written."""
    return (
        f"this runner's key, {key.public.fingerprint}, has never written to {book.name}: once it has, that ledger holds for nobody who "
        "pins keys and does not enrol it as gate; another key is named with --key, the keys that count with --trust"
    )


def declined(gate: Gate, by: str) -> Gate:
    """Turn down what an open gate would let pass, on the word of who was asked last; nobody is asked of what has begun."""
    return _with(gate, "rejected", [f"declined by {by}"]) if by and gate.state == "open" and not gate.begun else gate


def has_begun(store: Store, run: Run, stage: PlannedStage, proposal: Proposal, trust: Trust | None) -> bool:
    """Tell whether the ledger says that just this was begun: what a dead writer left is signed by nobody, and this is."""
    intent = ledgers.read(store, ledger.name_of(stage.gated_target), trust).intents.get((run.id, stage.name))
    return intent is not None and intent.get("proposal") == subjects.proposal_digest(proposal)


def enter(store: Store, gate: Gate, run: Run, tried: tuple[str, int], key: Key) -> Ledger:
    """Write into the ledger that this is about to begin, or is gone on with; `tried` is the stage's kind and attempt.

    Raises Blocked if the ledger has moved since `look`.
    """
    kind, attempt = tried
    after = [{"run": each.run, "stage": each.stage} for each in gate.left]
    if gate.begun:
        resumed = {"run": run.id, "stage": gate.subject["stage"], "attempt": attempt, "after": after}
        return ledgers.append(store, gate.ledger, [(ledger.DEPLOYMENT_RESUMED, resumed)], key)
    approvals = [_approval(store, each) for each in (gate.decision.counted if gate.decision else [])]
    entries: list[tuple[str, dict[str, Any]]] = []
    if gate.ledger.rules is None:
        entries.append((ledger.TARGET_ENROLLED, {"rules": gate.wanted.as_json(), "run": run.id}))
    elif gate.change and gate.change.kind != "equal":
        told = {"kind": gate.change.kind, "reasons": gate.change.reasons, "approvals": approvals, "run": run.id}
        entries.append((ledger.RULES_CHANGED, {"rules": gate.wanted.as_json(), **told}))
    intent = {
        "run": run.id,
        "stage": gate.subject["stage"],
        "kind": kind,
        "attempt": attempt,
        "opening": run.head.digest,
        "subject": artifacts.put_json(store, gate.subject),
        "proposal": subjects.proposal_digest(gate.proposal),
        "release": gate.subject["proposal"].get("release"),
        "commit": (run.data.get("source") or {}).get("commit"),
        "requester": run.data.get("requester"),
        "judged_by": gate.judged_by.digest,
        "approvals": approvals,
        "after": after,
        **({"way": way} if (way := rollbacks.way(run.data)) else {}),
    }
    if gate.waived:
        used = [
            _approval(store, each) | {"reason": each.reason} for each in gate.glass if gate.waived & set(each.waives)
        ]
        asked = subjects.requesters(run.data)
        intent["break_glass"] = {"waived": sorted(gate.waived), "statements": used, "requesters": asked}
    return ledgers.append(store, gate.ledger, [*entries, (ledger.DEPLOYMENT_INTENDED, intent)], key)


def leave(store: Store, stage: PlannedStage, told: dict[str, Any], key: Key, trust: Trust | None = None) -> Ledger:
    """Write into the ledger what came of a deployment: `told` holds run, stage, outcome and the functions' images."""
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust)
    while (told["run"], told["stage"]) in book.intents:
        try:
            return ledgers.append(store, book, [(ledger.DEPLOYMENT_FINISHED, told)], key)
        except Blocked:  # by another deployment to the target; ours is over all the same
            book = ledgers.read(store, book.name, trust)
    return book


def _with(gate: Gate, state: State, reasons: list[str], **more: Any) -> Gate:
    return Gate(**{**vars(gate), "state": state, "reasons": reasons, **more})


def _begun(store: Store, book: Ledger, run: Run, stage: PlannedStage, proposal: Proposal) -> bool:
    """Tell whether just this was let through, and an attempt since was about to apply it: before that, nothing has begun."""
    intent = book.intents.get((run.id, stage.name))
    if intent is None or not replay.applied_since(run.attempts.get(stage.name, []), intent["attempt"]):
        return False
    recorded = artifacts.read_json(store, intent["subject"], book.name)
    return isinstance(recorded, dict) and decide.differences(recorded.get("proposal"), proposal.subject) == []


def _approval(store: Store, counted: Counted | Glass) -> dict[str, Any]:
    """What the ledger says of a decision that counted; the document goes into the store beside it."""
    return {
        "statement": counted.digest,
        "document": artifacts.put_blob(store, counted.document),
        "person": counted.person,
        "key": counted.key,
        "received_at": counted.received_at.isoformat(),
    }
