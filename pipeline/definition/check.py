"""What no schema can say: names that must be there, options that must fit, a graph that must have an order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.definition import auth, copies, graph, notifications, options, references, secrets
from pipeline.definition.hints import MOST_PROBLEMS, described, did_you_mean, dotted
from pipeline.definition.model import MOST_STAGES
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Definition, Parameter, Stage
    from pipeline.definition.positions import Path, Place, Positions


@dataclass(frozen=True)
class Checked:
    """What is wrong, what is only a bad habit, and where each stage takes its inputs from."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    wiring: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def inputs_of(definition: Definition, name: str) -> dict[str, str]:
    """Say which stage each input of a stage comes from."""
    return dict(definition.wiring[name])


def check(draft: Draft, positions: Positions) -> Checked:
    """Look at all of a draft. Pure: nothing is read."""
    found = itertools.chain(
        _parameters(draft, positions),
        _environments(draft, positions),
        _stages(draft, positions),
        _too_many(draft, positions),
        references.problems(draft, positions),
        secrets.problems(draft, positions),
        notifications.problems(draft, positions),
        auth.problems(draft, positions),
        graph.unknown_needs(draft, positions),
    )
    problems = list(itertools.islice(found, MOST_PROBLEMS))
    cycles = list(graph.cycle_problems(draft, positions))
    if cycles:
        return Checked(problems + cycles)
    wiring, unsettled = graph.wiring(draft, positions)
    unsettled += _other_environments(draft, wiring, positions)
    unsettled += _releases_without_environment(draft, wiring, positions)
    return Checked(
        problems + unsettled,
        [*_habits(draft, positions), *_nowhere_to_push(draft, positions), *_far_images(draft, wiring, positions)],
        wiring,
    )


# Parameters

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
_WORDS = {"string": "text", "integer": "a whole number", "boolean": "true or false"}


def _parameters(draft: Draft, positions: Positions) -> Iterator[Problem]:
    for name, parameter in draft.parameters.items():
        path = ("parameters", name)
        values: list[tuple[Path, Any]] = [
            ((*path, "enum", index), value) for index, value in enumerate(parameter.enum or ())
        ]
        if parameter.default is not None:
            values.append(((*path, "default"), parameter.default))
        for at, value in values:
            if type(value) is not _TYPES[parameter.type] and value is not None:
                message = f"{dotted(at)} must be {_WORDS[parameter.type]}, not {described(value)}"
                yield Problem(message, *positions.value(*at), _quotes(parameter, value, positions.text(*at)))
        yield from _default_in_enum(name, parameter, positions)


def _quotes(parameter: Parameter, value: Any, written: str | None) -> str | None:
    if parameter.type == "string" and isinstance(value, (bool, int, float)):
        return f'Put it in quotes: "{written}"'
    return None


def _default_in_enum(name: str, parameter: Parameter, positions: Positions) -> Iterator[Problem]:
    default, enum = parameter.default, parameter.enum
    if default is not None and enum and default not in enum and type(default) is _TYPES[parameter.type]:
        hint = did_you_mean(str(default), map(str, enum), what="values it may have")
        message = f"the default of parameter {name!r} is not in its enum"
        yield Problem(message, *positions.value("parameters", name, "default"), hint)


# Environments

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b"}
"""Where a region's name tells its partition."""


def _environments(draft: Draft, positions: Positions) -> Iterator[Problem]:
    for name, environment in draft.environments.items():
        partition = next((each for prefix, each in _PARTITIONS.items() if environment.region.startswith(prefix)), None)
        if partition and partition != environment.partition:
            message = f"{environment.region} is in partition {partition}, not {environment.partition}"
            yield Problem(message, *positions.value("environments", name, "region"), f"Write: partition: {partition}")
        owner = environment.service_role.split(":")[4] if environment.service_role else environment.account
        if owner != environment.account:
            message = f"the service role is of account {owner}, and the environment is account {environment.account}"
            hint = "CloudFormation takes no role of another account than the stack's."
            yield Problem(message, *positions.value("environments", name, "service-role"), hint)


# Stages

_TARGET = {"deploy": "stack"}
"""The key of an environment that a kind cannot do without."""
_INSTEAD = ("repositories", "repository", "application")
"""Options that say where images go."""


