"""How long it takes to look at a store of 10 runs, and at one of 10,000: by turns, medians of five. Processes as people start them.

Every run was deployed to the same target, so its ledger has 20,000 events: who looks at a gate reads them, once. What that takes is
measured by itself.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench import many_runs
from support.gated import TARGET

from pipeline.record import ledger, ledgers
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from support.plans import House

TOWPATH = str(Path(sys.executable).parent / "towpath")
TURNS = 5
FEW, MANY = 10, 10_000
COMMANDS = {
    "status latest": ("status", "latest"),
    "runs -n 20": ("runs", "-n", "20"),
    "approvals": ("approvals",),
    "audit show latest": ("audit", "show", "latest"),
    "logs latest": ("logs", "latest"),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, House]:
    found = {}
    for count in (FEW, MANY):
        started = time.perf_counter()
        found[count] = many_runs.make(tmp_path_factory.mktemp(f"runs-{count}"), count)
        print(f"\na store of {count:,} runs was made in {time.perf_counter() - started:.0f} s")
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", COMMANDS)
def test_looking(stores: dict[int, House], name: str) -> None:
    taken: dict[int, list[float]] = {count: [] for count in stores}
    for _ in range(TURNS):
        for count, house in stores.items():
            argv = [TOWPATH, *COMMANDS[name], "--store", str(house.store.root)]
            started = time.perf_counter()
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            taken[count].append(time.perf_counter() - started)
            assert done.stdout
    few, many = (statistics.median(taken[count]) * 1000 for count in (FEW, MANY))
    print(f"{name:<18} {FEW:,} runs {few:8.1f} ms   {MANY:,} runs {many:8.1f} ms   ratio {many / few:5.2f}")


@pytest.mark.timeout(600)
def test_reading_a_ledger(stores: dict[int, House]) -> None:
    for count, house in stores.items():
        taken, name = [], ledger.name_of(TARGET)
        for _ in range(TURNS):
            store = open_store(house.store.root, create=False)
            started = time.perf_counter()
            ledgers.read(store, name)
            taken.append(time.perf_counter() - started)
        events, median_ms = len(house.store.names(name)), statistics.median(taken) * 1000
        print(f"a ledger of {events:,} events, of {count:,} runs: {median_ms:8.1f} ms")


def test_what_waits_is_found(stores: dict[int, House]) -> None:
    for house in stores.values():
        argv = [TOWPATH, "approvals", "--json", "--store", str(house.store.root)]
        listed = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        assert len(listed) == many_runs.WAITING
