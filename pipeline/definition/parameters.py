"""The parameters of a run: text from the command line to values of the declared types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.definition.expressions import Value, as_text
from pipeline.definition.hints import did_you_mean
from pipeline.errors import InvalidDefinition
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.definition.model import Definition, Parameter

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_WORDS = {"integer": "a whole number", "boolean": "true or false"}


def resolve(definition: Definition, given: Mapping[str, str]) -> dict[str, Value]:
    """Give every parameter of `definition` its value. Raises InvalidDefinition with all that is wrong with `given`."""
    problems: list[Problem] = []
    found: dict[str, Value] = {}
    for name in given:
        if name not in definition.parameters:
            hint = did_you_mean(name, definition.parameters, what="parameters")
            problems.append(Problem(f"there is no parameter {name!r}", hint=hint))
    for name, parameter in definition.parameters.items():
        if name in given:
            value = _typed(parameter, given[name])
            problem = _wrong(name, parameter, given[name], value)
        else:
            value = parameter.default
            problem = None if value is not None else _not_given(definition, name)
        if problem:
            problems.append(problem)
        elif value is not None:
            found[name] = value
    if problems:
        raise InvalidDefinition(problems)
    return found


def _typed(parameter: Parameter, text: str) -> Value | None:
    """The value that `text` stands for, or None."""
    if parameter.type == "string":
        return text
    if parameter.type == "integer":
        return int(text) if _INTEGER.fullmatch(text) else None
    return {"true": True, "false": False}.get(text)


def _wrong(name: str, parameter: Parameter, text: str, value: Value | None) -> Problem | None:
    if value is None:
        return Problem(f"parameter {name!r} must be {_WORDS[parameter.type]}, not {text[:60]!r}")
    if parameter.enum is not None and value not in parameter.enum:
        hint = did_you_mean(text, map(as_text, parameter.enum), what="values it may have")
        return Problem(f"parameter {name!r} cannot be {text[:60]!r}", hint=hint)
    return None


def _not_given(definition: Definition, name: str) -> Problem:
    place = definition.positions.key("parameters", name)
    hint = f"Give it with --parameter {name}=VALUE, or give it a `default` here."
    return Problem(f"parameter {name!r} has no default and was not given", *place, hint)
