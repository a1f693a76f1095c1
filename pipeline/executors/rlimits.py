"""What a job may use at most, as limits of getrlimit(2): each counts for one process."""

from __future__ import annotations

import math
import os
import resource
import shutil

from stages.limits import LIMITS

_PER_NAMESPACE = (5, 14)
"""The first kernel that counts processes for each user namespace: an older one counts all that the user has."""


def of(timeout_s: float) -> dict[str, int]:
    """Give the limits of a job that may take so long, none above what we have ourselves."""
    wanted = {
        "CPU": math.ceil((timeout_s + LIMITS.grace_s) * (os.cpu_count() or 1)),
        "FSIZE": LIMITS.stage_file_bytes,
        "NOFILE": LIMITS.stage_open_files,
        "CORE": 0,
    }
    return {name: _at_most(name, value) for name, value in wanted.items()}


def inside(timeout_s: float) -> dict[str, int]:
    """The same for a sandbox, whose processes can be counted."""
    release = os.uname().release.split(".")
    counted = tuple(int(part) for part in release[:2] if part.isdecimal()) >= _PER_NAMESPACE
    return of(timeout_s) | ({"NPROC": _at_most("NPROC", LIMITS.stage_processes)} if counted else {})


def _at_most(name: str, value: int) -> int:
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def written(limits: dict[str, int]) -> str:
    """Give them as `init` reads them."""
    return ",".join(f"{name}={value}" for name, value in limits.items())


def set_by_program(timeout_s: float) -> list[str]:
    """Give the words before a command that set them, where the program for it is there."""
    prlimit = shutil.which("prlimit")
    return [prlimit, *(f"--{name.lower()}={value}" for name, value in of(timeout_s).items()), "--"] if prlimit else []
