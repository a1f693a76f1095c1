"""`recover` where AWS refuses, forgets to answer, or somebody was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy.scripted_aws import ACCOUNT, REGION, ScriptedAws

from stages.contract import Access, Earlier, Proposal, Request, Result, StageError, Target
from stages.recover import apply, propose

if TYPE_CHECKING:
    from pathlib import Path

LAMBDA = "AWS::Lambda::Function"


class Recoverer:
    """Runs the kind's phases as the runner would."""

    def __init__(self, aws: ScriptedAws, work: Path) -> None:
        self.aws, self.work = aws, work
        self.target = Target("staging", ACCOUNT, REGION, embedded=True, stack="demo")

    def propose(self, *skip: str) -> Proposal:
        options = {"skip": list(skip)}
        access = Access(endpoint_url=self.aws.url)
        proposal = propose(
            Request("recover", "propose", "a", options=options, target=self.target, access=access), self.work
        ).proposal
        assert proposal is not None
        return proposal

    def apply(self, proposal: Proposal, earlier: list[Earlier] | None = None) -> Result:
        access = Access(endpoint_url=self.aws.url)
        request = Request("recover", "apply", "b", target=self.target, access=access, proposal=proposal)
        request = Request(**{**vars(request), "earlier": earlier or []})
        return apply(request, self.work)


@pytest.fixture
def recoverer(aws: ScriptedAws, tmp_path: Path) -> Recoverer:
    return Recoverer(aws, tmp_path)


def test_a_deletion_that_failed_goes_on_and_keeps_what_is_skipped(aws: ScriptedAws, recoverer: Recoverer) -> None:
    aws.stuck("DELETE_FAILED")
    aws.resources["Bucket"] = ("AWS::S3::Bucket", "DELETE_FAILED", "The bucket you tried to delete is not empty")
    assert "Bucket  AWS::S3::Bucket  DELETE_FAILED\n    The bucket you" in recoverer.propose().view
    result = recoverer.apply(recoverer.propose("Bucket"))
    assert (aws.skipped, aws.status) == (["Bucket"], "DELETE_COMPLETE")
    assert result.facts["action"] == "delete"


def test_an_update_that_was_left_as_it_failed_is_rolled_back(aws: ScriptedAws, recoverer: Recoverer) -> None:
    aws.stuck("UPDATE_FAILED")
    recoverer.apply(recoverer.propose())
    assert (aws.status, aws.count("RollbackStack")) == ("UPDATE_ROLLBACK_COMPLETE", 1)


def test_a_resource_of_a_nested_stack_can_be_skipped(aws: ScriptedAws, recoverer: Recoverer) -> None:
    aws.stuck("UPDATE_ROLLBACK_FAILED")
    aws.nested = {"Child"}
    aws.resources = {
        "Child": ("AWS::CloudFormation::Stack", "UPDATE_FAILED", "Embedded stack was not successfully updated"),
        "Child/Fn": (LAMBDA, "UPDATE_FAILED", "gone"),
    }
    recoverer.apply(recoverer.propose("Child/Fn"))
    assert aws.skipped == ["demo-Child.Fn"]


@pytest.mark.parametrize("fault", ["lost answer", "expired"])
def test_nothing_is_begun_twice(aws: ScriptedAws, recoverer: Recoverer, fault: str) -> None:
    aws.stuck("UPDATE_ROLLBACK_FAILED")
    proposal = recoverer.propose()
    if fault == "lost answer":
        aws.fail("ContinueUpdateRollback", when="after")
        recoverer.apply(proposal)
    else:
        aws.then["ContinueUpdateRollback"] = lambda: aws.fail("DescribeStackEvents", "ExpiredToken", status=403)
        with pytest.raises(StageError, match="goes on there") as caught:
            recoverer.apply(proposal)
        assert caught.value.cls == "retryable"
        recoverer.apply(proposal, [Earlier("a", "apply", proposal)])
    assert aws.executions == [proposal.handle["token"]]


def test_a_stack_that_somebody_else_has_freed_is_left_alone(aws: ScriptedAws, recoverer: Recoverer) -> None:
    aws.stuck("UPDATE_ROLLBACK_FAILED")
    proposal = recoverer.propose()
    aws.status = "UPDATE_ROLLBACK_COMPLETE"
    with pytest.raises(StageError, match="UPDATE_ROLLBACK_FAILED then, UPDATE_ROLLBACK_COMPLETE now") as caught:
        recoverer.apply(proposal)
    assert caught.value.cls == "moved"
    assert aws.executions == []
