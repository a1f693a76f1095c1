"""Whether this machine, and what the project names, are as Towpath needs them. Nothing is changed by looking."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEADLINE_S = 30.0
"""Until a check that has not answered is told as such: longer than AWS's own clients try."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `repair` is what to type if it is bad, else what to do with it."""

    what: str
    state: Literal["good", "bad", "note"]
    found: str
    repair: str | None = None


@dataclass(frozen=True)
class Check:
    """What is looked at, and how."""

    what: str
    look: Callable[[], Sequence[Finding]]


def examine(checks: Sequence[Check], deadline_s: float = DEADLINE_S) -> Iterator[Finding]:
    """Look at everything at the same time, and give what was found in the order of the checks.

    Who does not answer in time is left behind: the threads do not keep the program from ending.
    """
    until = time.monotonic() + deadline_s
    for each, answer in [(each, _begun(each)) for each in checks]:
        try:
            found = answer.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            found = [_unanswered(each, deadline_s)]
        if isinstance(found, Exception):
            raise found
        yield from found


def _unanswered(check: Check, waited_s: float) -> Finding:
    return Finding(
        check.what, "bad", f"no answer within {waited_s:.0f} s", "towpath doctor   (once more; is the network slow?)"
    )


def _begun(check: Check) -> queue.Queue[Sequence[Finding] | Exception]:
    answer: queue.Queue[Sequence[Finding] | Exception] = queue.Queue()

    def look() -> None:
        try:
            answer.put(check.look())
        except subprocess.TimeoutExpired as error:
            answer.put([_unanswered(check, float(error.timeout))])
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.put(error)

    threading.Thread(target=look, name=check.what, daemon=True).start()
    return answer
