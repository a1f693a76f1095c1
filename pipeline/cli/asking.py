"""Questions on a terminal. Without one nothing is asked: what is not given is an error that names the flag, or the default."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Asking:
    """Gives what was given, else asks, else takes the default. Call `refuse` when all questions are through."""

    def __init__(self, *, no_input: bool) -> None:
        self._silent = no_input
        self._terminal = sys.stdin.isatty() and sys.stderr.isatty()
        self._missing: list[str] = []

    def text(self, flag: str, question: str, given: str | None, default: str, read: Callable[[str], T]) -> T:
        """A text that `read` makes something of, or refuses with UsageError."""
        return read(given) if given is not None else self._ask(flag, question, default, read)

    def texts(
        self, flag: str, question: str, given: Sequence[str], default: Sequence[str], read: Callable[[Sequence[str]], T]
    ) -> T:
        """Some words."""
        if given:
            return read(given)
        return self._ask(flag, question, " ".join(default), lambda text: read(text.replace(",", " ").split()))

    def choice(self, flag: str, question: str, given: str | None, default: str, among: Sequence[str]) -> str:
        """One of some words."""
        return given if given is not None else self._ask(flag, question, default, str, click.Choice(among))

    def yes(self, flag: str, question: str, given: bool | None, *, default: bool) -> bool:  # noqa: FBT001 - it is a value
        """Yes or no."""
        if given is not None:
            return given
        if self._asks(flag):
            return click.confirm(question, default=default, err=True)
        return default

    @property
    def missing(self) -> bool:
        """Whether something would have had to be asked, and there was nobody to ask."""
        return bool(self._missing)

    def refuse(self) -> None:
        """Raise UsageError if something would have to be asked, and there is nobody to ask."""
        if self._missing:
            hint = "Give them, or have the defaults: --no-input"
            raise UsageError(f"not given, and without a terminal not asked: {', '.join(self._missing)}", hint=hint)

    def _asks(self, flag: str) -> bool:
        if not self._silent and not self._terminal:
            self._missing.append(flag)
        return not self._silent and self._terminal

    def _ask(
        self,
        flag: str,
        question: str,
        default: str,
        read: Callable[[str], T],
        of_type: click.ParamType[Any] | None = None,
    ) -> T:
        if not self._asks(flag):
            return read(default)
        if of_type is not None:
            return read(click.prompt(question, default=default, type=of_type, err=True))

        def value(text: Any) -> T:
            try:
                return read(str(text))
            except UsageError as error:
                where = f"{error.where}: " if error.where else ""
                raise click.UsageError(f"{where}{error.message}. {error.hint or ''}".rstrip()) from error

        answer: T = click.prompt(question, default=default, value_proc=value, err=True)
        return answer
