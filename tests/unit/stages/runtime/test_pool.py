from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from stages.runtime.pool import Pool


class Sandbox:
    """Stands for one whose container takes a while to end; `ended` are all, with whether that was waited for."""

    def __init__(self, ended: list[bool], ending: threading.Semaphore) -> None:
        self._ended, self._ending = ended, ending

    def close(self, *, waits: bool = True) -> None:
        assert self._ending.acquire(blocking=False), "two containers end at the same time"
        time.sleep(0.005)
        self._ending.release()
        self._ended.append(waits)


@pytest.mark.parametrize(("waits", "waited"), [(True, [True] * 3), (False, [True, True, False])])
def test_containers_end_one_after_another(waits: bool, waited: list[bool]) -> None:  # noqa: FBT001 - parametrised
    """Engines before 23.0 may lock up when several leave a network at the same time."""
    nowhere: Any = None
    ended: list[bool] = []
    ending = threading.Semaphore(1)
    pool = Pool(nowhere, nowhere)
    sandboxes: Any = [Sandbox(ended, ending) for _ in range(3)]
    pool._busy = set(sandboxes)
    pool.close(waits=waits)
    assert ended == waited
