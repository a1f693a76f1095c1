"""A pool whose functions are the test's own, in place of containers."""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from stages.local.console import Console
from stages.local.service import Service
from stages.runtime.model import Call, Function, Outcome, error_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.runtime.pool import Pool


@dataclass
class FakePool:
    """`answer` is given each event and gives the handler's answer, or raises."""

    answer: Callable[[Any], Any] = lambda _: None
    raw: bytes | None = None
    log: str = ""
    calls: list[Call] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)

    def invoke(self, function: Function, call: Call, answered: Callable[[Outcome], None] | None = None) -> Outcome:
        self.calls.append(call)
        try:
            payload = self.raw if self.raw is not None else json.dumps(self.answer(json.loads(call.payload))).encode()
            outcome = Outcome("succeeded", payload, self.log, call.request_id, 1.0)
        except ValueError as error:
            outcome = Outcome("handler-error", error_payload("ValueError", str(error)), self.log, call.request_id, 1.0)
        if answered:
            answered(outcome)
        self.called.set()
        return outcome


@dataclass
class Fake:
    pool: FakePool
    service: Service
    told: io.BytesIO

    def wait_for(self, text: str) -> None:
        """Wait until this has been told: callers are answered first."""
        deadline = time.monotonic() + 5
        while text not in self.told.getvalue().decode():
            assert time.monotonic() < deadline, self.told.getvalue()
            time.sleep(0.005)


@pytest.fixture
def fake() -> Fake:
    """A service of two functions, `Fn` and `Child/Inner`, which is named `inner`."""
    pool, told = FakePool(), io.BytesIO()
    functions = {
        "Fn": Function("Fn", "image", "123456789012", "eu-west-1"),
        "Child/Inner": Function("inner", "image", "123456789012", "eu-west-1", timeout_s=60),
    }
    return Fake(pool, Service(cast("Pool", pool), Console(told), functions), told)
