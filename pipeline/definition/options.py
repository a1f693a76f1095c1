"""Whether a stage's `with:` fits its kind, as stages.kinds has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.beneath import Refused, plain_name
from pipeline.definition import expressions
from pipeline.definition.expressions import ExpressionError, Reference, is_expression
from pipeline.definition.graph import MOST_ARTIFACTS
from pipeline.definition.hints import closest, described, did_you_mean, dotted
from stages.contract import Problem
from stages.kinds import IMAGE, IN_PIPELINES

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
    "folder": "the name of a folder below the project directory",
    "strings": "a list of texts",
    "map": "a map of names to texts",
    "paths": "a list of names below the project directory, or of `.`",
    "image": "an image by its digest, NAME@sha256:…, or by the engine's id, sha256:…",
}
_PYTHON = {"string": str, "file": str, "folder": str, "image": str, "boolean": bool, "integer": int}


def problems(name: str, stage: Stage, parameters: Mapping[str, Parameter], positions: Positions) -> Iterator[Problem]:
    """What is wrong with the options of a stage. Values with expressions are judged by the parameters' types."""
    kind = IN_PIPELINES.get(stage.uses)
    if kind is None:
        hint = did_you_mean(stage.uses, IN_PIPELINES, what="kinds")
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
    known = {option.name for option in kind.options}
    misspelt = {closest(given, known) for given in stage.options if given not in known}
    for option in kind.options:
        if option.required and option.name not in stage.options and option.name not in misspelt:
            message = f"{dotted(path[:2])} lacks the option {option.name!r} of {kind.name}"
            yield Problem(message, *positions.key(*path), f"{option.help} Add: with: {{{option.name}: ...}}")


def _value(
    option: Option, value: Any, path: Path, parameters: Mapping[str, Parameter], positions: Positions
) -> Iterator[Problem]:
    if option.name in ARTIFACT_OPTIONS and isinstance(value, list):
        yield from _artifacts(value, path, positions)
    for candidate in _candidates(value, parameters):
        wrong = mismatch(option, candidate)
        if wrong:
            message = f"{dotted(path)} {wrong}"
            if is_expression(value):
                message = f"{dotted(path)} must be {wrong.must_be}, but {value.strip()[:60]} can be {wrong.found}"
            yield Problem(message, *_place(value, path, positions), None if is_expression(value) else wrong.hint)
            return


def _place(value: Any, path: Path, positions: Positions) -> Place:
    """The entry that is wrong, where it is one of several; else the value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    wrong = [key for key, each in entries if not isinstance(each, str)]
    path = (*path, wrong[0]) if wrong else path
    return positions.key(*path) if value is None else positions.value(*path)


def _artifacts(names: list[Any], path: Path, positions: Positions) -> Iterator[Problem]:
    """An artifact's name is a folder's name, and part of the graph."""
    if len(names) > MOST_ARTIFACTS:
        yield Problem(f"{dotted(path)} has too many entries: at most {MOST_ARTIFACTS}", *positions.value(*path))
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


class _SomeInteger(int):
    """A number that is not known yet."""

    __slots__ = ()


_EXAMPLES: dict[str, Any] = {"string": _SomeText(), "integer": _SomeInteger(), "boolean": True}


@dataclass(frozen=True)
class Mismatch:
    """Why a value is none of an option's type or choices: what it must be, what it is, and what to do."""

    must_be: str
    found: str | None
    hint: str | None

    def __str__(self) -> str:
        return f"must be {self.must_be}, not {self.found}" if self.found else f"must be {self.must_be}"


def mismatch(option: Option, value: Any) -> Mismatch | None:
    """Say why a value does not fit an option; None if it does."""
    must_be = _WORDS[option.type]
    if not _is_of_type(option, value):
        if _holds(option, value):
            return Mismatch(
                must_be, None, "This is empty, a list or a map; texts, numbers, true and false can stand here."
            )
        found = {_SomeText: "text", _SomeInteger: "a whole number"}.get(type(value), described(value))
        return Mismatch(must_be, found, _type_hint(option, value))
    if isinstance(value, _SomeText):
        return None
    if option.choices and value not in option.choices:
        hint = did_you_mean(value, option.choices, what="choices")
        return Mismatch(" or ".join(option.choices), repr(value), hint)
    if option.type == "image" and not re.fullmatch(IMAGE, value):
        hint = "A tag may mean another image tomorrow. To see the digest: docker image inspect --format '{{json .RepoDigests}}' NAME"
        return Mismatch(must_be, repr(value), hint)
    return next((wrong for each in _paths(option, value) if (wrong := _no_path(option, each))), None)


def _paths(option: Option, value: Any) -> list[str]:
    """The names below the project that a value of this type is, or holds."""
    if option.type == "paths":
        return [each for each in value if each != "."]
    return [value] if option.type in ("file", "folder") else []


def _no_path(option: Option, value: str) -> Mismatch | None:
    try:
        plain_name(value)
    except Refused as refused:
        return Mismatch(f"{_WORDS[option.type]}: {refused.message}", None, refused.hint)
    return None


def _is_of_type(option: Option, value: Any) -> bool:
    if option.type in ("strings", "paths", "map"):
        entries = value.values() if isinstance(value, dict) else value
        return _holds(option, value) and all(isinstance(each, str) for each in entries)
    return isinstance(value, _PYTHON[option.type]) and not (option.type == "integer" and isinstance(value, bool))


def _type_hint(option: Option, value: Any) -> str | None:
    if option.type in ("strings", "paths") and isinstance(value, str):
        return f"Write it as a list: [{', '.join(value.split())[:60]}]"
    if option.type in ("string", "file", "folder") and isinstance(value, (int, float)):
        return "Put it in quotes."
    return None


def _holds(option: Option, value: Any) -> bool:
    """Whether a value is the collection that the option asks for, whatever is in it."""
    return isinstance(value, {"strings": list, "paths": list, "map": dict}.get(option.type, ()))
