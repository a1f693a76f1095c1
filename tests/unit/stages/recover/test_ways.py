from __future__ import annotations

import pytest

from stages.contract import StageError, Target
from stages.recover import ways
from stages.recover.ways import Resource

TARGET = Target("production", "111122223333", "eu-central-1", stack="demo")
STUCK = [
    Resource("Fn", "Fn", "AWS::Lambda::Function", "UPDATE_FAILED", "no right"),
    Resource("Child/Queue", "demo-Child-1.Queue", "AWS::SQS::Queue", "UPDATE_FAILED", ""),
]


@pytest.mark.parametrize(
    ("status", "words", "cls"),
    [
        (None, "there is no stack demo", "invalid"),
        ("DELETE_COMPLETE", "there is no stack demo", "invalid"),
        ("UPDATE_COMPLETE", "UPDATE_COMPLETE: it is not stuck", "invalid"),
        ("REVIEW_IN_PROGRESS", "it is not stuck", "invalid"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "blocked"),
    ],
)
def test_what_is_not_stuck_is_left_alone(status: str | None, words: str, cls: str) -> None:
    with pytest.raises(StageError, match=words) as caught:
        ways.choose(TARGET, status)
    assert caught.value.cls == cls


def test_what_is_skipped_is_named_as_cloudformation_does() -> None:
    way = ways.WAYS["UPDATE_ROLLBACK_FAILED"]
    assert ways.skipped(way, "UPDATE_ROLLBACK_FAILED", STUCK, ["Child/Queue", "Fn"]) == ["demo-Child-1.Queue", "Fn"]
    with pytest.raises(StageError) as caught:
        ways.skipped(way, "UPDATE_ROLLBACK_FAILED", STUCK, ["Queue"])
    assert caught.value.hint == "They are: Fn, Child/Queue."
    with pytest.raises(StageError, match="nothing can be skipped of a stack in state ROLLBACK_COMPLETE"):
        ways.skipped(ways.WAYS["ROLLBACK_COMPLETE"], "ROLLBACK_COMPLETE", [], ["Fn"])


def test_people_see_what_is_done_and_what_goes() -> None:
    subject = ways.subject(TARGET, "arn:x", "DELETE_FAILED", STUCK[:1], ["Fn"])
    kept = [*STUCK, Resource("Table", "Table", "AWS::DynamoDB::Table", "CREATE_COMPLETE", "")]
    assert (
        ways.render(subject, STUCK[:1], kept)
        == """\
Stack demo in account 111122223333, eu-central-1: DELETE_FAILED
  go on with its deletion

What it is stuck at
  Fn  AWS::Lambda::Function  UPDATE_FAILED  (skipped: it stays as it is)
    no right

What is deleted
  Child/Queue  AWS::SQS::Queue
  Table  AWS::DynamoDB::Table
"""
    )