def _stages(draft: Draft, positions: Positions) -> Iterator[Problem]:
    for name, stage in draft.stages.items():
        yield from options.problems(name, stage, draft.parameters, positions)
        if stage.uses in KINDS:
            yield from _environment(name, stage, draft, positions)
            yield from _idempotent(name, stage, positions)


def _too_many(draft: Draft, positions: Positions) -> Iterator[Problem]:
    number = sum(len(each.environments) or 1 for each in draft.stages.values())
    if number > MOST_STAGES:
        message = f"there are {number:,} stages, one for each of several environments; {MOST_STAGES:,} is the most"
        yield Problem(message, *positions.key("stages"), "Make several pipelines of it.")


def _environment(name: str, stage: Stage, draft: Draft, positions: Positions) -> Iterator[Problem]:
    rule = KINDS[stage.uses].environment
    written = "environments" if stage.environments else "environment"
    if stage.environment and stage.environments:
        message = f"{name!r} has both `environment` and `environments`"
        yield Problem(message, *positions.key("stages", name, "environments"), "Remove one of them.")
    elif not stage.targets:
        if rule == "required" and ("stages", name) not in draft.broken:
            message = f"{name!r} lacks an environment: {stage.uses} acts on one"
            known = ", ".join(sorted(draft.names["environments"])[:12])
            hint = (
                f"Write: environment: NAME. There are: {known}."
                if known
                else "Add one under environments, and name it."
            )
            yield Problem(message, *positions.key("stages", name), hint)
    elif rule == "none":
        message = f"{name!r} has an environment, but {stage.uses} acts on none"
        yield Problem(message, *positions.key("stages", name, written), "Remove the key.")
    else:
        for index, each in enumerate(stage.targets):
            at: Path = (index,) if stage.environments else ()
            place = positions.value("stages", name, written, *at)
            yield from _one_environment(name, stage, each, draft, positions=positions, place=place)
        yield from _copies(name, stage, draft, positions)


def _one_environment(
    name: str, stage: Stage, environment: str, draft: Draft, *, positions: Positions, place: Place
) -> Iterator[Problem]:
    if environment not in draft.names["environments"]:
        hint = did_you_mean(environment, draft.names["environments"], what="environments")
        yield Problem(f"there is no environment {environment!r}", *place, hint)
    elif environment in draft.environments and ("environments", environment) not in draft.broken:
        key = _TARGET.get(stage.uses)
        if key and getattr(draft.environments[environment], key) is None:
            message = f"{name!r} cannot {stage.uses}: environment {environment!r} has no {key}"
            where = positions.key("environments", environment)
            yield Problem(message, *where, f"Add to the environment: {key}: NAME")


def _copies(name: str, stage: Stage, draft: Draft, positions: Positions) -> Iterator[Problem]:
    """What the stages, one for each of several environments, are called must be names, and nobody else's."""
    for index, environment in enumerate(stage.environments):
        place = positions.value("stages", name, "environments", index)
        made = copies.name_of(name, environment)
        if environment in stage.environments[:index]:
            yield Problem(f"{environment!r} is named twice", *place, "Remove one of them.")
        elif made in draft.names["stages"]:
            yield Problem(
                f"there is a stage {made!r} already, as this one is called too", *place, "Rename one of them."
            )
        elif len(made) > copies.MOST_CHARACTERS:
            message = f"the stage would be called {made!r}, which has {len(made)} characters; {copies.MOST_CHARACTERS} is the most"
            yield Problem(message, *place, f"Give {name!r} or the environment a shorter name.")


def _idempotent(name: str, stage: Stage, positions: Positions) -> Iterator[Problem]:
    if stage.idempotent is not None and KINDS[stage.uses].idempotent:
        message = f"{name!r} cannot say `idempotent`: {stage.uses} always is"
        yield Problem(message, *positions.key("stages", name, "idempotent"), "Remove the key.")


