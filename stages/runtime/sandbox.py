"""One environment of a function: a container, the Runtime API it calls, and what it logs."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

from stages.runtime import container
from stages.runtime.api import RuntimeApi
from stages.runtime.ending import Exit, judge
from stages.runtime.exchange import Exchange, Invocation
from stages.runtime.lines import Lines
from stages.runtime.model import LIMITS, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.images.direct import Engine
    from stages.runtime.container import Network
    from stages.runtime.exchange import Answer
    from stages.runtime.model import Call, Function, OutcomeKind


class Sandbox:
    """Runs one invocation at a time. Raises BrokenImage when made of an image that cannot be started.

    `hearer` gives what takes the container's output, line by line as it comes.
    """

    def __init__(
        self,
        engine: Engine,
        function: Function,
        where: Network,
        labels: dict[str, str],
        *,
        hearer: Callable[[Function], Callable[[bytes], None]] | None = None,
        quiet_s: float = LIMITS.quiet_s,
    ) -> None:
        self.function = function
        self._engine = engine
        self._begun = time.monotonic()
        self._warm = False
        self._stale = False
        self._log = Lines(quiet_s, hearer(function) if hearer else None)
        self._exit: Exit | None = None
        self._exchange = Exchange()
        self._api = RuntimeApi(self._exchange, where.address, where.aws)
        try:
            self._container = container.start(engine, function, where, self._api.address, labels)
        except BaseException:
            self._api.close()
            raise
        self._api.only(self._container.address)
        threading.Thread(target=self._follow, daemon=True, name="function-log").start()

    @property
    def reusable(self) -> bool:
        return not self._stale and not self._exchange.is_gone

    def ready(self) -> Outcome | None:
        """Wait until the runtime has been initialised: None then, else what went wrong."""
        answer = self._exchange.ready(self._init_s)
        if answer is None:
            return None
        self._stale = True
        kind, body = self._judged(answer, "init")
        return Outcome(kind, body, self._log.take(), "init", duration_ms=(time.monotonic() - self._begun) * 1000)

    def invoke(self, call: Call, answered: Callable[[Outcome], None] | None = None) -> Outcome:
        """Run one invocation and wait for what comes of it, and for its log.

        `answered` is given the outcome as soon as there is one, its log not yet taken.
        """
        function = self.function
        arn = call.arn or function.arn
        invocation = Invocation(
            call.request_id, call.payload, function.timeout_s, arn, call.trace_id or _trace_id(), call.client_context
        )
        called = time.monotonic()
        answer = self._exchange.invoke(invocation, self._init_s)
        ended = time.monotonic()
        self._stale = answer.ending not in ("response", "error")
        asked, cold = self._exchange.asked_at or ended, not self._warm
        self._warm = True
        kind, body = self._judged(answer, call.request_id)
        duration_ms = (ended - max(called, asked)) * 1000
        init_ms = (asked - self._begun) * 1000 if cold else None
        if answered:
            answered(Outcome(kind, body, "", call.request_id, duration_ms, init_ms))
        return Outcome(kind, body, self._log.take(), call.request_id, duration_ms, init_ms)

    def close(self, *, waits: bool = True) -> None:
        """End the container and remove it; if not `waits`, the engine is still at it when this returns."""
        self._stale = True
        self._log.mute()
        container.remove(self._engine, self._container.id, waits=waits)
        if waits:
            self._api.close()

    @property
    def _init_s(self) -> float:
        """How long the runtime has to ask for work."""
        return LIMITS.init_s + self.function.timeout_s

    def _judged(self, answer: Answer, request_id: str) -> tuple[OutcomeKind, bytes]:
        return judge(
            answer,
            self._exit,
            function=self.function,
            request_id=request_id,
            api=self._api.address,
            log=self._log.peek(),
        )

    def _follow(self) -> None:
        """Read what the container writes to its end, which is the container's end, and say how it ended."""
        try:
            for stream, piece in self._container.output:
                self._log.add(stream, piece)
            self._log.end()
            self._engine.call("POST", f"/containers/{self._container.id}/wait")
            state = self._engine.call("GET", f"/containers/{self._container.id}/json")["State"]
            self._exit = Exit(state["ExitCode"], bool(state["OOMKilled"]), state.get("Error") or "")
        except Exception:  # noqa: BLE001 - removed under our eyes, or the engine is gone: lost either way
            self._exit = None
        self._container.output.close()
        self._exchange.lost()


def _trace_id() -> str:
    root = f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    return f"Root={root};Parent={uuid.uuid4().hex[:16]};Sampled=0"
