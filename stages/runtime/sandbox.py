"""One environment of a function: a container, the Runtime API it calls, and what it logs."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import TYPE_CHECKING

from stages.runtime import container
from stages.runtime.api import RuntimeApi
from stages.runtime.ending import Exit, judge
from stages.runtime.exchange import Exchange, Invocation
from stages.runtime.model import LIMITS, Outcome

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from stages.runtime.container import Network, Output
    from stages.runtime.model import Function

_LOG_QUIET_S = 0.015
_LOG_WAIT_S = 0.3


class Sandbox:
    """Runs one invocation at a time. Raises BrokenImage when made of an image that cannot be started."""

    def __init__(self, engine: docker.DockerClient, function: Function, where: Network, labels: dict[str, str]) -> None:
        self.function = function
        self._begun = time.monotonic()
        self._warm = False
        self._stale = False
        self._log = _Log()
        self._exit: Exit | None = None
        self._exchange = Exchange()
        self._api = RuntimeApi(self._exchange, where.address, where.aws)
        try:
            self._container, output = container.start(engine, function, where, self._api.address, labels)
        except BaseException:
            self._api.close()
            raise
        self._api.only(_address(self._container, where))
        threading.Thread(target=self._follow, args=(output,), daemon=True, name="function-log").start()

    @property
    def reusable(self) -> bool:
        return not self._stale and not self._exchange.is_gone

    def invoke(self, payload: bytes, request_id: str, arn: str) -> Outcome:
        """Run one invocation and wait for what comes of it."""
        function = self.function
        invocation = Invocation(request_id, payload, function.timeout_s, arn, _trace_id())
        called = time.monotonic()
        answer = self._exchange.invoke(invocation, LIMITS.init_s + function.timeout_s)
        ended = time.monotonic()
        self._stale = answer.ending not in ("response", "error")
        asked, cold = self._exchange.asked_at or ended, not self._warm
        self._warm = True
        kind, body = judge(
            answer, self._exit, function=function, request_id=request_id, api=self._api.address, log=self._log.peek()
        )
        return Outcome(
            kind,
            body,
            self._log.take(),
            request_id,
            duration_ms=(ended - max(called, asked)) * 1000,
            init_ms=(asked - self._begun) * 1000 if cold else None,
        )

    def close(self) -> None:
        """End the container and remove it."""
        self._stale = True
        self._api.close()
        with contextlib.suppress(Exception):  # it may be gone, or the engine may be: nothing is left to do about it
            self._container.remove(force=True)

    def _follow(self, output: Output) -> None:
        """Read what the container writes to its end, which is the container's end, and say how it ended."""
        try:
            for piece in output:
                self._log.add(piece)
            self._container.wait()
            self._container.reload()
            state = self._container.attrs["State"]
            self._exit = Exit(state["ExitCode"], bool(state["OOMKilled"]), state.get("Error") or "")
        except Exception:  # noqa: BLE001 - removed under our eyes, or the engine is gone: lost either way
            self._exit = None
        output.close()
        self._exchange.lost()


def _address(running: Container, where: Network) -> str:
    if where.mode == "host":
        return where.address
    return str(running.attrs["NetworkSettings"]["Networks"][where.name]["IPAddress"])


def _trace_id() -> str:
    root = f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    return f"Root={root};Parent={uuid.uuid4().hex[:16]};Sampled=0"


class _Log:
    """What was written since it was last taken: its end, if it is long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray()

    def add(self, piece: bytes) -> None:
        with self._lock:
            self._kept += piece
            del self._kept[: -LIMITS.log_bytes]

    def peek(self) -> str:
        with self._lock:
            return self._kept.decode("utf-8", "replace")

    def take(self) -> str:
        """What there is, once nothing more has come for a moment: the engine passes lines on a little late."""
        deadline = time.monotonic() + _LOG_WAIT_S
        size = -1
        while size != len(self._kept) and time.monotonic() < deadline:
            size = len(self._kept)
            time.sleep(_LOG_QUIET_S)
        with self._lock:
            text = self._kept.decode("utf-8", "replace")
            self._kept.clear()
        return text
