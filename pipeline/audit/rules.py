"""What must hold between the parts of a run. Pure: chains, plan and documents in, findings out.

1. Attempts are of stages of the plan, and numbered from 1 without a gap.
2. Attempt n+1 follows attempt n, as it then was; none follows one that had succeeded.
3. An attempt builds on just the stages its stage needs, and if it applies anything those that it comes after, each as a whole,
   closed and succeeded.
4. Its inputs are those of the plan: each the output, by digest, of an attempt that succeeded.
5. Its phases are its kind's; each is intended before it is finished, with a request for just this stage, attempt, target and
   proposal. What it applies is what it proposed, or took over as an older attempt had proposed it; and where the stage has
   rules, it has found its gate open before, and nothing came in between.
6. It succeeded only if its last phase did, or that of the attempt whose result it adopts or takes over, and handed on what its
   kind declares.
7. What a deployment proposed, and what it found running once it succeeded, is what the release that it was given pins. A release
   that was copied is the one that it was copied from, but for addresses, derived again (`pipeline.audit.relocations`).
8. What it takes over from an older run is what its opening says, and what that run's record has; it then does nothing itself.
   Its plan is the older one's, or for a promotion or a rollback just the part of that which is for the environment it names.
9. A run is complete once each stage has succeeded, or cannot be reached as one that it needs has not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipeline import inherit
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.audit.logs import Told
from pipeline.gates import subjects
from pipeline.record import chain, runs
from pipeline.record.writer import event_key
from stages.contract import Target
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.audit.chains import Examined
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.chain import Event
    from pipeline.record.replay import Attempt, Run


def numbering(plan: Plan, run: Run) -> list[Finding]:
    """Rule 1, and who took over from whom: rule 2."""
    found: list[Finding] = []
    for stage, attempts in run.attempts.items():
        if stage not in plan.stages:
            found.append(broken(runs.chain_name(run.id, attempts[0].name), "the plan has no such stage"))
        for expected, attempt in enumerate(attempts, 1):
            if attempt.number != expected:
                name = runs.chain_name(run.id, f"{stage}.{expected}")
                found.append(broken(name, f"is missing, and {attempt.name} is there"))
                break
    return found


def links(plan: Plan, run: Run, attempt: Attempt, chains: Mapping[str, Examined]) -> list[Finding]:
    """Rules 2, 3 and 4 for one attempt."""
    found: list[Finding] = []
    stage, name = plan.stages[attempt.stage], runs.chain_name(run.id, attempt.name)
    first = event_key(name, 0)
    with reading(first, found):
        found += _follows(run, attempt, chains, first)
        found += _builds_on(stage, chains[name].data["builds_on"], chains, first, applies=attempt.phase == "apply")
        if set(attempt.inputs) != set(stage.inputs):
            found.append(broken(first, "has other inputs than the plan", sorted(stage.inputs), sorted(attempt.inputs)))
        for each, source in stage.inputs.items():
            found += _input(run, source, each, attempt.inputs.get(each, {}), first)
    return found


def phases(run: Run, stage: PlannedStage, attempt: Attempt, events: tuple[Event, ...]) -> list[Finding]:
    """Rules 5 (without requests, proposals and gates) and 6 for one attempt."""
    found: list[Finding] = []
    name, intended, finished, held = runs.chain_name(run.id, attempt.name), None, None, None
    handle = runs.handle(run.id, attempt.stage, attempt.number)
    for event in events[1:]:
        key, data = event_key(name, event.seq), event.data
        with reading(key, found):
            if event.type == chain.PHASE_INTENDED:
                if data["phase"] not in KINDS[stage.kind].phases or data["phase"] == "check":
                    found.append(broken(key, f"kind {stage.kind} has no phase {data['phase']!r}"))
                if data["handle"] != f"{handle}-{data['phase']}":
                    found.append(broken(key, "has another handle", f"{handle}-{data['phase']}", data["handle"]))
                intended = data["phase"]
            elif event.type == chain.PHASE_FINISHED:
                if intended != data["phase"] and data["outcome"] == "succeeded":
                    found.append(broken(key, f"phase {data['phase']} succeeded without being intended"))
                intended, finished = None, data
            elif event.type in (chain.RESULT_ADOPTED, chain.RESULT_INHERITED):
                found += _adopted(run, attempt, data, key) if event.type == chain.RESULT_ADOPTED else []
                finished = {**data, "phase": "apply", "outcome": "succeeded"}
            elif event.type == chain.GATE_LOOKED_AT:
                ends = {"open": "waiting", "waiting": "waiting", "frozen": "waiting", "locked": "waiting"}
                ends["rejected"] = "rejected"
                held = None if data["goes_on"] else ends.get(data["state"], "failed")
            elif event.type == chain.CHAIN_CLOSED:
                found += _held(held, data["outcome"], key) if held else _outcome(stage, data["outcome"], finished, key)
    return found


def isolation(plan: Plan, name: str, events: tuple[Event, ...]) -> list[Finding]:
    """Rule 5 for isolation: where the plan requires one, each phase says that it had one."""
    found: list[Finding] = []
    for event in events:
        key = event_key(name, event.seq)
        with reading(key, found):
            mode = (event.data.get("isolation") or {}).get("mode", "none")
            if event.type == chain.PHASE_INTENDED and plan.isolation == "required" and mode == "none":
                found.append(broken(key, "was not isolated, and the plan requires it"))
    return found


def gate(name: str, stage: PlannedStage, events: tuple[Event, ...]) -> list[Finding]:
    """Rule 5 for the gate: nothing is applied but after it was found open at last, and nothing else comes in between."""
    found: list[Finding] = []
    state: str = "before"
    for event in events[1:]:
        key, data, after = event_key(name, event.seq), event.data, state != "before"
        with reading(key, found):
            applies = event.type == chain.PHASE_INTENDED and data["phase"] == "apply"
            if applies and stage.rules and state != "open":
                found.append(broken(key, "applies what was proposed, and its gate had not been found open"))
            elif state == "shut" and event.type != chain.CHAIN_CLOSED:
                found.append(broken(key, "follows a gate that was not open"))
            elif (after and (event.type == chain.PROPOSAL_ADOPTED or data.get("proposal"))) or (
                state == "applied" and event.type == chain.GATE_LOOKED_AT
            ):
                found.append(broken(key, "comes after the gate was looked at: by then a proposal is what it is"))
            state = "applied" if applies else state
            if event.type == chain.GATE_LOOKED_AT:  # again, where somebody else wrote to the ledger meanwhile
                state = "open" if data["goes_on"] else "shut"
                if data["goes_on"] and data["state"] != "open":
                    found.append(broken(key, f"goes on, though the gate was {data['state']}"))
    return found


def proposals(
    name: str, stage: PlannedStage, attempt: Attempt, events: tuple[Event, ...], older: Iterable[Attempt]
) -> list[Finding]:
    """Rule 5 for what was not proposed by the attempt itself: an older attempt had, or it is what the stage is asked to do."""
    found: list[Finding] = []
    for event in events:
        if event.type != chain.PROPOSAL_ADOPTED:
            continue
        key = event_key(name, event.seq)
        with reading(key, found):
            known = [dataclasses.asdict(each.proposal) for each in older if each.proposal]
            if "propose" not in KINDS[stage.kind].phases:
                given = {source: each["artifact"] for source, each in attempt.inputs.items()}
                asked = subjects.by_request(
                    stage.kind, stage.options, given, stage.target, stage.as_json().get("secrets")
                )
                known.append(dataclasses.asdict(asked))
            if event.data["proposal"] not in known:
                found.append(broken(key, "goes on with what no older attempt of the stage had proposed"))
    return found


def request(
    run: Run,
    stage: PlannedStage,
    attempt: Attempt,
    document: Any,
    *,
    phase: str,
    proposal: Any,
    key: str,
) -> list[Finding]:
    """Rule 5 for the request of one phase. `proposal` is what the attempt had proposed or taken over by then."""
    found: list[Finding] = []
    target = stage.target.as_json() if stage.target else None
    expected = {
        "kind": stage.kind,
        "phase": phase,
        "handle": runs.handle(run.id, attempt.stage, attempt.number),
        "options": stage.options,
        "target": target,
        "proposal": proposal,
        "secrets": sorted(stage.secrets),
    }
    with reading(key, found):
        document = {"secrets": [], **document}
        document["target"] = Target(**document["target"]).as_json() if document["target"] else None
        for name, value in expected.items():
            if document[name] != value:
                found.append(
                    broken(
                        key, f"the request of {attempt.name} has another {name} than the plan", value, document[name]
                    )
                )
    return found


def released(run: Run, attempt: Attempt, release: Any) -> list[Finding]:
    """Rule 7 for the proposal: people approve images, and those are the release's."""
    found: list[Finding] = []
    key = runs.chain_name(run.id, attempt.name)
    with reading(key, found):
        subject = attempt.proposal.subject if attempt.proposal else {}
        proposed = {name: (each["config"], each["manifest"]) for name, each in subject["images"].items()}
        pinned = {name: (each["config"], each["manifest"]) for name, each in release["functions"].items()}
        if proposed != pinned or subject["release"] != release["digest"]:
            text = "proposes something else than the release that it was given"
            found.append(broken(key, text, release["digest"], subject["release"]))
    return found


