"""`deploy` killed at any point, and another attempt after it: it ends the same, and one change set is executed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stages.contract import Earlier, Proposal, Request, Result, read_result, write

if TYPE_CHECKING:
    from pathlib import Path

    from integration.stages.deploy.releases import Deployer
    from integration.stages.deploy.scripted_aws import Pause, ScriptedAws


def start(work: Path, request: Request) -> subprocess.Popen[bytes]:
    write(work / "request.json", request)
    command = [sys.executable, "-I", "-m", "stages", "deploy"]
    return subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def run(deployer: Deployer, phase: str, handle: str, proposal: Proposal | None, earlier: list[Earlier]) -> Result:
    work = deployer.work("one")
    process = start(work, deployer.request(phase, handle, proposal, earlier))
    process.wait(60)
    result = read_result(work / "result.json")
    assert result.outcome == "succeeded", result.failure
    if phase == "apply":
        assert json.loads((work / "outputs/deployment/deployment.json").read_text())["v"] == 1
    return result


def killed_at(deployer: Deployer, pause: Pause, phase: str, handle: str, proposal: Proposal | None = None) -> None:
    """Run a phase and kill it while a call is held."""
    work = deployer.work("one")
    process = start(work, deployer.request(phase, handle, proposal))
    try:
        assert pause.reached.wait(30), "the call was never made"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        pause.go.set()
    assert not (work / "result.json").exists()


@pytest.mark.parametrize(
    ("action", "when"),
    [
        ("CreateChangeSet", "before"),
        ("CreateChangeSet", "after"),
        ("GetTemplate", "after"),
    ],
)
def test_killed_while_proposing(aws: ScriptedAws, deployer: Deployer, action: str, when: str) -> None:
    killed_at(deployer, aws.hold(action, when), "propose", "run-deploy-1")
    earlier = [Earlier("run-deploy-1", "propose")]
    proposal = run(deployer, "propose", "run-deploy-2", None, earlier).proposal
    assert proposal is not None
    assert [each.name for each in aws.change_sets.values()] == ["towpath-run-deploy-2"]
    run(deployer, "apply", "run-deploy-2", proposal, [])
    assert aws.executions == ["towpath-run-deploy-2"]


@pytest.mark.parametrize(
    ("action", "when", "propose_again"),
    [
        ("GetCallerIdentity", "after", False),
        ("ExecuteChangeSet", "before", False),
        ("ExecuteChangeSet", "before", True),
        ("ExecuteChangeSet", "after", False),
        ("ExecuteChangeSet", "after", True),
        ("DescribeStackEvents", "after", False),
        ("DescribeStackEvents", "after", True),
        ("GetFunction", "after", False),
    ],
)
def test_killed_while_applying(
    aws: ScriptedAws, deployer: Deployer, action: str, when: str, *, propose_again: bool
) -> None:
    proposal = deployer.propose("run-deploy-1")
    killed_at(deployer, aws.hold(action, when), "apply", "run-deploy-1", proposal)
    earlier = [Earlier("run-deploy-1", "apply", proposal)]
    next_proposal: Proposal | None = proposal
    if propose_again:
        next_proposal = run(deployer, "propose", "run-deploy-2", None, earlier).proposal
        assert next_proposal is not None
        assert next_proposal.subject == proposal.subject  # so what people approved still stands
    run(deployer, "apply", "run-deploy-2", next_proposal, earlier)
    assert len(aws.executions) == 1
    assert aws.status == "CREATE_COMPLETE"
