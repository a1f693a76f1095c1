"""How long `towpath --help` takes, beside a Python that does nothing: in turns, medians of fifteen."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

TURNS = 15


def test_start() -> None:
    raw = [sys.executable, "-I", "-c", "pass"]
    ours = [str(Path(sys.executable).parent / "towpath"), "--help"]
    taken: dict[str, list[float]] = {"python -c pass": [], "towpath --help": []}
    for _ in range(TURNS):
        for name, argv in zip(taken, (raw, ours), strict=True):
            started = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(each) * 1000 for name, each in taken.items()}
    for name, median_ms in medians.items():
        print(f"{name:<16} {median_ms:6.1f} ms")
    print(f"ratio            {medians['towpath --help'] / medians['python -c pass']:6.1f}")
    assert all(len(each) == TURNS for each in taken.values())