def read_back(run: Run, attempt: Attempt, release: Any) -> list[Finding]:
    """Rule 7. A function that is not there has a condition in its template; `deploy` has seen to that."""
    found: list[Finding] = []
    key = runs.chain_name(run.id, attempt.name)
    with reading(key, found):
        pinned = {name: each["manifest"] for name, each in release["functions"].items()}
        for name, each in attempt.facts["functions"].items():
            if name not in pinned and (each["image"] is None or name.rpartition("/")[0] not in release["templates"]):
                continue  # a function of an archive, or of a template that is nested by its address: of neither is anything pinned
            running = str(each["image"]).rpartition("@")[2]
            if running != pinned.get(name):
                text = f"function {name} runs another image than the release pins"
                found.append(broken(key, text, pinned.get(name, "no such function"), each["image"]))
    return found


def descent(run: Run, older: Callable[[str], Run | None], whole: Plan | None, of: str | None) -> list[Finding]:
    """Rule 8 for the opening: it says of the older run what that says of itself.

    `whole` is the plan that it says its own is a part of, `of` the digest of that of which the older run's is a part.
    """
    told, key = run.data.get("inherits"), event_key(runs.chain_name(run.id, "open"), 1)
    if not told:
        return [broken(key, "goes by a way from a run that it does not name")] if run.data.get("way") else []
    found: list[Finding] = []
    with reading(key, found):
        parent = older(str(told["run"]))
        if parent is None:
            return [missing(f"runs/{told['run']}", f"is not here, and run {run.id} takes over what it came to")]
        found += [
            broken(key, f"tells another {name} of run {parent.id} than that has", value, told.get(name))
            for name, value in inherit.lineage(parent).items()
            if told.get(name) != value
        ]
        found += _plan(run, parent, whole, key, of=of or parent.plan)
    return found


