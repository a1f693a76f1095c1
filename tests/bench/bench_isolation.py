"""What a stage costs beside the bare program, in each way in which stages are isolated here: medians, the runner's start not counted."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support import sandboxes
from support.plans import House, command

from pipeline.plan import PlannedStage
from pipeline.record.store.directory import open_store
from stages.contract import Request, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TURNS = 15
AIMS_MS = {("command", "none"): 60, ("command", "bubblewrap"): 90, ("kind", "none"): 150, ("kind", "bubblewrap"): 150}


def taken_ms(turn: Callable[[int], object]) -> float:
    found = []
    for number in range(TURNS + 2):
        started = time.perf_counter()
        turn(number)
        found.append((time.perf_counter() - started) * 1000)
    return statistics.median(found[2:])


def kind(name: str) -> PlannedStage:
    """A stage of our own that does next to nothing: it has no images to read, and says so."""
    return PlannedStage(name, "scan", [], {"advisories": "none"}, {}, None, None, 60, idempotent=True)


@pytest.mark.parametrize("mode", ["none", "bubblewrap"])
def test_an_empty_stage(tmp_path: Path, mode: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    house = House(project, open_store(tmp_path / "store", create=True), isolation=sandboxes.isolation(mode))
    bare = taken_ms(lambda _: subprocess.run(["true"], check=True))
    (tmp_path / "bare").mkdir()
    write(tmp_path / "bare/request.json", Request("scan", "apply", "bare", kind("bare").options))
    argv = [sys.executable, "-I", "-m", "stages", "scan"]
    quiet = subprocess.DEVNULL
    python = taken_ms(lambda _: subprocess.run(argv, cwd=tmp_path / "bare", check=False, stdout=quiet, stderr=quiet))
    stages = [command(f"s{number}", "true") for number in range(TURNS + 2)]
    context = house.context(house.open(*stages))
    made = taken_ms(lambda number: house.attempt(context, f"s{number}"))
    ours = [kind(f"k{number}") for number in range(TURNS + 2)]
    kinds = house.context(house.open(*ours))
    scanned = taken_ms(lambda number: house.attempt(kinds, f"k{number}"))
    for what, ms, beside in (("command", made, bare), ("kind", scanned, python)):
        print(
            f"{what:<8} {mode:<12} {ms:6.1f} ms, bare {beside:5.1f} ms, overhead {ms - beside:6.1f} ms, aim {AIMS_MS[what, mode]} ms"
        )
    assert made > bare
