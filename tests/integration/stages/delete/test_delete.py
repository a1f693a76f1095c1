"""`delete` where CloudFormation refuses, forgets to answer, or somebody was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.scripted_aws import ACCOUNT, REGION, ScriptedAws

from stages.contract import Access, Earlier, InvalidInput, Proposal, Request, Result, StageError, Target
from stages.delete import apply, propose

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = ("AWS::S3::Bucket", "CREATE_COMPLETE", "")
TEMPLATE = """\
Resources:
  HelloWorldFunction: {Type: AWS::Lambda::Function}
  Bucket: {Type: AWS::S3::Bucket, DeletionPolicy: Retain}
  Disk: {Type: AWS::EC2::Volume, DeletionPolicy: Snapshot}
"""


class Deleter:
    """Runs the kind's phases as the runner would."""

    def __init__(self, aws: ScriptedAws, work: Path) -> None:
        self.aws, self.work = aws, work
        self.target = Target("command", ACCOUNT, REGION, embedded=True, stack="demo")
        self.options: dict[str, Any] = {}
        self.attempt = 0

    def propose(self, *retain: str) -> Proposal:
        self.options, self.attempt = {"retain": list(retain)}, self.attempt + 1
        proposal = propose(self._request("propose"), self.work).proposal
        assert proposal is not None
        return proposal

    def apply(self, proposal: Proposal, earlier: list[Earlier] | None = None) -> Result:
        return apply(self._request("apply", proposal=proposal, earlier=earlier or []), self.work)

    def _request(self, phase: Any, **more: Any) -> Request:
        access = Access(endpoint_url=self.aws.url)
        return Request(
            "delete", phase, f"a{self.attempt}", options=self.options, target=self.target, access=access, **more
        )


@pytest.fixture
def deleter(aws: ScriptedAws, tmp_path: Path) -> Deleter:
    aws.stuck("UPDATE_COMPLETE")
    return Deleter(aws, tmp_path)


def test_what_goes_and_what_stays_is_said_before(aws: ScriptedAws, deleter: Deleter) -> None:
    aws.template = TEMPLATE
    aws.resources |= {"Bucket": BUCKET, "Disk": ("AWS::EC2::Volume", "CREATE_COMPLETE", "")}
    assert deleter.propose().view == (
        f"Stack demo in account {ACCOUNT}, {REGION}: delete\n"
        "- Delete  Disk                AWS::EC2::Volume  Snapshot\n"
        "- Delete  HelloWorldFunction  AWS::Lambda::Function\n"
        "  stays   Bucket  AWS::S3::Bucket\n"
    )


def test_what_is_in_a_nested_stack_that_stays_does_so_too(aws: ScriptedAws, deleter: Deleter) -> None:
    aws.template = "Resources: {Child: {Type: AWS::CloudFormation::Stack, DeletionPolicy: Retain}}"
    aws.nested = {"Child"}
    aws.resources = {
        "Child": ("AWS::CloudFormation::Stack", "CREATE_COMPLETE", ""),
        "Child/Fn": ("AWS::Lambda::Function", "CREATE_COMPLETE", ""),
    }
    assert "  stays   Child/Fn  AWS::Lambda::Function\n" in deleter.propose().view


def test_a_resource_that_cannot_be_deleted_is_named_and_can_be_let_go_of(aws: ScriptedAws, deleter: Deleter) -> None:
    aws.resources["Bucket"] = BUCKET
    aws.script = [(0.1, "Bucket", "DELETE_FAILED", "The bucket is not empty"), (0.2, "demo", "DELETE_FAILED", "")]
    with pytest.raises(StageError, match="DELETE_FAILED: The bucket is not empty") as caught:
        deleter.apply(deleter.propose())
    assert "towpath delete --stack-name demo --aws embedded" in str(caught.value.hint)
    assert "--retain-resources Bucket" in str(caught.value.hint)
    deleter.apply(deleter.propose("Bucket"))
    assert (aws.skipped, aws.status) == (["Bucket"], "DELETE_COMPLETE")


def test_nothing_is_let_go_of_where_no_deletion_has_failed(aws: ScriptedAws, deleter: Deleter) -> None:
    """CloudFormation would delete it all the same: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteStack.html"""
    aws.resources["Bucket"] = BUCKET
    with pytest.raises(InvalidInput, match="only where a deletion has failed, and demo is UPDATE_COMPLETE"):
        deleter.propose("Bucket")
    with pytest.raises(InvalidInput, match="no resource Buckt"):
        deleter.propose("Buckt")


@pytest.mark.parametrize("fault", ["lost answer", "expired"])
def test_nothing_is_begun_twice(aws: ScriptedAws, deleter: Deleter, fault: str) -> None:
    proposal = deleter.propose()
    if fault == "lost answer":
        aws.fail("DeleteStack", when="after")
        deleter.apply(proposal)
    else:
        aws.script = [(0.5, "demo", "DELETE_COMPLETE", "")]
        aws.then["DeleteStack"] = lambda: aws.fail("DescribeStackEvents", "ExpiredToken", status=403)
        with pytest.raises(StageError, match="goes on there") as caught:
            deleter.apply(proposal)
        assert caught.value.cls == "retryable"
        deleter.apply(proposal, [Earlier("a", "apply", proposal)])
    assert {*aws.executions} == {"towpath-a1"}  # asked twice with one token, it is done once


def test_a_stack_that_is_gone_by_then_is_no_failure(aws: ScriptedAws, deleter: Deleter) -> None:
    proposal = deleter.propose()
    aws.status = "DELETE_COMPLETE"
    assert deleter.apply(proposal).outcome == "succeeded"
    assert aws.count("DeleteStack") == 0


def test_somebody_elses_deletion_is_waited_for(aws: ScriptedAws, deleter: Deleter) -> None:
    proposal = deleter.propose()
    aws.somebody((0.0, "demo", "DELETE_IN_PROGRESS", ""), (0.3, "demo", "DELETE_COMPLETE", ""))
    assert deleter.apply(proposal).outcome == "succeeded"
    assert aws.count("DeleteStack") == 0


def test_what_changed_since_is_not_deleted(aws: ScriptedAws, deleter: Deleter) -> None:
    proposal = deleter.propose()
    aws.resources["Bucket"] = BUCKET
    with pytest.raises(StageError, match="these differ: resources") as caught:
        deleter.apply(proposal)
    assert caught.value.cls == "moved"
    assert aws.count("DeleteStack") == 0


def test_a_stack_that_is_being_changed_is_left_alone(aws: ScriptedAws, deleter: Deleter) -> None:
    aws.status = "UPDATE_IN_PROGRESS"
    with pytest.raises(StageError, match="in state UPDATE_IN_PROGRESS") as caught:
        deleter.propose()
    assert caught.value.cls == "blocked"
