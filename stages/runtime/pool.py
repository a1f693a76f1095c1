"""Environments kept warm: one for each invocation that runs, and the idle ones for what comes next."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from stages.contract import StageError
from stages.runtime.container import BrokenImage, listed, remove
from stages.runtime.model import LIMITS, Outcome, error_payload
from stages.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.images.direct import Engine
    from stages.runtime.container import Network
    from stages.runtime.model import Call, Function


_STARTED_S = 10.0
"""How long an end waits for containers that are being started, so that none is left behind."""


class Pool:
    """Runs functions in containers of `engine`, labelled with `labels`. Used as a context, it ends them all at the end.

    An invocation that finds all environments of its function at work waits `patience_s` for one of them before it has another
    made, and for as long as it takes once there are `most` of them, or `starts` are being started. `hearer` gives what takes the output of a container, as it comes.
    Without `waits` the engine may still be removing the last container after the end.
    """

    def __init__(
        self,
        engine: Engine,
        where: Network,
        labels: dict[str, str] | None = None,
        *,
        patience_s: float = 0,
        most: int | None = None,
        starts: int | None = None,
        hearer: Callable[[Function], Callable[[bytes], None]] | None = None,
        quiet_s: float = LIMITS.quiet_s,
        waits: bool = True,
    ) -> None:
        self._engine = engine
        self._where = where
        self._labels = labels or {}
        self._patience_s = patience_s
        self._most = most
        self._starts = starts
        self._hearer = hearer
        self._quiet_s = quiet_s
        self._waits = waits
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[tuple[float, Sandbox]] = []  # the longest idle first
        self._busy: set[Sandbox] = set()
        self._starting: list[str] = []  # identities
        self._retired: set[str] = set()
        self._closing = threading.Event()
        # Ending a container takes a while, so not on a caller's time; and one after another: engines before 23.0 may lock up
        # when containers leave a network at the same time (https://github.com/moby/moby/pull/42545).
        self._enders = ThreadPoolExecutor(1, "end-function")
        threading.Thread(target=self._expire, daemon=True, name="idle-functions").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(waits=self._waits)

    def invoke(self, function: Function, call: Call, answered: Callable[[Outcome], None] | None = None) -> Outcome:
        """Run the function once. Whatever goes wrong in it is an outcome, not an exception. Raises StageError if the engine or
        the pool has ended.

        `answered` is given the outcome as soon as there is one; that which is returned has its log, too.
        """
        begun = time.monotonic()
        try:
            sandbox = self._take(function) or self._start_instead(function)
        except BrokenImage as error:
            outcome = _broken(error, call.request_id, begun)
            if answered:
                answered(outcome)
            return outcome
        try:
            return sandbox.invoke(call, answered)
        finally:
            self._give_back(sandbox)

    def replace(self, old: Function, new: Function) -> Outcome | None:
        """Have an environment ready for `new`, and end those of `old` once they have done what they are at.

        What went wrong if it does not get ready; then those of `old` stay.
        """
        begun = time.monotonic()
        with self._changed:
            self._starting.append(new.identity)
            self._retired.discard(new.identity)
        try:
            sandbox = self._start(new)
        except BrokenImage as error:
            return _broken(error, "init", begun)
        try:
            wrong = sandbox.ready()
        finally:
            self._give_back(sandbox)
        if wrong is None:
            with self._changed:
                self._retired.add(old.identity)
            self._close_idle(lambda _, idle: idle.function.identity == old.identity)
        return wrong

    def drop(self, account: str, name: str) -> None:
        """End the idle environments of a function, of all its versions: it was changed or deleted."""
        self._close_idle(lambda _, idle: (idle.function.account, idle.function.name) == (account, name))

    def close(self, *, waits: bool = True) -> None:
        """End everything, also what runs; if not `waits`, the engine is still removing the last container when this returns."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()  # who waits for an environment gets none
            self._changed.wait_for(lambda: not self._starting, _STARTED_S)
            everything = [*self._busy, *(sandbox for _, sandbox in self._idle)]
            self._idle.clear()
        self._end(everything, waits=waits)
        self._enders.shutdown()

    def _take(self, function: Function) -> Sandbox | None:
        """An idle environment of the function; None, and the right to start one, if none gets idle in time."""
        identity = function.identity
        deadline = time.monotonic() + self._patience_s
        with self._changed:
            while True:
                if self._closing.is_set():
                    raise StageError("functions are not run any more: the command is ending", cls="retryable")
                found = self._idle_one(identity)
                if found:
                    return found
                starting = self._starting.count(identity)
                working = starting + sum(each.function.identity == identity for each in self._busy)
                full = _reached(self._most, working) or _reached(self._starts, starting)
                left_s = deadline - time.monotonic() if working else 0
                if not full and left_s <= 0:
                    self._starting.append(identity)
                    return None
                self._changed.wait(None if full else left_s)

    def _idle_one(self, identity: str) -> Sandbox | None:
        """The environment idle for the shortest time, which is the likeliest to live; it is at work from now on."""
        for index in range(len(self._idle) - 1, -1, -1):
            sandbox = self._idle[index][1]
            if sandbox.function.identity == identity and sandbox.reusable:
                del self._idle[index]
                self._busy.add(sandbox)
                return sandbox
        return None

    def _start_instead(self, function: Function) -> Sandbox:
        self._close_idle(lambda _, idle: _supersedes(function, idle.function))
        return self._start(function)

    def _start(self, function: Function) -> Sandbox:
        try:
            sandbox = Sandbox(
                self._engine, function, self._where, self._labels, hearer=self._hearer, quiet_s=self._quiet_s
            )
        except BaseException:
            with self._changed:
                self._starting.remove(function.identity)
                self._changed.notify_all()
            raise
        with self._changed:
            self._starting.remove(function.identity)
            self._busy.add(sandbox)
            self._changed.notify_all()
        return sandbox

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._changed:
            self._busy.discard(sandbox)
            keep = sandbox.reusable and not self._closing.is_set()
            keep = keep and sandbox.function.identity not in self._retired
            if keep:
                self._idle.append((time.monotonic(), sandbox))
            self._changed.notify_all()
        if not keep:
            try:
                self._enders.submit(sandbox.close)
            except RuntimeError:  # the pool is closed
                sandbox.close()

    def _expire(self) -> None:
        while not self._closing.wait(10):
            self._close_idle(lambda since, idle: time.monotonic() - since > LIMITS.idle_s or not idle.reusable)

    def _close_idle(self, chosen: Callable[[float, Sandbox], bool]) -> None:
        with self._changed:
            ended = [sandbox for since, sandbox in self._idle if chosen(since, sandbox)]
            self._idle = [entry for entry in self._idle if entry[1] not in ended]
        self._end(ended)

    def _end(self, sandboxes: list[Sandbox], *, waits: bool = True) -> None:
        last = len(sandboxes) - 1
        for done in [self._enders.submit(each.close, waits=waits or at < last) for at, each in enumerate(sandboxes)]:
            done.result()


def _broken(error: BrokenImage, request_id: str, begun: float) -> Outcome:
    body = error_payload(error.error_type, f"RequestId: {request_id} Error: {error}")
    return Outcome("broken-image", body, "", request_id, (time.monotonic() - begun) * 1000)


def _reached(most: int | None, number: int) -> bool:
    return most is not None and number >= most


def _supersedes(new: Function, old: Function) -> bool:
    return new.arn == old.arn and new.identity != old.identity


def remove_leftovers(engine: Engine, labels: dict[str, str]) -> int:
    """Remove function containers with these labels that a process left which did not end well; how many."""
    found = listed(engine, ["towpath=function", *(f"{key}={value}" for key, value in labels.items())])
    for container in found:
        remove(engine, container["Id"])
    return len(found)
