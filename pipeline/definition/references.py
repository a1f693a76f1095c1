"""What the expressions of a definition name, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.definition import expressions
from pipeline.definition.expressions import ExpressionError, Reference
from pipeline.definition.hints import did_you_mean
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.definition.draft import Draft
    from pipeline.definition.positions import Path, Positions


@dataclass(frozen=True)
class Text:
    """A text that may hold expressions, and the environment they would speak of."""

    path: Path
    text: str
    environment: str | None


def texts(draft: Draft) -> Iterator[Text]:
    """Every text of a definition in which expressions mean something."""
    for name, each in draft.environments.items():
        for path, text in _texts(each.parameters, ("environments", name, "parameters")):
            yield Text(path, text, name)
    for name, stage in draft.stages.items():
        for path, text in _texts(stage.options, ("stages", name, "with")):
            yield from (Text(path, text, environment) for environment in stage.targets or (None,))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _texts(each, (*path, index))


def references(text: str) -> list[Reference]:
    """What a text names; nothing if it is not of the form."""
    try:
        return [part for part in expressions.parse(text) if isinstance(part, Reference)]
    except ExpressionError:
        return []


def problems(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Expressions that are not of the form, or that name what is not there."""
    for each in texts(draft):
        try:
            named = expressions.parse(each.text)
        except ExpressionError as error:
            yield Problem(error.message, *positions.value(*each.path), error.hint)
            continue
        for reference in named:
            wrong = _wrong(reference, each, draft) if isinstance(reference, Reference) else None
            if wrong:
                yield Problem(wrong.message, *positions.value(*each.path), wrong.hint)


def _wrong(reference: Reference, where: Text, draft: Draft) -> ExpressionError | None:
    if reference.space == "parameters":
        known = draft.names["parameters"]
        if reference.name in known:
            return None
        hint = did_you_mean(reference.name, known, what="parameters")
        return ExpressionError(f"parameters.{reference.name} is unknown", hint)
    return _wrong_environment(reference, where, draft)


def _wrong_environment(reference: Reference, where: Text, draft: Draft) -> ExpressionError | None:
    name = f"environment.{reference.name}"
    if where.environment is None:
        return ExpressionError(f"{name} has no meaning here: the stage has no environment", expressions.NO_ENVIRONMENT)
    if reference.name not in expressions.ENVIRONMENT_NAMES:
        hint = did_you_mean(reference.name, expressions.ENVIRONMENT_NAMES, what="names")
        return ExpressionError(f"{name} is unknown", hint)
    environment = draft.environments.get(where.environment)
    whole = ("environments", where.environment) not in draft.broken
    if reference.name == "stack" and environment is not None and environment.stack is None and whole:
        return ExpressionError(f"environment {where.environment!r} has no stack", "Give it one: stack: NAME")
    return None
