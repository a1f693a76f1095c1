"""What an audit finds: things that do not hold, and things that are not there to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import VerificationFailed

Grade = Literal["broken", "missing"]
"""`broken`: something is not what it was, or never was what it says (exit code 4). `missing`: what is there holds, but something
that should vouch for it, or follow it, is not there (exit code 7)."""


@dataclass(frozen=True)
class Finding:
    """One thing, by the key of its object in the store. `expected` and `found` are digests, counts or names."""

    grade: Grade
    key: str
    text: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        told = ", ".join(
            f"{word} {value}" for word, value in (("expected", self.expected), ("found", self.found)) if value
        )
        return f"{self.key}: {self.text}" + (f" ({told})" if told else "")

    def as_json(self) -> dict[str, Any]:
        """Give the JSON form."""
        return dict(vars(self))


def broken(key: str, text: str, expected: object = None, found: object = None) -> Finding:
    """Something does not hold."""
    return Finding("broken", _printable(key), _printable(text), _text(expected), _text(found))


def missing(key: str, text: str, expected: object = None, found: object = None) -> Finding:
    """Something is not there to hold."""
    return Finding("missing", _printable(key), _printable(text), _text(expected), _text(found))


class reading:  # noqa: N801 - used as a statement
    """Turn whatever is wrong with the form of what is read here into a finding: the record is not trusted to keep to it."""

    def __init__(self, key: str, into: list[Finding]) -> None:
        self.key = key
        self.into = into

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, VerificationFailed):
            at = error.where or self.key
            self.into.append(broken(at, error.message.removeprefix(f"{at}: ").removeprefix(f"{at} ")))
            return True
        if isinstance(error, (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)):
            self.into.append(broken(self.key, f"is not of the form that its type must have: {error!r}"))
            return True
        return False


def _text(value: object) -> str | None:
    return None if value is None else _printable(str(value))


def _printable(text: str) -> str:
    """Names of files need be no text, and JSON can hold halves of characters: neither can be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
