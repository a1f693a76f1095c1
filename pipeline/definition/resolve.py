"""Apply parameters to a definition: the values that stages are really given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.definition.expressions import Value, as_text, evaluate
from pipeline.definition.hints import dotted
from pipeline.definition.options import mismatch
from pipeline.errors import InvalidDefinition
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.definition.expressions import Scope
    from pipeline.definition.model import Definition


def scope(definition: Definition, parameters: Mapping[str, Value], environment: str | None) -> Scope:
    """What expressions of a stage in `environment` (or in none), or of that environment itself, can name."""
    if environment is None:
        return {"parameters": parameters}
    target = definition.environments[environment]
    names: dict[str, Value] = {"name": environment, "account": target.account, "region": target.region}
    if target.stack is not None:
        names["stack"] = target.stack
    return {"parameters": parameters, "environment": names}


def environment_parameters(definition: Definition, name: str, parameters: Mapping[str, Value]) -> dict[str, str]:
    """The template's parameters of an environment, all of them text as CloudFormation takes them."""
    evaluated = evaluate(definition.environments[name].parameters, scope(definition, parameters, name))
    return {key: as_text(value) for key, value in evaluated.items()}


def options(
    definition: Definition, name: str, parameters: Mapping[str, Value], environment: str | None
) -> dict[str, Any]:
    """The options of a stage in an environment with defaults filled in. Raises InvalidDefinition: a parameter's value may not fit."""
    stage = definition.stages[name]
    evaluated = evaluate(stage.options, scope(definition, parameters, environment))
    result: dict[str, Any] = {}
    problems: list[Problem] = []
    for option in KINDS[stage.uses].options:
        if option.name not in evaluated:
            if option.default is not None:
                result[option.name] = option.default
            continue
        value = result[option.name] = _texts(evaluated[option.name])
        wrong = mismatch(option, value)
        if wrong:
            path = ("stages", name, "with", option.name)
            problems.append(Problem(f"{dotted(path)} {wrong}", *definition.positions.value(*path), wrong.hint))
    if problems:
        raise InvalidDefinition(problems)
    return result


def _texts(value: Any) -> Any:
    """In a list or a map of an option, what a parameter gave becomes text as what stands there has."""
    if isinstance(value, dict):
        return {key: _texts_only(each) for key, each in value.items()}
    return [_texts_only(each) for each in value] if isinstance(value, list) else value


def _texts_only(value: Any) -> Any:
    return as_text(value) if isinstance(value, (bool, int)) else value
