"""Find mistakes before anything is touched: each stage whose kind can check is asked to, all at the same time."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import jobs
from pipeline.errors import Fault, InvalidDefinition, UsageError
from pipeline.executors import isolation
from pipeline.executors.process import ProcessExecutor
from stages.contract import Problem, Request
from stages.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.executors import Executor
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.store import Store


def carriers(plan: Plan, store: Store) -> None:
    """Raise UsageError for a stage that would leave images in this machine's engine, where the record is for others too."""
    for stage in plan.stages.values():
        if stage.options.get("carrier") == "engine" and not store.local:
            raise UsageError(
                f"stage {stage.name} leaves its images in this machine's engine, and whoever goes on from {store.location} "
                "may be another machine",
                hint=f"Have them put into the record: `carrier: oci-layout` in `with:` of the stage {stage.name}, or "
                "--carrier oci-layout where there is no pipeline.",
            )


def check(plan: Plan, project: Path) -> None:
    """Run the check phases. Raises InvalidDefinition with the problems of all stages."""
    wanted = [stage for stage in plan.stages.values() if "check" in KINDS[stage.kind].phases]
    if not wanted:
        return
    with tempfile.TemporaryDirectory(prefix="towpath-check-") as folder, ThreadPoolExecutor(4) as pool:
        isolated = isolation.choose(plan.isolation, os.environ)
        executor = ProcessExecutor(Path(folder), isolated)
        results = list(pool.map(lambda stage: _check(stage, project, Path(folder), executor), wanted))
    problems = [problem for problems in results for problem in problems]
    if problems:
        raise InvalidDefinition(problems)


def _check(stage: PlannedStage, project: Path, folder: Path, executor: Executor) -> list[Problem]:
    work = folder / stage.name
    request = Request(
        stage.kind, "check", f"check-{stage.name}", stage.options, source=str(project), target=stage.target
    )
    phase = jobs.Phase(stage, request, {}, work)
    jobs.lay_out(phase)
    said: list[str] = []
    _ended, result = jobs.run(phase, executor, lambda _stream, line: said.append(repr(line)), lambda: None)
    if result.failure and not result.problems:
        raise Fault(f"the check of stage {stage.name} broke: {result.failure.message}\n" + "\n".join(said[-20:]))
    return result.problems
