from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.releases import TEMPLATE, write_release

from stages.aws import following
from stages.aws.lambda_ import LiveFunction
from stages.contract import COMMAND, Access, StageError, Target
from stages.deploy import outcome
from stages.deploy.release import load

if TYPE_CHECKING:
    from pathlib import Path

STACK = "arn:stack"
TARGET = Target("staging", "111122223333", "eu-central-1", stack="demo")


def event(path: str, status: str, reason: str = "") -> dict[str, Any]:
    parent, _, name = path.rpartition("/")
    physical = STACK if name == "demo" else name
    return {
        "path": path,
        "StackId": parent or STACK,
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
        (
            [
                event("Child/B", "CREATE_FAILED", "no image"),
                event("Child/Child", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [B]."),
                event("Child", "CREATE_FAILED", "Embedded stack arn:child was not successfully created: ..."),
            ],
            "Child/B (T) CREATE_FAILED: no image",
        ),
        (
            [event("Child", "CREATE_FAILED", "Embedded stack arn:child was not successfully created: [B]")],
            "Child (T) CREATE_FAILED: Embedded stack arn:child was not successfully created: [B]",
        ),
        ([event("demo", "CREATE_FAILED", "Validation failed")], "demo (T) CREATE_FAILED: Validation failed"),
        ([event("demo", "ROLLBACK_IN_PROGRESS", "asked to")], "demo (T) ROLLBACK_IN_PROGRESS: asked to"),
        ([], "demo (T) ROLLBACK_COMPLETE: no reason given"),
    ],
)
def test_the_first_reason_that_is_one(events: list[dict[str, Any]], top: str) -> None:
    closing = event("demo", "ROLLBACK_COMPLETE")
    error = outcome.failure(closing, following.reasons(closing, events), TARGET)
    assert error.message.splitlines()[0] == top
    assert error.message.splitlines()[-1].strip() == "The stack demo ended as ROLLBACK_COMPLETE."


@pytest.mark.parametrize(
    ("status", "environment", "hint"),
    [
        (
            "UPDATE_ROLLBACK_COMPLETE",
            "staging",
            "The stack is as it was before. Correct the cause, then `towpath run`.",
        ),
        (
            "UPDATE_ROLLBACK_COMPLETE",
            COMMAND,
            "as it was before. Correct the cause, then `towpath deploy`.",
        ),
        (
            "DELETE_COMPLETE",
            "staging",
            "The stack could not be made, and is deleted, as was asked for. Correct the cause, then `towpath run`.",
        ),
        (
            "ROLLBACK_COMPLETE",
            COMMAND,
            "or `towpath deploy` if the source has to change.",
        ),
    ],
)
def test_what_to_do_about_what_a_failure_leaves(status: str, environment: str, hint: str) -> None:
    error = outcome.failure(event("demo", status), [], replace(TARGET, environment=environment))
    assert str(error.hint).endswith(hint)


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


@pytest.mark.parametrize(
    ("target", "access", "around"),
    [
        (Target("staging", "111122223333", "eu-central-1"), Access(), ("", " --region eu-central-1")),
        (
            Target("staging", "111122223333", "eu-central-1"),
            Access(profile="my staging"),
            ("", " --region eu-central-1 --profile 'my staging'"),
        ),
        (
            Target("staging", "111122223333", "eu-central-1", embedded=True),
            Access(endpoint_url="http://127.0.0.1:1"),
            (
                "AWS_ACCESS_KEY_ID=111122223333 AWS_SECRET_ACCESS_KEY=embedded ",
                " --region eu-central-1 --endpoint-url http://127.0.0.1:1",
            ),
        ),
    ],
)
def test_how_to_put_an_image_back(tmp_path: Path, target: Target, access: Access, around: tuple[str, str]) -> None:
    write_release(tmp_path / "release", target, "one")
    release = load(tmp_path / "release")
    live = LiveFunction("demo-Fn-1", "arn:x", "Active", "", "Successful", "", "other@sha256:00", None)
    hint = outcome.put_back(release, {"HelloWorldFunction": live}, target, access)
    uri = release.images["HelloWorldFunction"].uri
    command = f"aws lambda update-function-code --function-name demo-Fn-1 --image-uri {uri}"
    assert hint.splitlines()[-1] == f"  {around[0]}{command}{around[1]}"
    assert "towpath resume" in hint
    assert "update-function-code" not in outcome.put_back(release, {}, target, access)


def test_a_finished_stage_is_not_said_to_be_run_again(tmp_path: Path) -> None:
    """`Run package again` cannot be followed: a run leaves what is done as it is."""
    write_release(tmp_path / "release", Target("staging", "111122223333", "eu-central-1"), "one")
    (tmp_path / "release/packaged-template.yaml").write_text("Resources: {}")
    with pytest.raises(StageError) as caught:
        load(tmp_path / "release")
    assert "Start a new run (`towpath run`)" in (caught.value.hint or "")
