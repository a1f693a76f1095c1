"""Whether a stage's `with:` fits its kind, as stages.kinds has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.definition import expressions
from pipeline.definition.beneath import Refused, plain_name
from pipeline.definition.expressions import ExpressionError, Reference, is_expression
from pipeline.definition.hints import described, did_you_mean, dotted
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.definition.model import Parameter, Stage
    from pipeline.definition.positions import Path, Place, Positions
    from stages.kinds import Kind, Option

ARTIFACT_OPTIONS = ("inputs", "outputs")
"""Options of kinds that name artifacts: they make the graph, so they are read before any parameter has a value."""

_ARTIFACT = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_WORDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "file": "the name of a file below the project directory",
    "strings": "a list of texts",
    "map": "a map of names to texts",
}
_PYTHON = {"string": str, "file": str, "boolean": bool, "integer": int}


def problems(name: str, stage: Stage, parameters: Mapping[str, Parameter], positions: Positions) -> Iterator[Problem]:
    """What is wrong with the options of a stage. Values with expressions are judged by the parameters' types."""
    kind = KINDS.get(stage.uses)
    if kind is None:
        hint = did_you_mean(stage.uses, KINDS, what="kinds")
        yield Problem(f"{stage.uses!r} is no kind of stage", *positions.value("stages", name, "uses"), hint)
        return
    path = ("stages", name, "with")
    known = {option.name: option for option in kind.options}
    for key, value in stage.options.items():
        if key not in known:
            hint = (
                did_you_mean(key, known, what=f"options of {kind.name}") if known else f"{kind.name} takes no options."
            )
            yield Problem(f"{kind.name} has no option {key!r}", *positions.key(*path, key), hint)
        else:
            yield from _value(known[key], value, (*path, key), parameters, positions)
    yield from _missing(kind, stage, path, positions)


def _missing(kind: Kind, stage: Stage, path: Path, positions: Positions) -> Iterator[Problem]:
    for option in kind.options:
        if option.required and option.name not in stage.options:
            message = f"{dotted(path[:2])} lacks the option {option.name!r} of {kind.name}"
            yield Problem(message, *positions.key(*path), f"{option.help} Write: with: {{{option.name}: ...}}")


def _value(
    option: Option, value: Any, path: Path, parameters: Mapping[str, Parameter], positions: Positions
) -> Iterator[Problem]:
    if option.name in ARTIFACT_OPTIONS and isinstance(value, list):
        yield from _artifacts(value, path, positions)
    for candidate in _candidates(value, parameters):
        wrong = mismatch(option, candidate)
        if wrong:
            message, hint = wrong
            yield Problem(f"{dotted(path)} {message}", *_place(value, path, positions), hint)
            return


def _place(value: Any, path: Path, positions: Positions) -> Place:
    """The entry that is wrong, where it is one of several; else the value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    wrong = [key for key, each in entries if not isinstance(each, str)]
    path = (*path, wrong[0]) if wrong else path
    return positions.key(*path) if value is None else positions.value(*path)


def _artifacts(names: list[Any], path: Path, positions: Positions) -> Iterator[Problem]:
    """An artifact's name is a folder's name, and part of the graph."""
    for index, name in enumerate(names):
        if isinstance(name, str) and not _ARTIFACT.fullmatch(name):
            hint = "Use lower-case letters, digits and hyphens, beginning with a letter; no expressions."
            yield Problem(f"{name[:60]!r} is no name for an artifact", *positions.value(*path, index), hint)


def _candidates(value: Any, parameters: Mapping[str, Parameter]) -> list[Any]:
    """Values to judge an option by: itself, or for exactly one expression what its parameter may be, as far as is known."""
    if not is_expression(value):
        return [value]
    try:
        parts = expressions.parse(value)
    except ExpressionError:
        return []
    if any(isinstance(part, Reference) for part in parts):
        return _possible(parts[0], parameters) if len(parts) == 1 and isinstance(parts[0], Reference) else [_SomeText()]
    return ["".join(map(str, parts))]


def _possible(reference: Reference, parameters: Mapping[str, Parameter]) -> list[Any]:
    if reference.space == "environment":
        return [_SomeText()]
    parameter = parameters.get(reference.name)
    if parameter is None:
        return []
    if parameter.enum is not None:
        return list(parameter.enum)
    return [_EXAMPLES[parameter.type]]


class _SomeText(str):
    """A text that is not known yet."""

    __slots__ = ()


_EXAMPLES: dict[str, Any] = {"string": _SomeText(), "integer": 1, "boolean": True}


def mismatch(option: Option, value: Any) -> tuple[str, str | None] | None:
    """Say why a value is none of the option's type or choices, and what to do; None if it is."""
    must_be = f"must be {_WORDS[option.type]}"
    if not _is_of_type(option, value):
        if _holds(option, value):
            return must_be, "This is empty, a list or a map; texts, numbers, true and false can stand here."
        return f"{must_be}, not {'text' if isinstance(value, _SomeText) else described(value)}", _type_hint(
            option, value
        )
    if isinstance(value, _SomeText):
        return None
    if option.choices and value not in option.choices:
        return f"must be {' or '.join(option.choices)}, not {value!r}", did_you_mean(
            value, option.choices, what="choices"
        )
    if option.type == "file":
        try:
            plain_name(value)
        except Refused as refused:
            return f"{must_be}: {refused.message}", refused.hint
    return None


def _is_of_type(option: Option, value: Any) -> bool:
    if option.type in ("strings", "map"):
        entries = value.values() if isinstance(value, dict) else value
        return _holds(option, value) and all(isinstance(each, str) for each in entries)
    return isinstance(value, _PYTHON[option.type]) and not (option.type == "integer" and isinstance(value, bool))


def _type_hint(option: Option, value: Any) -> str | None:
    if option.type == "strings" and isinstance(value, str):
        return f"Write it as a list: [{', '.join(value.split())[:60]}]"
    if option.type in ("string", "file") and isinstance(value, (int, float)):
        return "Put it in quotes."
    return None


def _holds(option: Option, value: Any) -> bool:
    """Whether a value is the collection that the option asks for, whatever is in it."""
    return isinstance(value, {"strings": list, "map": dict}.get(option.type, ()))
