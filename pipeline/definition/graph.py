"""The graph of stages: what each needs, near or far, and where it takes its inputs from."""

from __future__ import annotations

import graphlib
from typing import TYPE_CHECKING, Any

from pipeline.definition.hints import MOST_PROBLEMS, did_you_mean
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Stage
    from pipeline.definition.positions import Place, Positions

    Graph = dict[str, list[str]]

MOST_ARTIFACTS = 100
"""A stage's own: each is looked for in all that it needs."""

_MOST_CYCLES = 10


def edges(draft: Draft) -> Graph:
    """What each stage needs, as far as it is there."""
    names = draft.names["stages"]
    return {name: [each for each in stage.needs if each in names] for name, stage in draft.stages.items()}


def unknown_needs(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Stages that are needed and not there, or named twice."""
    names = draft.names["stages"]
    for name, stage in draft.stages.items():
        for index, need in enumerate(stage.needs):
            path = ("stages", name, "needs", index)
            if need not in names:
                hint = did_you_mean(need, names - {name}, what="stages")
                yield Problem(f"there is no stage {need!r}", *positions.value(*path), hint)
            elif need in stage.needs[:index]:
                yield Problem(f"{need!r} is named twice", *positions.value(*path), "Remove one of them.")


def cycles(graph: Graph) -> list[list[str]]:
    """Cycles, each as [a, b, a] where a needs b and b needs a. One cycle may hide another; at most ten are given."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in graph:
        way: list[str] = [] if start in done else [start]
        ahead = [iter(graph[start])]
        while way and len(found) < _MOST_CYCLES:
            need = next(ahead[-1], None)
            if need is None:
                done.add(way.pop())
                ahead.pop()
            elif need in way:
                found.append([*way[way.index(need) :], need])
            elif need not in done:
                way.append(need)
                ahead.append(iter(graph.get(need, ())))
    return found


def cycle_problems(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Say each cycle at the need that closes it."""
    for cycle in cycles(edges(draft)):
        last, first = cycle[-2:]
        place = positions.value("stages", last, "needs", draft.stages[last].needs.index(first))
        yield Problem(f"stages need each other: {' -> '.join(cycle)}", *place, "Remove one of these needs.")


def ancestors(graph: Graph) -> dict[str, set[str]]:
    """All that each stage needs, near and far. The graph must have no cycle."""
    found: dict[str, set[str]] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        needs = graph.get(name, [])
        found[name] = set(needs).union(*(found[each] for each in needs))
    return found


def outputs(stage: Stage) -> tuple[str, ...]:
    """The artifacts that a stage hands on."""
    kind = KINDS.get(stage.uses)
    return (*kind.outputs, *_names(stage.options.get("outputs"))) if kind else ()


def inputs(stage: Stage) -> tuple[str, ...]:
    """The artifacts that a stage takes, each of them."""
    kind = KINDS.get(stage.uses)
    if kind is None or kind.in_place_of_inputs in stage.options:
        return ()
    return (*kind.inputs, *_names(stage.options.get("inputs")))


def alternatives(stage: Stage) -> tuple[str, ...]:
    """The artifacts of which a stage takes exactly one."""
    kind = KINDS.get(stage.uses)
    if kind is None or kind.in_place_of_inputs in stage.options:
        return ()
    return kind.takes_one_of


def _names(value: Any) -> list[str]:
    return [each for each in value[:MOST_ARTIFACTS] if isinstance(each, str)] if isinstance(value, list) else []


def wiring(draft: Draft, positions: Positions) -> tuple[dict[str, dict[str, str]], list[Problem]]:
    """For each stage the stage that each of its inputs comes from, and what cannot be settled.

    A stage is left out if it, or one that it needs, is not all there: its mistakes have been told already.
    """
    graph = edges(draft)
    near_and_far = ancestors(graph)
    settled: dict[str, dict[str, str]] = {}
    problems: list[Problem] = []
    for name, stage in draft.stages.items():
        if len(problems) >= MOST_PROBLEMS:
            break
        needed = near_and_far[name]
        whole = all(("stages", each) not in draft.broken and _kind_is_known(draft, each) for each in {name, *needed})
        if whole and len(graph[name]) == len(stage.needs):
            problems += _wrong_inputs(name, stage, positions)
            settled[name], wrong = _sources(
                name, stage, {each: draft.stages[each] for each in draft.stages if each in needed}, draft, positions
            )
            problems += wrong
    return settled, problems


def _kind_is_known(draft: Draft, name: str) -> bool:
    return name in draft.stages and draft.stages[name].uses in KINDS


def _wrong_inputs(name: str, stage: Stage, positions: Positions) -> Iterator[Problem]:
    """Entries of `inputs:` for what is no input."""
    known = (*inputs(stage), *alternatives(stage))
    for each in stage.inputs:
        if each not in known:
            hint = did_you_mean(each, known, what="inputs") if known else f"{stage.uses} takes no inputs."
            yield Problem(f"{name!r} has no input {each!r}", *positions.key("stages", name, "inputs", each), hint)


def _sources(
    name: str, stage: Stage, needed: Mapping[str, Stage], draft: Draft, positions: Positions
) -> tuple[dict[str, str], list[Problem]]:
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for artifact in inputs(stage):
        having = [each for each, other in needed.items() if artifact in outputs(other)]
        said = stage.inputs.get(artifact)
        if said is not None and said not in having:
            problems.append(_wrong_source(name, artifact, said=said, having=having, draft=draft, positions=positions))
        elif said is not None or len(having) == 1:
            found[artifact] = said or having[0]
        else:
            place = positions.key("stages", name)
            problems.append(
                _ambiguous(name, artifact, having, place) if having else _nobody(name, (artifact,), draft, place)
            )
    if alternatives(stage):
        one = _one_of(name, stage, needed, draft, positions)
        found, problems = (found, [*problems, one]) if isinstance(one, Problem) else (found | one, problems)
    return found, problems


def _one_of(
    name: str, stage: Stage, needed: Mapping[str, Stage], draft: Draft, positions: Positions
) -> dict[str, str] | Problem:
    """The one artifact that a stage takes of several: what `inputs:` says, else what the stages in its own needs output, else the only
    one that there is."""
    wanted = alternatives(stage)
    place = positions.key("stages", name)
    given = [each for each in wanted if each in stage.inputs]
    if len(given) > 1:
        there = positions.key("stages", name, "inputs", given[1])
        return Problem(f"{name!r} takes {' or '.join(wanted)}, not both", *there, "Remove one of them.")
    if given:
        said, having = stage.inputs[given[0]], [each for each, other in needed.items() if given[0] in outputs(other)]
        if said not in having:
            return _wrong_source(name, given[0], said=said, having=having, draft=draft, positions=positions)
        return {given[0]: said}
    direct = [(each, need) for need in dict.fromkeys(stage.needs) for each in wanted if each in outputs(needed[need])]
    if not direct:
        far = [(each, other) for other in needed for each in wanted if each in outputs(needed[other])]
        return dict(far) if len(far) == 1 else _nobody(name, wanted, draft, place)
    if len(direct) > 1:
        listed = " or ".join(f"{each!r} from {need!r}" for each, need in direct)
        hint = f"Say which: inputs: {{{direct[-1][0]}: {direct[-1][1]}}}"
        return Problem(f"{name!r} could take {listed}, and takes one of them", *place, hint)
    return dict(direct)


def _wrong_source(
    name: str, artifact: str, *, said: str, having: list[str], draft: Draft, positions: Positions
) -> Problem:
    place = positions.value("stages", name, "inputs", artifact)
    if said not in draft.names["stages"]:
        return Problem(f"there is no stage {said!r}", *place, did_you_mean(said, having, what="stages that have it"))
    if said in draft.stages and artifact in outputs(draft.stages[said]):
        return Problem(
            f"{name!r} takes {artifact!r} from {said!r}, which it does not need", *place, f"Add {said!r} to its needs."
        )
    return Problem(f"{said!r} does not output {artifact!r}", *place, did_you_mean(said, having, what="stages that do"))


def _ambiguous(name: str, artifact: str, having: list[str], place: Place) -> Problem:
    listed = f"{', '.join(map(repr, having[:-1]))} and {having[-1]!r}"
    message = f"{name!r} needs {listed}, and could take {artifact!r} from any of them"
    return Problem(message, *place, f"Say which: inputs: {{{artifact}: {having[-1]}}}")


def _nobody(name: str, artifacts: tuple[str, ...], draft: Draft, place: Place) -> Problem:
    elsewhere = [
        each for each, other in draft.stages.items() if each != name and set(artifacts).intersection(outputs(other))
    ]
    kinds = [kind.name for kind in KINDS.values() if set(artifacts).intersection(kind.outputs)]
    if elsewhere:
        hint = f"Add {elsewhere[0]!r} to its needs."
    elif kinds:
        hint = f"Add a stage that uses {' or '.join(kinds)}, and name it in its needs."
    else:
        hint = "Add a stage that outputs it, and name it in its needs."
    itself = " itself" if len(artifacts) > 1 else ""
    listed = " or ".join(map(repr, artifacts))
    return Problem(f"no stage that {name!r}{itself} needs outputs {listed}", *place, hint)
