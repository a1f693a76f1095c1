"""What the runner itself takes: graphs of programs that do nothing, by Towpath and by two others, in turns; medians.

    doit        runs tasks in their order; keeps a database of what is up to date. No record of what was said, no attempts, no seals
    snakemake   runs rules by the files they make; keeps metadata by file. No record of what was said, no attempts, no seals

Both are installed into virtual environments of their own when first needed, below ~/.cache. TOWPATH_BENCH_STAGES names other sizes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support import rival

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAGES = tuple(int(each) for each in os.environ.get("TOWPATH_BENCH_STAGES", "1000,5000").split(","))
TURNS = int(os.environ.get("TOWPATH_BENCH_TURNS", "3"))
JOBS = 8
WIDTH = 20
"""Stages of a layer; each needs three of the layer before, so that every two layers are full of diamonds."""
PROGRAM = "/bin/true"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

OURS = f"""
import json, resource, sys, time
from pathlib import Path
from pipeline import engine, plan
from pipeline.context import Context
from pipeline.executors.process import ProcessExecutor
from pipeline.record import artifacts, runs
from pipeline.record.store.directory import open_store
from pipeline.reporting import Silent
from pipeline.signing import keys
from pipeline.standings import Wish

project, graph = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
stages = {{
    name: plan.PlannedStage(name, "command", needs, {{"run": ["{PROGRAM}"]}}, {{}}, None, None, 60, True)
    for name, needs in graph.items()
}}
compiled = plan.Plan("bench", {{}}, {{}}, stages)
keys.make(project / "runner.key")
key = keys.load(project / "runner.key")
store = open_store(project / "store", create=True)
run_id = runs.open_run(store, {{"plan": artifacts.put_json(store, compiled.as_json())}}, key)
executor = ProcessExecutor(project / "work")
context = Context(store, compiled, runs.load(store, run_id), project, project / "work", executor, Silent(), key)
started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
engine.drive(context, Wish(), {JOBS})
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{
    "wall_s": time.perf_counter() - started,
    "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    "peak_mib": after.ru_maxrss / 1024,
}}))
"""

DODO = """
import json
from pathlib import Path
GRAPH = json.loads(Path({graph!r}).read_text())
def task_all():
    for name, needs in GRAPH.items():
        yield {{"name": name, "actions": [["{program}"]], "task_dep": ["all:" + need for need in needs]}}
"""

SNAKEFILE = """
import json
from pathlib import Path
GRAPH = json.loads(Path({graph!r}).read_text())
rule all:
    input: ["done/" + name for name in GRAPH]
rule one:
    output: touch("done/{{name}}")
    input: lambda wildcards: ["done/" + need for need in GRAPH[wildcards.name]]
    shell: "{program}"
"""


def _graph(number: int) -> dict[str, list[str]]:
    """Stages in layers, each with three needs in the layer before."""
    found: dict[str, list[str]] = {}
    for at in range(number):
        layer, place = divmod(at, WIDTH)
        needs = [f"s{(layer - 1) * WIDTH + (place + step) % WIDTH}" for step in (0, 1, 7)] if layer else []
        found[f"s{at}"] = needs
    return found


def _ours(folder: Path, graph: Path) -> dict[str, float]:
    argv = [sys.executable, "-c", OURS, str(folder), str(graph)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _programs(number: int) -> float:
    """The programs alone, eight at a time."""
    started = time.perf_counter()
    with ThreadPoolExecutor(JOBS) as pool:
        assert not any(pool.map(lambda _: subprocess.call([PROGRAM]), range(number)))
    return time.perf_counter() - started


def _timed(argv: list[str], folder: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return time.perf_counter() - started


def _doit(folder: Path, graph: Path) -> float:
    (folder / "dodo.py").write_text(DODO.format(graph=str(graph), program=PROGRAM))
    program = str(rival.installed("doit==0.37.0") / "doit")
    return _timed([program, "run", "-n", str(JOBS), "-P", "thread"], folder)


def _snakemake(folder: Path, graph: Path) -> float:
    (folder / "Snakefile").write_text(SNAKEFILE.format(graph=str(graph), program=PROGRAM))
    program = str(rival.installed("snakemake==9.27.1") / "snakemake")
    return _timed([program, "--cores", str(JOBS), "--quiet", "all"], folder)


PEERS: dict[str, Callable[[Path, Path], float]] = {"doit": _doit, "snakemake": _snakemake}


@pytest.mark.parametrize("number", STAGES)
def test_a_graph_of_programs_that_do_nothing(tmp_path: Path, number: int) -> None:
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(_graph(number)))
    walls: dict[str, list[float]] = {}
    told: list[dict[str, float]] = []
    for turn in range(TURNS):
        folder = tmp_path / f"ours-{turn}"
        folder.mkdir()
        told.append(_ours(folder, graph))
        walls.setdefault("towpath", []).append(told[-1]["wall_s"])
        walls.setdefault("the programs alone", []).append(_programs(number))
        for name, peer in PEERS.items() if number <= 1000 else ():
            folder = tmp_path / f"{name}-{turn}"
            folder.mkdir()
            walls.setdefault(name, []).append(peer(folder, graph))
    medians = {name: statistics.median(each) for name, each in walls.items()}
    engine_ms = (medians["towpath"] - medians["the programs alone"]) / number * 1000
    print(f"\n{number} stages, {JOBS} at a time")
    for name, median_s in medians.items():
        print(
            f"  {name:<20} {median_s:7.2f} s   {median_s / number * 1000:6.2f} ms a stage   ours is {medians['towpath'] / median_s:5.2f} of it"
        )
    cpu_ms = statistics.median(each["cpu_s"] for each in told) / number * 1000
    peak = statistics.median(each["peak_mib"] for each in told)
    print(
        f"  of the engine: {engine_ms:.1f} ms a stage, {cpu_ms:.1f} ms of that in processor time, {peak:.0f} MiB at most"
    )
    assert all(len(each) == TURNS for each in walls.values())