def _plan(run: Run, parent: Run, whole: Plan | None, key: str, *, of: str) -> list[Finding]:
    way = run.data.get("way")
    if not way:
        same = run.plan == parent.plan
        return [] if same else [broken(key, f"has another plan than run {parent.id}", parent.plan, run.plan)]
    found: list[Finding] = []
    if way["kind"] not in ("promote", "rollback"):
        found.append(broken(key, f"goes by a way that there is not: {way['kind']}"))
    if way["plan"] != of:
        found.append(broken(key, f"is part of another plan than run {parent.id}", of, way["plan"]))
    part = inherit.part(whole, way["environments"], scans=way["kind"] == "promote").digest if whole else None
    if part and run.plan != part:
        text = f"has another plan than the part of run {parent.id}'s that is for {', '.join(way['environments'])}"
        found.append(broken(key, text, part, run.plan))
    return found


def inherited(
    run: Run, attempt: Attempt, events: tuple[Event, ...], older: Callable[[str], Run | None]
) -> list[Finding]:
    """Rule 8 for one attempt. `older` gives another run of the store as its record has it, None if it is not there."""
    found: list[Finding] = []
    name = runs.chain_name(run.id, attempt.name)
    told = (run.data.get("inherits") or {}).get("stages", {}).get(attempt.stage)
    for event in events[1:]:
        key, taken = event_key(name, event.seq), event.type == chain.RESULT_INHERITED
        if told is None and taken:
            found.append(broken(key, "takes over a result, and the run's opening says nothing of that"))
        elif told is not None and not taken and event.type != chain.CHAIN_CLOSED:
            found.append(broken(key, "does what the run's opening says is taken over"))
        elif told is not None and taken:
            with reading(key, found):
                found += _taken_over(attempt, event.data, told, key, older(str(told["run"])))
    return found


