"""Whose containers are whose, so that what a killed process left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker

LABEL = "towpath.local"
_FORGOTTEN_S = 3600
"""After which a container that has ended is nobody's, whoever started it: a machine that was restarted, or another one."""


def label() -> dict[str, str]:
    """What says that a container is this process's: the kernel's boot, its namespace of processes, its number and start."""
    return {LABEL: "/".join((*_here(), str(os.getpid()), str(_started(os.getpid()))))}


def abandoned(owner: str) -> bool:
    """Whether the owner that a label names is known to have ended."""
    *here, pid, started = owner.split("/")
    if tuple(here) != _here() or not pid.isdecimal():
        return False
    return str(_started(int(pid))) != started


def sweep(engine: docker.DockerClient) -> int:
    """Remove the containers of owners that have ended; how many."""
    removed = 0
    for container in engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        if abandoned(container.labels[LABEL]) or _forgotten(container.attrs):
            with contextlib.suppress(Exception):  # somebody else was faster
                container.remove(force=True)
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


def _forgotten(attrs: dict[str, object]) -> bool:
    state = attrs.get("State")
    if not isinstance(state, dict) or state.get("Running", True):
        return False
    created = datetime.fromisoformat(str(attrs["Created"])[:19] + "+00:00").timestamp()
    return time.time() - created > _FORGOTTEN_S
