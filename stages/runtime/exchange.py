"""The conversation with one runtime, apart from HTTP: it asks for work, gets one invocation, answers, asks again.

Two sides share an Exchange. The runtime's side (`stages.runtime.api`, a thread for each of its requests) calls `next`,
`answer` and `fail_init`. Ours calls `invoke`, one at a time, and `lost` when the container has ended.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Literal

Ending = Literal["response", "error", "init-error", "too-large", "gone", "never-asked", "timed-out"]
"""`gone`: the container ended first. `never-asked`: the runtime did not ask for work in time. The others say themselves."""


@dataclass(frozen=True)
class Invocation:
    """One event for the handler."""

    request_id: str
    payload: bytes
    timeout_s: float
    arn: str
    trace_id: str = ""
    client_context: str = ""
    """JSON, as a caller's SDK sent it."""


@dataclass(frozen=True)
class Answer:
    """How an invocation ended, and the body that the runtime sent, if it sent one."""

    ending: Ending
    body: bytes = b""


class Exchange:
    """See the module. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asking = False
        self._invocation: Invocation | None = None
        self._taken = False
        self._answer: Answer | None = None
        self._gone = False
        self.asked_at: float | None = None  # when the runtime first asked for work: its initialisation is over

    def next(self) -> tuple[Invocation, float] | None:
        """Wait for an invocation and take it: with its deadline in seconds since the epoch. None: there will be none."""
        with self._changed:
            self._asking = True
            self.asked_at = self.asked_at or time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._gone or self._waiting_for_a_taker())
            self._asking = False
            if self._gone or self._invocation is None:
                return None
            self._taken = True
            return self._invocation, time.time() + self._invocation.timeout_s

    def answer(self, request_id: str, answer: Answer) -> bool:
        """Take a runtime's answer; False if nobody waits for the answer to this request."""
        with self._changed:
            current = self._invocation
            if current is None or not self._taken or current.request_id != request_id or self._answer:
                return False
            self._answer = answer
            self._changed.notify_all()
            return True

    def fail_init(self, body: bytes) -> None:
        """The runtime could not load the handler."""
        with self._changed:
            self._answer = Answer("init-error", body)
            self._changed.notify_all()

    def lost(self) -> None:
        """The container has ended, or is about to be ended: nobody will ask or answer any more."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def invoke(self, invocation: Invocation, asking_timeout_s: float) -> Answer:
        """Hand over an invocation and wait for its end.

        The invocation's own time starts when the runtime, which has `asking_timeout_s` to ask for work, is given it.
        """
        with self._changed:
            failed = self.ready(asking_timeout_s)
            if failed:
                return failed
            self._invocation, self._taken, self._answer = invocation, False, None
            self._changed.notify_all()
            self._changed.wait_for(self._decided, invocation.timeout_s)
            self._invocation = None
            return self._ending()

    def ready(self, timeout_s: float) -> Answer | None:
        """Wait until the runtime asks for work: None then, else how it ended instead."""
        with self._changed:
            if not self._changed.wait_for(self._decided_or_asking, timeout_s):
                return Answer("never-asked")
            return None if self._asking else self._ending()

    @property
    def is_gone(self) -> bool:
        return self._gone

    def _waiting_for_a_taker(self) -> bool:
        return self._invocation is not None and not self._taken

    def _decided(self) -> bool:
        return self._gone or self._answer is not None

    def _decided_or_asking(self) -> bool:
        failed = self._answer is not None and self._answer.ending == "init-error"
        return self._asking or self._gone or failed

    def _ending(self) -> Answer:
        return self._answer or Answer("gone" if self._gone else "timed-out")