def _taken_over(
    attempt: Attempt, data: dict[str, Any], told: dict[str, Any], key: str, run: Run | None
) -> list[Finding]:
    if data["from"] != told:
        return [broken(key, "takes over another attempt than the run's opening says", told, data["from"])]
    if run is None:
        return [missing(f"runs/{told['run']}", f"is not here, and {key} takes over what it came to", told["head"])]
    source = next((each for each in run.attempts.get(attempt.stage, []) if each.number == told["attempt"]), None)
    head = source.head.as_json() if source else None
    if source is None or head != {name: told[name] for name in ("chain", "head", "length")}:
        return [broken(str(told["chain"]), f"is not what {key} took over", told, head)]
    result = (data["outputs"], data["facts"], tuple(data["statements"]))
    if source.outcome != "succeeded" or (source.outputs, source.facts, source.statements) != result:
        return [broken(key, f"takes over another result than that of {source.name} in run {run.id}")]
    return []


def completeness(plan: Plan, run: Run) -> list[Finding]:
    """Rule 9. Attempts that are still open are told of by themselves."""
    found = []
    unreached: set[str] = set()
    for name, stage in plan.stages.items():
        last = run.last(name)
        if last is None and not unreached & {*stage.needs, *stage.after}:
            text = "the stage has no attempt: the run is not finished, or its attempts were removed"
            found.append(missing(runs.chain_name(run.id, f"{name}.1"), text))
        if last and last.outcome == "waiting":
            found.append(missing(runs.chain_name(run.id, last.name), "waits for approval: the run is not finished"))
        if last is None or last.outcome != "succeeded":
            unreached.add(name)
    return found


def log_heads(events: tuple[Event, ...], successor: Examined | None) -> list[Told]:
    """Give what is known of where an attempt's log ended: by its own events, and by the attempt that took over."""
    told = []
    for event in events:
        log = event.data.get("log")
        if event.type in (chain.PHASE_FINISHED, chain.CHAIN_CLOSED) and isinstance(log, dict):
            told.append(Told(int(log["length"]), log["head"], f"event {event.seq}", event.type == chain.CHAIN_CLOSED))
    follows = successor.data.get("follows") if successor else None
    log = follows.get("log") if isinstance(follows, dict) else None
    if successor and isinstance(log, dict) and not (told and told[-1].final):
        told.append(Told(int(log["length"]), log["head"], successor.name))
    return told


def _follows(run: Run, attempt: Attempt, chains: Mapping[str, Examined], first: str) -> list[Finding]:
    follows = attempt.follows
    if attempt.number == 1:
        return [broken(first, "follows another, though it is the first")] if follows else []
    before = runs.chain_name(run.id, f"{attempt.stage}.{attempt.number - 1}")
    if follows is None or follows["chain"] != before:
        return [broken(first, "does not follow the attempt before it", before, follows and follows["chain"])]
    older = chains.get(before)
    if older is None or not older.events:
        return []  # that chain is named by itself
    if not older.is_at(follows["length"], follows["head"]):
        return [_other_head(first, older, follows)]
    last = older.events[follows["length"] - 1]
    if last.type == chain.CHAIN_CLOSED and last.data.get("outcome") == "succeeded":
        return [broken(first, f"follows {before}, which had succeeded")]
    return []


