from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.releases import TEMPLATE, write_release

from stages.contract import Target
from stages.deploy import outcome
from stages.deploy.release import load

if TYPE_CHECKING:
    from pathlib import Path

STACK = "arn:stack"


def event(name: str, status: str, reason: str = "") -> dict[str, Any]:
    physical = STACK if name == "demo" else name
    return {
        "LogicalResourceId": name,
        "PhysicalResourceId": physical,
        "ResourceType": "T",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


@pytest.mark.parametrize(
    ("events", "top"),
    [
        (
            [
                event("A", "CREATE_FAILED", "Resource creation cancelled"),
                event("B", "CREATE_FAILED", "no image"),
                event("C", "CREATE_FAILED", "no role"),
            ],
            "B (T) CREATE_FAILED: no image",
        ),
        ([event("demo", "CREATE_FAILED", "Validation failed")], "demo (T) CREATE_FAILED: Validation failed"),
        ([event("demo", "ROLLBACK_IN_PROGRESS", "asked to")], "demo (T) ROLLBACK_IN_PROGRESS: asked to"),
        ([], "demo (T) ROLLBACK_COMPLETE: no reason given"),
    ],
)
def test_the_first_reason_that_is_one(events: list[dict[str, Any]], top: str) -> None:
    error = outcome.failure(event("demo", "ROLLBACK_COMPLETE"), events, STACK)
    assert error.message.splitlines()[0] == top
    assert error.message.splitlines()[-1].strip() == "The stack demo ended as ROLLBACK_COMPLETE."


def test_a_stack_that_is_as_before_needs_no_cleaning() -> None:
    error = outcome.failure(event("demo", "UPDATE_ROLLBACK_COMPLETE"), [], STACK)
    assert (error.hint or "").startswith("The stack is as it was before.")


def test_what_runs_is_compared_by_digest(tmp_path: Path) -> None:
    target = Target("staging", "111122223333", "eu-central-1")
    write_release(tmp_path / "release", target, "one")
    release = load(tmp_path / "release")
    image = release.images["HelloWorldFunction"]
    assert outcome.wrong_images(release, {"HelloWorldFunction": image.uri, "ZipFunction": None}) == []
    tag = image.uri.partition("@")[0] + ":latest"
    for wrong in (None, tag, image.uri[:-1] + "x"):
        [problem] = outcome.wrong_images(release, {"HelloWorldFunction": wrong})
        assert "HelloWorldFunction runs" in problem
    [problem] = outcome.wrong_images(release, {})
    assert problem == "the stack has no function HelloWorldFunction, though the release does"


def test_a_function_left_out_by_its_condition_is_no_mistake(tmp_path: Path) -> None:
    target = Target("staging", "111122223333", "eu-central-1")
    template = TEMPLATE.replace("Type: AWS::Lambda::Function", "Type: AWS::Lambda::Function\n    Condition: Never")
    write_release(tmp_path / "release", target, "one", template)
    assert outcome.wrong_images(load(tmp_path / "release"), {}) == []
