"""Expressions: `${{ parameters.NAME }}` and `${{ environment.NAME }}` in values, and nothing more.

They are looked up, not computed: evaluation always ends, and what a parameter holds is never looked at again. A value that
is exactly one expression keeps the parameter's type; inside a text it is written as YAML writes it. `$${{` stands for
`${{` itself. Values reach programs as arguments or variables and are never spliced into a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.definition.hints import did_you_mean

ENVIRONMENT_NAMES = ("account", "name", "region", "stack")
"""What an expression may ask of an environment; `stack` only where there is one."""

NO_ENVIRONMENT = "Name one for the stage: environment: NAME"

_TOKEN = re.compile(r"(?P<escaped>\$\$\{\{)|\$\{\{(?P<inner>.*?)\}\}|(?P<open>\$\{\{)", re.DOTALL)
_REFERENCE = re.compile(r"\s*(parameters|environment)\s*\.\s*([A-Za-z][A-Za-z0-9_-]*)\s*", re.ASCII)


Value = str | int | bool
"""What an expression can give."""

Scope = Mapping[str, Mapping[str, Value]]
"""What expressions can name: "parameters", and "environment" where there is one."""


class ExpressionError(Exception):
    """An expression is not of the form, or names something that is not there."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Reference:
    """`parameters.NAME` or `environment.NAME`."""

    space: str
    name: str


def parse(text: str) -> tuple[str | Reference, ...]:
    """Split a text into plain parts and references. Raises ExpressionError."""
    parts: list[str | Reference] = []
    end = 0
    for token in _TOKEN.finditer(text):
        parts.append(text[end : token.start()])
        parts.append("${{" if token["escaped"] else _reference(token["inner"]))
        end = token.end()
    parts.append(text[end:])
    return tuple(part for part in parts if part)


def _reference(inner: str | None) -> Reference:
    if inner is None:
        raise ExpressionError("an expression is not closed", "Close it with }}; write $${{ for ${{ itself.")
    match = _REFERENCE.fullmatch(inner)
    if match is None:
        hint = "An expression is ${{ parameters.NAME }} or ${{ environment.NAME }}; write $${{ for ${{ itself."
        raise ExpressionError(f"{inner.strip()[:60]!r} is no expression", hint)
    return Reference(match[1], match[2])


def is_expression(value: Any) -> bool:
    """Whether a value is a text that evaluation would look at."""
    return isinstance(value, str) and "${{" in value


def evaluate(value: Any, scope: Scope) -> Any:
    """Give `value` with each expression in it, or in the lists and maps in it, replaced. Raises ExpressionError.

    Keys of maps are left alone, and so is every value that is no text.
    """
    if isinstance(value, str):
        return _text(value, scope)
    if isinstance(value, Mapping):
        return {key: evaluate(each, scope) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [evaluate(each, scope) for each in value]
    return value


def _text(text: str, scope: Scope) -> Value:
    parts = parse(text)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return lookup(parts[0], scope)
    return "".join(part if isinstance(part, str) else as_text(lookup(part, scope)) for part in parts)


def lookup(reference: Reference, scope: Scope) -> Value:
    """Give what a reference names. Raises ExpressionError."""
    names = scope.get(reference.space)
    if names is None:
        raise ExpressionError(
            f"{reference.space}.{reference.name} has no meaning here: there is no environment", NO_ENVIRONMENT
        )
    if reference.name not in names:
        hint = did_you_mean(reference.name, names, what=_NAMES[reference.space])
        raise ExpressionError(f"{reference.space}.{reference.name} is unknown", hint)
    return names[reference.name]


_NAMES = {"parameters": "parameters", "environment": "names of this environment"}


def as_text(value: Value | float) -> str:
    """Write a value as YAML does: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)
