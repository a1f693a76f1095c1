"""kill -9 of the runner in the middle of each stage, then `towpath resume`: it ends as an undisturbed run would."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machine import Machine

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def wait_for_intent(machine: Machine, stage: str, phase: str) -> None:
    """Wait until the record says that this phase is about to start."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for event in machine.project.glob(f".towpath/store/runs/*/{stage}.1/*.json"):
            value = json.loads(event.read_bytes())
            if value["type"] == "phase.intended" and value["data"]["phase"] == phase:
                return
        time.sleep(0.002)
    raise AssertionError(f"{stage} never came to {phase}")


def stack_events(machine: Machine, target: dict[str, Any], endpoint: str) -> list[str]:
    """What happened to a stack as a whole, oldest first."""
    client = boto3.client(
        "cloudformation",
        region_name=target["region"],
        endpoint_url=endpoint,
        aws_access_key_id=target["account"],
        aws_secret_access_key="test",
    )
    events = client.describe_stack_events(StackName=target["stack"])["StackEvents"]
    return [each["ResourceStatus"] for each in reversed(events) if each["ResourceType"] == "AWS::CloudFormation::Stack"]


@pytest.mark.parametrize("delay_s", [0.0, 0.25])
@pytest.mark.parametrize(
    ("stage", "phase"),
    [
        ("build", "apply"),
        ("scan", "apply"),
        ("package", "apply"),
        ("deploy-staging", "propose"),
        ("deploy-staging", "apply"),
        ("smoke", "apply"),
        ("deploy-production", "apply"),
    ],
)
def test_killed_and_resumed(example: Callable[..., Machine], stage: str, phase: str, delay_s: float) -> None:
    machine = example(own_registry=stage == "package")
    with machine.popen("run") as runner:
        wait_for_intent(machine, stage, phase)
        time.sleep(delay_s)
        runner.kill()
        runner.communicate(timeout=30)
    killed = machine.json("status")
    state = machine.json("resume")

    assert state["run"] == killed["run"]
    assert state["state"] == "succeeded"
    for name, before in killed["stages"].items():
        done = before["state"] == "succeeded"
        assert state["stages"][name]["attempt"] == (before["attempt"] if done else (before["attempt"] or 0) + 1), name

    plan = {each["name"]: each for each in machine.json("plan")["stages"]}
    endpoint = machine.json("embedded", "status")["endpoint_url"]
    for name in ("deploy-staging", "deploy-production"):
        events = stack_events(machine, plan[name]["target"], endpoint)
        assert events.count("CREATE_COMPLETE") == 1, events
        assert not [each for each in events if each.startswith("UPDATE")], events
