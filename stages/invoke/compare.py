"""Compare an answer with what is expected of it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.invoke.requests import Call, Expect

SHOWN = 500
"""Characters of an answer that a failure shows."""


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is of an endpoint; `error` is of a function that failed, with its message."""

    body: bytes
    status: int | None = None
    error: str | None = None

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def differences(call: Call, answer: Answer) -> list[str]:
    """Everything in which an answer is not what was expected, each as `expected ..., got ...`."""
    expect = call.expect
    problems = list(_status(expect, answer) if call.kind == "endpoint" else _error(expect, answer))
    if "json" in expect.given:
        problems += _json(expect.json, answer)
    if "text" in expect.given and answer.text != expect.text:
        problems.append(f"text: expected {_show(expect.text)}, got {_show(answer.text)}")
    problems += [
        f"contains: expected {_show(part)} in it, got {_show(answer.text)}"
        for part in expect.contains
        if part not in answer.text
    ]
    return problems


def _status(expect: Expect, answer: Answer) -> Iterator[str]:
    if answer.status != expect.status:
        yield f"status: expected {expect.status}, got {answer.status} with {_show(answer.text)}"


def _error(expect: Expect, answer: Answer) -> Iterator[str]:
    if expect.error is False and answer.error is not None:
        yield f"error: expected none, got {answer.error}"
    elif expect.error is not False and answer.error is None:
        wanted = "an error" if expect.error is True else f"an error with {_show(expect.error)}"
        yield f"error: expected {wanted}, got the answer {_show(answer.text)}"
    elif isinstance(expect.error, str) and expect.error not in (answer.error or ""):
        yield f"error: expected one with {_show(expect.error)}, got {answer.error}"


def _json(expected: Any, answer: Answer) -> list[str]:
    try:
        actual = json.loads(answer.body)
    except ValueError:
        return [f"json: expected {_show(expected)}, got what is not JSON: {_show(answer.text)}"]
    return list(subset(expected, actual, "json"))


def subset(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """Where `actual` lacks what `expected` has. A mapping may have more keys than expected; a list may not be longer."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key not in actual:
                yield f"{path}.{key}: expected {_show(value)}, got nothing"
            else:
                yield from subset(value, actual[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from subset(one, other, f"{path}[{number}]")
    elif not _same(expected, actual):
        yield f"{path}: expected {_show(expected)}, got {_show(actual)}"


def _same(expected: Any, actual: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true."""
    return isinstance(expected, bool) == isinstance(actual, bool) and bool(expected == actual)


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
