from __future__ import annotations

from dataclasses import replace

import botocore.session
import pytest

from stages.contract import StageError, Target
from stages.deploy import states
from stages.recover import ways

TARGET = Target("staging", "111122223333", "eu-central-1", stack="demo")

ALL = (
    botocore.session.Session().get_service_model("cloudformation").shape_for("StackStatus").enum  # type: ignore[attr-defined]
)


@pytest.mark.parametrize("status", [None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"])
def test_where_there_is_nothing_a_stack_is_created(status: str | None) -> None:
    assert states.way(status) == "CREATE"


@pytest.mark.parametrize(
    "status",
    ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"],
)
def test_a_stack_at_rest_is_updated(status: str) -> None:
    assert states.way(status) == "UPDATE"


@pytest.mark.parametrize("status", [each for each in ALL if each.endswith("_IN_PROGRESS") and "REVIEW" not in each])
def test_a_stack_in_motion_blocks(status: str) -> None:
    with pytest.raises(StageError, match=status) as caught:
        states.change_set_type(TARGET, status)
    assert caught.value.cls == "blocked"


STUCK = [
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "CREATE_FAILED",
    "DELETE_FAILED",
    "UPDATE_FAILED",
    "UPDATE_ROLLBACK_FAILED",
]


@pytest.mark.parametrize("status", STUCK)
@pytest.mark.parametrize(
    ("target", "command"),
    [
        (TARGET, "towpath recover staging"),
        (replace(TARGET, environment="command"), "towpath recover --stack-name demo --region eu-central-1"),
        (
            replace(TARGET, environment="command", embedded=True),
            "towpath recover --stack-name demo --aws embedded --region eu-central-1",
        ),
    ],
)
def test_a_stack_that_is_stuck_says_how_to_free_it(status: str, target: Target, command: str) -> None:
    with pytest.raises(StageError, match=f"the stack demo is in state {status}") as caught:
        states.change_set_type(target, status)
    assert caught.value.cls == "terminal"
    assert (caught.value.hint or "").startswith(f"Free the stack: `{command}`. Then `towpath resume`, or ")
    assert status in ways.WAYS


@pytest.mark.parametrize(
    ("status", "hint"), [("IMPORT_ROLLBACK_FAILED", "makes no imports"), ("NEXT_YEARS", "look at the stack's events")]
)
def test_what_towpath_cannot_free(status: str, hint: str) -> None:
    with pytest.raises(StageError) as caught:
        states.change_set_type(TARGET, status)
    assert hint in (caught.value.hint or "")


def test_every_state_that_aws_knows_is_decided() -> None:
    undecided = [
        each
        for each in ALL
        if states.remedy(each, TARGET) == states._UNKNOWN and states.way(each) not in ("CREATE", "UPDATE")
    ]
    assert [each for each in undecided if not each.endswith("_IN_PROGRESS")] == []


@pytest.mark.parametrize("status", ALL)
def test_only_what_was_meant_to_happen_is_success(status: str) -> None:
    good = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
    assert states.succeeded(status) is (status in good)
