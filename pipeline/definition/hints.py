"""Words that problems are told in."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.definition.positions import Path
    from stages.contract import Problem

MOST_PROBLEMS = 100
"""More are not looked for: nobody reads them, and each takes its time."""

_MOST_LISTED = 12
_MOST_CHARACTERS = 400


def closest(word: str, known: Iterable[str]) -> str | None:
    """Give the one of `known` that `word` is most like, if it is much like any."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:100], by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], *, what: str) -> str:
    """Name what `word` is most like, or else all that is known. `what` is the plural of what they are."""
    names = sorted(known)
    nearest = closest(word, names)
    if nearest:
        return f"Did you mean {nearest!r}?"
    if not names:
        return f"There are no {what}."
    return f"The {what} are: {', '.join(names[:_MOST_LISTED])}{', ...' if len(names) > _MOST_LISTED else ''}."


def dotted(path: Path) -> str:
    """Write a path as people read it: stages.build.needs[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the definition"


def described(value: Any) -> str:
    """Say what a YAML value is: "the number 12", "a list"."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def in_order(problems: Iterable[Problem], files: Iterable[str]) -> list[Problem]:
    """Sort problems as one reads: file by file, from top to bottom; each said once."""
    order = {name: index for index, name in enumerate(files)}
    unique = dict.fromkeys(dataclasses.replace(each, message=_one_line(each.message)) for each in problems)
    return sorted(unique, key=lambda each: (order.get(each.file or "", -1), each.line or 0, each.column or 0))


def _one_line(message: str) -> str:
    """What somebody wrote into a key must not look like another message, or fill the screen."""
    shown = message if len(message) <= _MOST_CHARACTERS else message[: _MOST_CHARACTERS - 3] + "..."
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in shown)
