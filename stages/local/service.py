"""The functions of an application, ready to be called by name, and swapped for others while they are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.local import console as telling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stages.local.console import Console
    from stages.runtime.model import Call, Function, Outcome
    from stages.runtime.pool import Pool


class Service:
    """Runs functions, known by their ids in the template, and tells of each invocation."""

    def __init__(self, pool: Pool, console: Console, functions: Mapping[str, Function]) -> None:
        self._pool = pool
        self._console = console
        self._functions = dict(functions)

    def named(self, name: str) -> str | None:
        """The id of the function that a name means: an id, the last part of just one, or a function's own name."""
        if name in self._functions:
            return name
        found = [id_ for id_, each in self._functions.items() if name in (id_.rpartition("/")[2], each.name)]
        return found[0] if len(found) == 1 else None

    def knows(self, id_: str) -> bool:
        """Whether there is something to call under an id."""
        return id_ in self._functions

    def function(self, id_: str) -> Function:
        return self._functions[id_]

    def say(self, text: str) -> None:
        self._console.say(text)

    def invoke(self, id_: str, call: Call, answered: Callable[[Outcome], None] | None = None) -> Outcome:
        """Run a function once; `answered` is called as soon as there is an outcome, which then lacks its log."""
        function = self._functions[id_]
        self._console.say(telling.start(call.request_id, function))
        outcome = self._pool.invoke(function, call, answered)
        self._console.say(telling.end(outcome, function))
        return outcome

    def swap(self, id_: str, function: Function) -> Outcome | None:
        """Let another image or configuration answer from now on, once a container of it is ready.

        What went wrong if it does not get ready: the function stays what it was then.
        """
        old = self._functions.get(id_)
        wrong = self._pool.replace(old, function) if old else None
        if wrong is None:
            self._functions[id_] = function
        return wrong

    def differs(self, id_: str, function: Function) -> bool:
        """Whether what is served under an id is something else."""
        return id_ not in self._functions or self._functions[id_].identity != function.identity
