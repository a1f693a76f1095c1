from __future__ import annotations

import threading
from functools import partial

import pytest

from stages.contract import StageError
from stages.images import parallel


def _fail(error: Exception, _: threading.Event) -> str:
    raise error


def test_values_come_back_by_key() -> None:
    tasks = {number: partial(lambda number, _: number * 2, number) for number in range(5)}
    assert parallel.run(tasks, 2) == {0: 0, 1: 2, 2: 4, 3: 6, 4: 8}


def test_after_a_failure_nothing_new_starts_and_what_runs_is_told() -> None:
    started: list[str] = []
    running = threading.Event()

    def patient(stop: threading.Event) -> str:
        started.append("patient")
        running.set()
        assert stop.wait(10)
        raise parallel.Stopped

    def failing(_: threading.Event) -> str:
        running.wait(10)
        raise StageError("broken", hint="mend it", cls="retryable")

    def late(_: threading.Event) -> str:
        started.append("late")
        return ""

    with pytest.raises(StageError, match=r"^broken$") as caught:
        parallel.run({"a": patient, "b": failing, **{str(n): late for n in range(50)}}, 2)
    assert (caught.value.hint, caught.value.cls) == ("mend it", "retryable")
    assert started.count("late") < 50


def test_two_failures_are_told_together() -> None:
    barrier = threading.Barrier(2)

    def failing(name: str, _: threading.Event) -> str:
        barrier.wait(10)
        raise StageError(f"{name} broke", where=f"{name}/Dockerfile:1", hint="same")

    with pytest.raises(StageError) as caught:
        parallel.run({name: partial(failing, name) for name in ("a", "b")}, 2)
    assert caught.value.message == "a/Dockerfile:1: a broke\nb/Dockerfile:1: b broke"
    assert caught.value.hint == "same"


def test_a_fault_of_ours_is_not_dressed_as_the_users() -> None:
    with pytest.raises(ZeroDivisionError):
        parallel.run({"a": partial(_fail, ZeroDivisionError())}, 1)