def _other_environments(
    draft: Draft, wiring: Mapping[str, Mapping[str, str]], positions: Positions
) -> Iterator[Problem]:
    """A deployment is of one environment; calling it with another's credentials tests the wrong thing."""
    for name, sources in wiring.items():
        source, here = sources.get("deployment"), draft.stages[name].environment
        there = draft.stages[source].environment if source else None
        if there and here and there != here:
            message = f"{name!r} is in environment {here!r}, but takes the deployment of {there!r} from {source!r}"
            hint = f"Write: environment: {there}, or need a stage that deploys to {here!r}."
            yield Problem(message, *positions.value("stages", name, "environment"), hint)
        for artifact, each in sources.items():
            lacking = [
                one for one in draft.stages[name].targets or ("none",) if one not in draft.stages[each].environments
            ]
            if draft.stages[each].environments and lacking:
                message = f"{name!r} takes {artifact!r} from {each!r}, which has several environments, and {lacking[0]} is not among them"
                hint = f"Write: environments: [{', '.join(draft.stages[each].environments)}]"
                yield Problem(message, *positions.key("stages", name), hint)


def _releases_without_environment(
    draft: Draft, wiring: Mapping[str, Mapping[str, str]], positions: Positions
) -> Iterator[Problem]:
    """A release is in a registry, and whose it is only an environment says."""
    for name, sources in wiring.items():
        if "release" in sources and not draft.stages[name].targets and KINDS[draft.stages[name].uses].takes_one_of:
            message = f"{name!r} lacks an environment: it reads the release of {sources['release']!r} from a registry"
            there = draft.stages[sources["release"]].environment
            yield Problem(message, *positions.key("stages", name), f"Write: environment: {there or 'NAME'}")


# Habits


def _nowhere_to_push(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Packaging without a repository: it works for images that are in a registry already, and for no others."""
    for name, stage in draft.stages.items():
        if stage.uses != "package" or any(map(stage.options.get, _INSTEAD)):
            continue
        named = [draft.environments.get(each) for each in stage.targets]
        if not all(each and each.repository for each in named or [None]):
            message = f"{name!r} has nowhere to push images: neither it nor its environment names a repository"
            hint = "Add to the environment: repository: NAME. Without one, only images that are in a registry already can be packaged."
            yield Problem(message, *positions.key("stages", name), hint)


def _far_images(draft: Draft, wiring: Mapping[str, Mapping[str, str]], positions: Positions) -> Iterator[Problem]:
    """Deploying in another region than that of the registry: Lambda runs images of its own. A repository that is named in full may be anywhere."""
    for name, sources in wiring.items():
        stage, source = draft.stages[name], sources.get("release")
        if stage.uses != "deploy" or source is None or any(map(draft.stages[source].options.get, _INSTEAD[:2])):
            continue
        for each in stage.targets:
            there = draft.environments.get(
                each if each in draft.stages[source].targets else draft.stages[source].environment or ""
            )
            here = draft.environments.get(each)
            if here and there and here.region != there.region:
                message = f"{name!r} deploys in {here.region}, and {source!r} puts its images into {there.region}: Lambda runs those of its own region alone"
                hint = f"Copy the release there before: a stage that uses package, with `environment: {each}` and `inputs: {{release: {source}}}`"
                yield Problem(message, *positions.key("stages", name), hint)
                break


def _habits(draft: Draft, positions: Positions) -> Iterator[Problem]:
    used = {name for each in draft.stages.values() for name in each.targets} | {
        each.environment for each in draft.secrets.values()
    }
    for name in draft.environments:
        if name not in used:
            yield Problem(f"no stage uses environment {name!r}", *positions.key("environments", name))
    named = {
        reference.name
        for each in references.texts(draft)
        for reference in references.references(each.text)
        if reference.space == "parameters"
    }
    for name in draft.parameters:
        if name not in named:
            yield Problem(f"nothing uses parameter {name!r}", *positions.key("parameters", name))
    named_secrets = {name for each in draft.stages.values() for name in each.secrets} | notifications.secrets(draft)
    for name in draft.secrets:
        if name not in named_secrets:
            yield Problem(f"nothing uses secret {name!r}", *positions.key("secrets", name))
    yield from _same_stack(draft, positions)


def _same_stack(draft: Draft, positions: Positions) -> Iterator[Problem]:
    seen: dict[tuple[str | None, ...], str] = {}
    for name, each in draft.environments.items():
        if each.stack is None:
            continue
        target = (each.aws, each.partition, each.account, each.region, each.stack)
        first = seen.setdefault(target, name)
        if first != name:
            message = f"environments {first!r} and {name!r} have the same stack in the same account and region"
            yield Problem(message, *positions.value("environments", name, "stack"), "Is one a copy of the other?")
