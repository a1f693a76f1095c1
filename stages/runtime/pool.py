"""Environments kept warm: one for each invocation that runs, and the idle ones for what comes next."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from stages.runtime.container import BrokenImage
from stages.runtime.model import LIMITS, Outcome, error_payload
from stages.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from stages.runtime.container import Network
    from stages.runtime.model import Function


class Pool:
    """Runs functions in containers of `engine`, labelled with `labels`. Used as a context, it ends them all at the end."""

    def __init__(self, engine: docker.DockerClient, where: Network, labels: dict[str, str] | None = None) -> None:
        self._engine = engine
        self._where = where
        self._labels = labels or {}
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Sandbox]] = []  # the longest idle first
        self._busy: set[Sandbox] = set()
        self._closing = threading.Event()
        self._enders = ThreadPoolExecutor(8, "end-function")  # ending a container takes a while: not on a caller's time
        threading.Thread(target=self._expire, daemon=True, name="idle-functions").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def invoke(
        self, function: Function, payload: bytes, *, request_id: str | None = None, arn: str | None = None
    ) -> Outcome:
        """Run the function once. Whatever goes wrong in it is an outcome, not an exception.

        `arn` is the one that was called, if that is not the function's own: an alias.
        """
        begun = time.monotonic()
        request_id = request_id or str(uuid.uuid4())
        try:
            sandbox = self._take(function) or self._start(function)
        except BrokenImage as error:
            body = error_payload(error.error_type, f"RequestId: {request_id} Error: {error}")
            return Outcome("broken-image", body, "", request_id, (time.monotonic() - begun) * 1000)
        try:
            return sandbox.invoke(payload, request_id, arn or function.arn)
        finally:
            self._give_back(sandbox)

    def drop(self, account: str, name: str) -> None:
        """End the idle environments of a function, of all its versions: it was changed or deleted."""
        self._close_idle(lambda _, idle: (idle.function.account, idle.function.name) == (account, name))

    def close(self) -> None:
        """End everything, also what runs."""
        self._closing.set()
        with self._lock:
            busy = list(self._busy)
        self._end(busy)
        self._close_idle(lambda *_: True)
        self._enders.shutdown()

    def _take(self, function: Function) -> Sandbox | None:
        """The environment idle for the shortest time, which is the likeliest to live."""
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                sandbox = self._idle[index][1]
                if sandbox.function.identity == function.identity and sandbox.reusable:
                    del self._idle[index]
                    self._busy.add(sandbox)
                    return sandbox
        return None

    def _start(self, function: Function) -> Sandbox:
        self._close_idle(lambda _, idle: _supersedes(function, idle.function))
        sandbox = Sandbox(self._engine, function, self._where, self._labels)
        with self._lock:
            self._busy.add(sandbox)
        return sandbox

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._busy.discard(sandbox)
            keep = sandbox.reusable and not self._closing.is_set()
            if keep:
                self._idle.append((time.monotonic(), sandbox))
        if not keep:
            try:
                self._enders.submit(sandbox.close)
            except RuntimeError:  # the pool is closed
                sandbox.close()

    def _expire(self) -> None:
        while not self._closing.wait(10):
            self._close_idle(lambda since, idle: time.monotonic() - since > LIMITS.idle_s or not idle.reusable)

    def _close_idle(self, chosen: Callable[[float, Sandbox], bool]) -> None:
        with self._lock:
            ended = [sandbox for since, sandbox in self._idle if chosen(since, sandbox)]
            self._idle = [entry for entry in self._idle if entry[1] not in ended]
        self._end(ended)

    def _end(self, sandboxes: list[Sandbox]) -> None:
        for done in [self._enders.submit(sandbox.close) for sandbox in sandboxes]:
            done.result()


def _supersedes(new: Function, old: Function) -> bool:
    return new.arn == old.arn and new.identity != old.identity


def remove_leftovers(engine: docker.DockerClient, labels: dict[str, str]) -> int:
    """Remove function containers with these labels that a process left which did not end well; how many."""
    wanted = ["towpath=function", *(f"{key}={value}" for key, value in labels.items())]
    found = engine.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
    for container in found:
        with contextlib.suppress(Exception):  # somebody else was faster
            container.remove(force=True)
    return len(found)
