"""Do several things at the same time, and tell about all that failed."""

from __future__ import annotations

import threading
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K")
V = TypeVar("V")


class Stopped(Exception):
    """A task raises it to say that it ended because another one failed; it is no error of its own."""


def run(tasks: Mapping[K, Callable[[threading.Event], V]], jobs: int, *, fail_fast: bool = True) -> dict[K, V]:
    """Run the tasks, `jobs` at a time, and return their values. Each is given an event that is set once it is to stop.

    After a failure nothing new is started and the others are to stop, unless `fail_fast` is off: then all are finished. Raises
    one StageError for all failures; any other exception as it is.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {key: pool.submit(task, stop) for key, task in tasks.items()}
        wait(futures.values(), return_when=FIRST_EXCEPTION if fail_fast else ALL_COMPLETED)
        if any(future.done() and future.exception() for future in futures.values()):
            stop.set()
            pool.shutdown(cancel_futures=True)
    errors = [error for future in futures.values() if not future.cancelled() and (error := future.exception())]
    if errors:
        raise together([error for error in errors if not isinstance(error, Stopped)])
    return {key: future.result() for key, future in futures.items()}


def together(errors: list[BaseException]) -> StageError:
    """One error for several. Raises the first that is no StageError: that is a fault of ours."""
    known = [error for error in errors if isinstance(error, StageError)]
    for error in errors:
        if not isinstance(error, StageError):
            raise error
    first = known[0]
    if len(known) == 1:
        return first
    parts = [f"{error.where}: {error.message}" if error.where else error.message for error in known]
    hints = dict.fromkeys(error.hint for error in known if error.hint)
    return StageError("\n".join(parts), hint="\n".join(hints) or None, cls=first.cls)
