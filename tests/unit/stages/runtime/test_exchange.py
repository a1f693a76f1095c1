from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from stages.runtime.exchange import Answer, Exchange, Invocation

if TYPE_CHECKING:
    from collections.abc import Iterator

WORK = Invocation("r1", b'{"n":1}', timeout_s=5, arn="arn:aws:lambda:eu-west-1:1:function:f")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def invoke(
    threads: ThreadPoolExecutor, exchange: Exchange, work: Invocation = WORK, asking_s: float = 5
) -> Future[Answer]:
    return threads.submit(exchange.invoke, work, asking_s)


def test_work_is_taken_and_answered(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange()
    ending = invoke(threads, exchange)
    given = exchange.next()
    assert given is not None
    assert given[0] == WORK
    assert given[1] == pytest.approx(time.time() + 5, abs=1)
    assert exchange.answer("r1", Answer("response", b"7"))
    assert ending.result(5) == Answer("response", b"7")


def test_a_runtime_is_used_again(threads: ThreadPoolExecutor) -> None:
    """An answer left over from the first invocation must not be taken for the second's."""
    exchange = Exchange()
    for number in ("r1", "r2"):
        ending = invoke(threads, exchange, Invocation(number, b"", 5, "arn"))
        assert exchange.next() is not None
        exchange.answer(number, Answer("response", number.encode()))
        assert ending.result(5).body == number.encode()


def test_time_runs_from_the_hand_over_and_a_late_answer_is_refused(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange()
    ending = invoke(threads, exchange, Invocation("r1", b"", 0.1, "arn"))
    time.sleep(0.3)  # longer than the invocation's own time: initialisation must not count
    assert not ending.done()
    assert exchange.next() is not None
    assert ending.result(5) == Answer("timed-out")
    assert not exchange.answer("r1", Answer("response", b"late"))


def test_a_runtime_that_never_asks_is_given_up() -> None:
    assert Exchange().invoke(WORK, 0.05) == Answer("never-asked")


def test_init_error_before_any_work(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange()
    ending = invoke(threads, exchange)
    exchange.fail_init(b'{"errorType":"Runtime.ImportModuleError"}')
    exchange.lost()  # the runtime exits right after
    assert ending.result(5) == Answer("init-error", b'{"errorType":"Runtime.ImportModuleError"}')


@pytest.mark.parametrize("taken", [True, False])
def test_a_container_that_ends_ends_the_invocation(threads: ThreadPoolExecutor, *, taken: bool) -> None:
    exchange = Exchange()
    ending = invoke(threads, exchange)
    if taken:
        assert exchange.next() is not None
    exchange.lost()
    assert ending.result(5) == Answer("gone")
    assert exchange.next() is None
    assert exchange.is_gone


def test_an_answer_given_before_the_end_counts(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange()
    ending = invoke(threads, exchange)
    assert exchange.next() is not None
    exchange.answer("r1", Answer("error", b"{}"))
    exchange.lost()
    assert ending.result(5).ending == "error"


def test_answers_to_another_request_are_refused(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange()
    assert not exchange.answer("r1", Answer("response"))
    ending = invoke(threads, exchange)
    assert exchange.next() is not None
    assert not exchange.answer("other", Answer("response", b"stolen"))
    assert exchange.answer("r1", Answer("response", b"mine"))
    assert not exchange.answer("r1", Answer("response", b"twice"))
    assert ending.result(5).body == b"mine"


def test_waiting_runtimes_are_let_go() -> None:
    exchange = Exchange()
    waiting = threading.Thread(target=exchange.next)
    waiting.start()
    exchange.lost()
    waiting.join(5)
    assert not waiting.is_alive()
