"""A pool that runs functions for one command, whose containers do not outlive it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from stages.images import direct
from stages.local import credentials, images, owners
from stages.runtime.container import network
from stages.runtime.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.images.direct import Engine
    from stages.local.console import Console
    from stages.local.functions import Configured
    from stages.local.images import Wanted
    from stages.runtime.model import Function

PATIENCE_S = 0.05
"""A container takes ten times as long to start: a call waits so long for one that is at work."""
DEBUGGED_S = 86_400.0
"""The time limit of a function that is debugged: whoever steps through it shall not be timed out."""
_QUIET_S = 0.002
_ALONE_QUIET_S = 0.02
"""How long a log has to be quiet before END is told: a server's environments have others to serve.

A line that is written before the answer comes within 1 ms of it, and within 13 ms on a machine with three times the work that it can do.
"""


@contextmanager
def running(console: Console, most: int) -> Iterator[tuple[Engine, Pool]]:
    """An engine and a pool in it that has at most so many containers of a function. Raises StageError."""
    engine = direct.connect(2 * most + 8)
    sweeping = threading.Thread(target=_sweep, args=(engine,), daemon=True, name="sweep")
    try:
        where = network(engine, aws=credentials.endpoint())
        with Pool(
            engine,
            where,
            owners.label(),
            patience_s=PATIENCE_S,
            most=most,
            starts=os.cpu_count(),
            hearer=console.hearer,
            quiet_s=_ALONE_QUIET_S if most == 1 else _QUIET_S,
            waits=False,
        ) as pool:
            sweeping.start()
            yield engine, pool
        sweeping.join()
    finally:
        engine.close()


def as_runnable(
    engine: Engine,
    configured: Configured,
    image: Wanted,
    given: dict[str, str],
    ports: tuple[int, ...] = (),
) -> Function:
    """What to run: the function with its image, with these credentials, and with ports for a debugger. Raises StageError."""
    function = replace(configured.runnable, image=images.find(engine, image), credentials=given, ports=ports)
    return replace(function, timeout_s=DEBUGGED_S) if ports else function


def _sweep(engine: Engine) -> None:
    with suppress(Exception):  # what could not be removed now is removed by the next command
        owners.sweep(engine)
