"""Compile a definition and its parameters to a frozen Plan."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipeline.definition import check, expressions
from pipeline.errors import InvalidDefinition
from pipeline.plan import Plan, PlannedStage
from pipeline.record import digest
from stages.contract import Problem, Target
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.definition.model import Definition, Environment, Stage
    from pipeline.plan import Value


def compile_plan(definition: Definition, values: Mapping[str, Value], project: Path) -> tuple[Plan, dict[str, bytes]]:
    """Give the plan, and the bytes of every file it holds by digest. Raises InvalidDefinition."""
    files = {digest.of_bytes(data): data for data in definition.files.values()}
    problems: list[Problem] = []
    stages = {}
    for name in in_order(definition):
        stages[name], named, wrong = _stage(definition, name, values, project)
        files |= named
        problems += wrong
    if problems:
        raise InvalidDefinition(problems)
    sources = {file: digest.of_bytes(data) for file, data in sorted(definition.files.items())}
    return Plan(definition.name, dict(values), sources, stages), files


def in_order(definition: Definition) -> list[str]:
    """Give the names of all stages so that each stands after what it needs, else in the order of the file."""
    order: list[str] = []
    waiting = list(definition.stages)
    while waiting:
        name = next(each for each in waiting if set(definition.stages[each].needs) <= set(order))
        waiting.remove(name)
        order.append(name)
    return order


def _stage(
    definition: Definition, name: str, values: Mapping[str, Value], project: Path
) -> tuple[PlannedStage, dict[str, bytes], list[Problem]]:
    stage = definition.stages[name]
    kind = KINDS[stage.uses]
    environment = definition.environments[stage.environment] if stage.environment else None
    scope = _scope(values, stage, environment)
    options = {option.name: option.default for option in kind.options if option.default is not None}
    options |= expressions.evaluate(stage.options, scope)
    files, named, problems = _read_files(definition, name, options, project)
    planned = PlannedStage(
        name=name,
        kind=kind.name,
        needs=list(stage.needs),
        options=options,
        inputs=check.inputs_of(definition, name),
        target=_target(stage.environment, environment, scope),
        profile=environment.profile if environment else None,
        timeout_s=stage.timeout_s or LIMITS.stage_timeout_s,
        idempotent=kind.idempotent if stage.idempotent is None else stage.idempotent,
        files=files,
    )
    return planned, named, problems


def _scope(values: Mapping[str, Value], stage: Stage, environment: Environment | None) -> dict[str, dict[str, Value]]:
    scope: dict[str, dict[str, Value]] = {"parameters": dict(values)}
    if environment and stage.environment:
        about = {"account": environment.account, "region": environment.region, "stack": environment.stack}
        scope["environment"] = {"name": stage.environment, **{key: value for key, value in about.items() if value}}
    return scope


def _target(name: str | None, environment: Environment | None, scope: dict[str, dict[str, Value]]) -> Target | None:
    if name is None or environment is None:
        return None
    return Target(
        environment=name,
        account=environment.account,
        region=environment.region,
        partition=environment.partition,
        embedded=environment.embedded,
        stack=environment.stack,
        repository=environment.repository,
        parameters={key: str(expressions.evaluate(value, scope)) for key, value in environment.parameters.items()},
        tags=dict(environment.tags),
        capabilities=list(environment.capabilities),
    )


def _read_files(
    definition: Definition, name: str, options: dict[str, Any], project: Path
) -> tuple[dict[str, str], dict[str, bytes], list[Problem]]:
    """Read the files that a stage's options name: path to digest, digest to bytes, and what was wrong with them."""
    files: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for option in KINDS[definition.stages[name].uses].options:
        if option.type != "file" or option.name not in options:
            continue
        place = definition.place("stages", name, "with", option.name)
        try:
            data = _read_beneath(project, str(options[option.name]))
        except (OSError, ValueError) as error:
            hint = f"Name a file below {project}."
            problems.append(
                dataclasses.replace(place, message=f"{option.name}: {_why(error)}: {options[option.name]}", hint=hint)
            )
            continue
        files[str(options[option.name])] = digest.of_bytes(data)
        contents[digest.of_bytes(data)] = data
    return files, contents, problems


def _read_beneath(project: Path, name: str) -> bytes:
    path = (project / name).resolve()
    if not path.is_relative_to(project.resolve()):
        raise ValueError("the file is outside the project")
    return path.read_bytes()


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
