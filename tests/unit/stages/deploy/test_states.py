from __future__ import annotations

import botocore.session
import pytest

from stages.contract import StageError
from stages.deploy import states

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
        states.change_set_type("demo", status)
    assert caught.value.cls == "blocked"


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("ROLLBACK_COMPLETE", "delete-stack --stack-name demo"),
        ("ROLLBACK_FAILED", "delete-stack --stack-name demo"),
        ("CREATE_FAILED", "delete-stack --stack-name demo"),
        ("DELETE_FAILED", "delete-stack --stack-name demo"),
        ("UPDATE_FAILED", "rollback-stack --stack-name demo"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name demo"),
        ("IMPORT_ROLLBACK_FAILED", "continue-update-rollback --stack-name demo"),
        ("NEW_STATE_OF_NEXT_YEAR", "look at the stack's events"),
    ],
)
def test_a_stack_that_is_stuck_says_how_to_free_it(status: str, command: str) -> None:
    with pytest.raises(StageError, match=f"the stack demo is in state {status}") as caught:
        states.change_set_type("demo", status)
    assert caught.value.cls == "terminal"
    assert command in (caught.value.hint or "")


def test_every_state_that_aws_knows_is_decided() -> None:
    undecided = [
        each for each in ALL if states.remedy(each) == states._UNKNOWN and states.way(each) not in ("CREATE", "UPDATE")
    ]
    assert [each for each in undecided if not each.endswith("_IN_PROGRESS")] == []


@pytest.mark.parametrize("status", ALL)
def test_only_what_was_meant_to_happen_is_success(status: str) -> None:
    good = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
    assert states.succeeded(status) is (status in good)