def _builds_on(
    stage: PlannedStage, builds_on: list[dict[str, Any]], chains: Mapping[str, Examined], first: str, *, applies: bool
) -> list[Finding]:
    found: list[Finding] = []
    needed = []
    for ref in builds_on:
        needed.append(ref["chain"].rpartition("/")[2].rpartition(".")[0])
        older = chains.get(ref["chain"])
        if older is None:
            found.append(broken(ref["chain"], f"is missing: {first} builds on it", ref["head"]))
        elif older.events and not (older.is_at(ref["length"], ref["head"]) and len(older.events) == ref["length"]):
            found.append(_other_head(first, older, ref))
        elif older.events and older.events[-1].data.get("outcome") != "succeeded":
            found.append(broken(first, f"builds on {ref['chain']}, which has not succeeded"))
    wanted = [*stage.needs, *(each for each in stage.after if applies or each in needed)]
    if sorted(needed) != sorted(wanted):
        found.append(broken(first, "builds on other stages than it needs", sorted(wanted), sorted(needed)))
    return found


def _other_head(first: str, older: Examined, ref: dict[str, Any]) -> Finding:
    """Two chains tell different things of one of them: the one that is told of was changed, or the other never saw it."""
    text = f"ends otherwise than {first} says"
    expected = f"{ref['head']} after {ref['length']} events"
    return broken(older.name, text, expected, f"{older.digests[-1]} after {len(older.digests)}")


def _input(run: Run, source: str, name: str, given: dict[str, Any], first: str) -> list[Finding]:
    if given.get("stage") != source:
        return [broken(first, f"takes the input {name} from another stage than planned", source, given.get("stage"))]
    of = next((each for each in run.attempts.get(source, []) if each.number == given["attempt"]), None)
    where = f"{source}.{given['attempt']}"
    if of is None or of.outcome != "succeeded":
        return [broken(first, f"takes the input {name} from {where}, which has not succeeded")]
    if of.outputs.get(name) != given["artifact"]:
        return [
            broken(first, f"its input {name} is not the output of {where}", of.outputs.get(name), given["artifact"])
        ]
    return []


def _adopted(run: Run, attempt: Attempt, data: dict[str, Any], key: str) -> list[Finding]:
    """A result is adopted from the attempt before, which had come to it and was not closed."""
    before = next((each for each in run.attempts[attempt.stage] if each.number == attempt.number - 1), None)
    if data["from"] != attempt.number - 1 or before is None or not before.has_result:
        return [broken(key, f"adopts a result that {attempt.stage}.{data['from']} had not come to")]
    result = (data["outputs"], data["facts"], tuple(data["statements"]))
    if (before.outputs, before.facts, before.statements) != result:
        return [broken(key, f"adopts another result than that of {before.name}", before.outputs, data["outputs"])]
    return []


def _held(held: str, outcome: str, key: str) -> list[Finding]:
    """A gate that was not open ends the attempt as it stood."""
    return [] if outcome == held else [broken(key, "closes otherwise than its gate stood", held, outcome)]


def _outcome(stage: PlannedStage, outcome: str, finished: dict[str, Any] | None, key: str) -> list[Finding]:
    last = finished["outcome"] if finished else "canceled"
    is_over = finished is not None and finished["phase"] == "apply"
    if outcome != last and (outcome != "canceled" or is_over):
        return [broken(key, "closes with another outcome than its last phase", last, outcome)]
    if outcome != "succeeded" or finished is None:
        return []
    if finished["phase"] != "apply":
        return [broken(key, "closes as succeeded without having applied anything")]
    if set(finished["outputs"]) != set(stage.outputs):
        text = "succeeded with other outputs than its kind declares"
        return [broken(key, text, sorted(stage.outputs), sorted(finished["outputs"]))]
    return []
