"""One phase of one stage as a job: lay out its work directory, run it, and read what came of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import sight
from pipeline.errors import StageFailed, VerificationFailed
from pipeline.executors import Ended, Job
from pipeline.record import artifacts, digest
from pipeline.variables import asked_for, variables
from stages import contract
from stages.contract import Failure, Request, Result
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.credentials import Lender
    from pipeline.executors import Executor, Stream
    from pipeline.plan import PlannedStage
    from pipeline.record.store import Store
    from stages.kinds import Need


@dataclass(frozen=True)
class Phase:
    """A request with all that its job needs beside it. `artifacts` maps an input's name to its digest.

    `evidence` does so for what is only shown. `files` are further ones, by their path in the work directory. `secrets` are the
    values that its process is handed, `lender` lends it credentials as long as it runs.
    """

    stage: PlannedStage
    request: Request
    artifacts: dict[str, str]
    work: Path
    files: dict[str, bytes] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    lender: Lender | None = None
    evidence: dict[str, str] = field(default_factory=dict)


def prepare(phase: Phase, store: Store) -> None:
    """Lay out the work directory. Raises VerificationFailed for content that is not what its digest says."""
    discard(phase.work)
    lay_out(phase)
    for name, sha256 in phase.artifacts.items():
        artifacts.materialise(store, sha256, phase.work / "inputs" / name)
    for name, sha256 in phase.evidence.items():
        try:
            artifacts.materialise(store, sha256, phase.work / "evidence" / name)
        except VerificationFailed:  # pruned, or not what its digest says: then it is not shown
            discard(phase.work / "evidence" / name)
    for path, data in phase.files.items():
        _write_file(phase.work / path, data)
    if phase.request.source == str(phase.work / "source"):
        for path, sha256 in phase.stage.files.items():
            _write_file(phase.work / "source" / path, artifacts.read_blob(store, sha256, path))
    elif phase.request.source is not None:
        _compare_files(phase.stage, Path(phase.request.source))
        sight.changed(phase.request.options, Path(phase.request.source))


def lay_out(phase: Phase) -> None:
    """Make the work directory with what every job finds in it."""
    (phase.work / "outputs").mkdir(parents=True)
    (phase.work / "tmp").mkdir()
    contract.write(phase.work / "request.json", phase.request)


def run(
    phase: Phase, executor: Executor, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]
) -> tuple[Ended, Result]:
    """Run the job to its end and read its result; whatever is wrong with that is a failed result."""
    handle = phase.work.name
    with phase.lender or nullcontext() as lent:
        executor.submit(_job(phase, handle, lent))
        ended = executor.watch(handle, on_line, on_quiet)
    return ended, _result(phase, ended)


def discard(work: Path) -> None:
    """Remove a work directory, read-only inputs and all. Links in it are not followed."""
    if not work.exists():
        return
    try:
        _make_accessible(work)
        shutil.rmtree(work)
    except (RecursionError, OSError):  # nested deeper than Python, or a path, can follow
        for argv in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*argv, "--", str(work)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if work.exists():
            raise


def _make_accessible(folder: Path) -> None:
    """Give ourselves all rights on a folder and those in it, from the top down: a stage may have taken them away."""
    rest = [folder]
    while rest:
        here = rest.pop()
        here.chmod(stat.S_IRWXU)
        with os.scandir(here) as entries:
            rest += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def source_of(stage: PlannedStage, project: Path | None, work: Path) -> str | None:
    """Give the source folder as the stage sees it: the project, or just the recorded files its options name, or nothing."""
    if "source" in KINDS[stage.kind].needs:
        if project is None or not project.is_dir():
            raise StageFailed(f"stage {stage.name} needs the project's source, and {project} is no folder")
        return str(project)
    return str(work / "source") if stage.files else None


def _job(phase: Phase, handle: str, lent: dict[str, str] | None) -> Job:
    stage, work, needs = phase.stage, phase.work, needs_of(phase.stage)
    ours = variables(os.environ, needs, stage.target, work, lent) | asked_for(os.environ, stage.kind, stage.options)
    seen = sight.sight(phase.request, needs, ours, os.environ, work)
    secrets = {name: os.fsdecode(value) for name, value in phase.secrets.items()}
    if stage.kind != "command":
        ours |= {contract.secret_variable(name): value for name, value in secrets.items()}
        argv = [sys.executable, "-I", "-m", "stages", stage.kind]
        return Job(handle, argv, work, work, ours, stage.timeout_s, seen)
    named = {"TOWPATH_HANDLE": handle, "TOWPATH_INPUTS": str(work / "inputs"), "TOWPATH_OUTPUTS": str(work / "outputs")}
    if stage.image:
        ours.pop("PATH", None)  # its programs are the image's
    source = Path(phase.request.source or work)
    argv = [str(each) for each in stage.options["run"]]
    if "/" in argv[0]:
        argv[0] = str(source / argv[0])
    own = {name: str(value) for name, value in (stage.options.get("variables") or {}).items()}
    handed = ours | own | secrets | named
    return Job(handle, argv, work, source, handed, stage.timeout_s, seen, stage.image)


def needs_of(stage: PlannedStage) -> frozenset[Need]:
    """What a stage needs of what its kind may: a program of the user's may do without the network, and a copy of a release without an engine."""
    needs = KINDS[stage.kind].needs
    if stage.kind == "package" and "release" in stage.inputs:
        needs -= {"engine"}
    return needs - {"network"} if stage.options.get("network") is False else needs


def _result(phase: Phase, ended: Ended) -> Result:
    if ended.reason in ("canceled", "timed-out", "not-started"):
        return _failed("terminal", ended.message or ended.reason)
    if phase.stage.kind == "command" and ended.status != 0:
        return _failed("terminal", f"the program {_end_of(ended.status)}")
    try:
        result = _declared(phase) if phase.stage.kind == "command" else contract.read_result(phase.work / "result.json")
    except contract.ContractError as error:
        return _failed("fault" if ended.status >= 0 else "terminal", f"the stage {_end_of(ended.status)}; {error}")
    if result.outcome == "succeeded" and ended.status != 0:
        return _failed("fault", f"its result says it succeeded, but the process {_end_of(ended.status)}")
    return result


def _declared(phase: Phase) -> Result:
    """Give the result of a program of the user's: it ended with 0, and wrote the outputs it declares or not."""
    missing = [name for name in phase.stage.outputs if not (phase.work / "outputs" / name).exists()]
    if missing:
        return _failed(
            "terminal",
            f"the program did not write the output {missing[0]}: $TOWPATH_OUTPUTS/{missing[0]}/ is no folder",
        )
    return Result("succeeded", outputs=list(phase.stage.outputs))


def _failed(cls: contract.ErrorClass, message: str) -> Result:
    return Result("failed", failure=Failure(cls, message))


def _end_of(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"


def _compare_files(stage: PlannedStage, source: Path) -> None:
    for path, sha256 in stage.files.items():
        try:
            found = digest.of_bytes((source / path).read_bytes())
        except OSError:
            found = "missing"
        if found != sha256:
            hint = "Put the file back as it was, or start a new run: towpath run"
            raise VerificationFailed(
                f"{path} is not what this run was planned with (planned {sha256}, found {found})", hint=hint
            )


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
