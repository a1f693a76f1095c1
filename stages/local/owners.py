"""Whose containers are whose, so that what a killed process left is removed by the next one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stages.runtime.container import listed, remove

if TYPE_CHECKING:
    from stages.images.direct import Engine

LABEL = "towpath.local"
_FORGOTTEN_S = 3600
"""After which a container that has ended is nobody's, whoever started it: a machine that was restarted, or another one."""


def label() -> dict[str, str]:
    """What says that a container is this process's: the kernel's boot, its namespace of processes, its number and start."""
    return {LABEL: "/".join((*_here(), str(os.getpid()), str(_started(os.getpid()))))}


def abandoned(owner: str) -> bool:
    """Whether the owner that a label names is known to have ended."""
    parts = owner.split("/")
    if len(parts) != 4 or (parts[0], parts[1]) != _here() or not parts[2].isdecimal():
        return False
    return str(_started(int(parts[2]))) != parts[3]


def sweep(engine: Engine) -> int:
    """Remove the containers of owners that have ended; how many."""
    removed = 0
    for each in listed(engine, [LABEL]):
        forgotten = each["State"] != "running" and time.time() - each["Created"] > _FORGOTTEN_S
        if forgotten or abandoned(each["Labels"][LABEL]):
            remove(engine, each["Id"])
            removed += 1
    return removed


def _here() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return boot, str(Path("/proc/self/ns/pid").readlink())


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since the kernel did; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])
