"""`deploy` when AWS is slow, refuses, forgets to answer, or says what no emulator says."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy.releases import TEMPLATE, manifest, sha256

from stages.aws import following
from stages.contract import Earlier, InvalidInput, StageError

if TYPE_CHECKING:
    from typing import Any

    from integration.stages.deploy.releases import Deployer
    from integration.stages.deploy.scripted_aws import ScriptedAws


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]


# Propose


def test_a_change_set_is_waited_for(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.change_set_looks = 3
    assert deployer.propose("a").subject["changes"][0]["logical_id"] == "HelloWorldFunction"
    assert aws.count("DescribeChangeSet") == 4


def test_a_change_set_that_cannot_be_made_says_why_and_is_deleted(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.next_change_set = ("FAILED", "Transform AWS::Serverless-2016-10-31 failed with: no such thing")
    with pytest.raises(StageError, match="no such thing"):
        deployer.propose("a")
    assert aws.change_sets == {}


def test_a_value_that_aws_refuses_is_refused_by_this_run_for_ever(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.fail("CreateChangeSet", code="ValidationError")
    with pytest.raises(StageError, match="ValidationError") as caught:
        deployer.propose("a")
    assert "start a new one" in str(caught.value.hint)


def test_no_updates_are_to_be_performed_is_success_too(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.apply("a", deployer.propose("a"))
    aws.next_change_set = ("FAILED", "No updates are to be performed.")
    proposal = deployer.propose("b")
    assert proposal.subject["nothing_to_do"]
    deployer.apply("b", proposal)
    assert len(aws.executions) == 1


def test_a_lost_answer_makes_no_second_change_set(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.fail("CreateChangeSet", when="after")
    proposal = deployer.propose("a")
    assert [each.arn for each in aws.change_sets.values()] == [proposal.handle["change_set_arn"]]


def test_capabilities_that_only_cloudformation_knows_of(aws: ScriptedAws, deployer: Deployer) -> None:
    message = "Requires capabilities : [CAPABILITY_NAMED_IAM]"
    aws.fail("CreateChangeSet", "InsufficientCapabilitiesException", message=message)
    with pytest.raises(StageError) as caught:
        deployer.propose("a")
    assert caught.value.hint == "Add to the environment: `capabilities: [CAPABILITY_NAMED_IAM]`"


def test_a_template_too_large_for_a_call_names_the_limit(aws: ScriptedAws, deployer: Deployer) -> None:
    with pytest.raises(StageError, match=r"takes at most 51,200 in a call"):
        deployer.propose("a", template=TEMPLATE + "#" * 60_000)
    assert aws.calls == []


def test_a_wrong_account_is_found_before_anything_else(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.target = type(deployer.target)("staging", "999999999999", "eu-central-1", embedded=True, stack="demo")
    with pytest.raises(StageError, match=r"is account 999999999999, but .* 123456789012: we are arn:aws:iam::"):
        deployer.propose("a")
    assert [name for name, _ in aws.calls] == ["GetCallerIdentity"]


def test_an_image_that_the_registry_serves_with_another_config_is_a_mismatch(
    aws: ScriptedAws, deployer: Deployer
) -> None:
    aws.images[sha256(manifest("one").encode())] = manifest("two")
    with pytest.raises(StageError, match="the registry gives another image for HelloWorldFunction") as caught:
        deployer.propose("a")
    assert caught.value.cls == "mismatch"


def test_a_role_that_may_not_read_the_registry_can_still_propose(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.fail("BatchGetImage", "AccessDeniedException")
    deployer.propose("a")


@pytest.mark.parametrize(
    ("token", "who"),
    [
        ("Console-UpdateStack-1", r"somebody else \(request token Console-UpdateStack-1\)"),
        ("towpath-20261126-041102-abcd-deploy-1", "attempt 20261126-041102-abcd-deploy-1 of Towpath's"),
    ],
)
def test_a_stack_busy_by_someone_else_blocks_and_says_by_whom(
    aws: ScriptedAws, deployer: Deployer, token: str, who: str
) -> None:
    deployer.apply("a", deployer.propose("a"))
    aws.somebody((0.0, "demo", "UPDATE_IN_PROGRESS", ""), (60.0, "demo", "UPDATE_COMPLETE", ""), token=token)
    since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    with pytest.raises(StageError, match=f"in state UPDATE_IN_PROGRESS since {since}: {who} is changing it") as caught:
        deployer.propose("b")
    assert caught.value.cls == "blocked"
    aws.fail("DescribeStackEvents", "AccessDenied", status=403)
    with pytest.raises(StageError, match="in state UPDATE_IN_PROGRESS: somebody else is changing it"):
        deployer.propose("b")


def test_a_changed_release_reaches_no_account(aws: ScriptedAws, deployer: Deployer) -> None:
    from stages.deploy import propose

    work = deployer.work("one")
    template = work / "inputs/release/packaged-template.yaml"
    template.write_text(template.read_text().replace("Timeout: 3", "Timeout: 900"))
    with pytest.raises(StageError, match=r"packaged-template.yaml has the digest") as caught:
        propose(deployer.request("propose", "a"), work)
    assert caught.value.cls == "mismatch"
    assert aws.calls == []


def test_mistakes_of_the_environment_are_told_at_once(aws: ScriptedAws, deployer: Deployer) -> None:
    template = TEMPLATE.replace("!GetAtt HelloWorldFunction.Arn", "!GetAtt HelloWordFunction.Arn")
    template = template.replace("Default: none", "AllowedValues: [dev, prod]")
    deployer.target = replace(deployer.target, parameters={"Stage": "test"})
    with pytest.raises(InvalidInput) as caught:
        deployer.propose("a", template=template)
    assert len(caught.value.problems) == 2
    assert aws.calls == []


def test_a_parameter_that_nobody_sets_is_told_before_a_change_set_is_made(aws: ScriptedAws, deployer: Deployer) -> None:
    with pytest.raises(InvalidInput, match="the parameter Stage has no default") as caught:
        deployer.propose("a", template=TEMPLATE.replace(", Default: none", ""))
    assert caught.value.problems[0].hint == "Add to `parameters` of the environment staging: `Stage: ...`"
    assert aws.count("CreateChangeSet") == 0


# Apply


def test_a_stack_that_somebody_else_left_in_progress_is_not_touched(aws: ScriptedAws, deployer: Deployer) -> None:
    """As when a runner died in the middle: nobody holds the target, and CloudFormation is still at it."""
    deployer.apply("a", deployer.propose("a"))
    proposal = deployer.propose("b", template=TEMPLATE.replace("Timeout: 3", "Timeout: 4"))
    aws.status = "UPDATE_IN_PROGRESS"
    with pytest.raises(StageError, match="the stack demo is in state UPDATE_IN_PROGRESS") as caught:
        deployer.apply("b", proposal)
    assert caught.value.cls == "blocked"
    assert len(aws.executions) == 1


def test_events_are_shown_once_while_they_come_and_asked_for_once_a_second(
    aws: ScriptedAws, deployer: Deployer, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = deployer.propose("a")
    aws.script = [
        (0.0, "Role", "CREATE_IN_PROGRESS", ""),
        (0.5, "Role", "CREATE_COMPLETE", ""),
        (1.0, "HelloWorldFunction", "CREATE_IN_PROGRESS", ""),
        (2.4, "HelloWorldFunction", "CREATE_COMPLETE", ""),
        (2.5, "demo", "CREATE_COMPLETE", ""),
    ]
    deployer.apply("a", proposal)
    events = [line.split("  ")[:2] for line in shown(capsys) if line.startswith("CREATE_")]
    assert events == [
        ["CREATE_IN_PROGRESS", "demo"],
        ["CREATE_IN_PROGRESS", "Role"],
        ["CREATE_COMPLETE", "Role"],
        ["CREATE_IN_PROGRESS", "HelloWorldFunction"],
        ["CREATE_COMPLETE", "HelloWorldFunction"],
        ["CREATE_COMPLETE", "demo"],
    ]
    asked = [at for name, at in aws.calls if name == "DescribeStackEvents"]
    assert len(asked) >= 3
    assert min(later - earlier for earlier, later in itertools.pairwise(asked)) > 0.98


def test_an_event_is_shown_soon_and_those_of_nested_stacks_as_well(
    aws: ScriptedAws, deployer: Deployer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = deployer.propose("a")
    aws.nested = {"Child", "Child/Grand"}
    aws.script = [
        (0.1, "Child", "CREATE_IN_PROGRESS", ""),
        (0.1, "Child/*", "CREATE_IN_PROGRESS", ""),
        (0.9, "Child/Grand", "CREATE_IN_PROGRESS", ""),
        (1.1, "Child/Grand/Fn", "CREATE_IN_PROGRESS", ""),
        (2.2, "Child/Grand/Fn", "CREATE_FAILED", "no such role"),
        (2.3, "Child/Grand/*", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Fn]."),
        (3.4, "Child/Grand", "CREATE_FAILED", "Embedded stack arn was not successfully created: ..."),
        (3.5, "Child", "CREATE_FAILED", "Embedded stack arn was not successfully created: ..."),
        (4.2, "demo", "ROLLBACK_COMPLETE", ""),
    ]
    late: list[float] = []

    def show(event: dict[str, Any]) -> None:
        late.append(time.time() - event["Timestamp"].timestamp())
        real(event)

    real = following.show
    monkeypatch.setattr(following, "show", show)
    with pytest.raises(StageError) as caught:
        deployer.apply("a", proposal)
    assert caught.value.message.startswith("Child/Grand/Fn (AWS::Lambda::Function) CREATE_FAILED: no such role\n")
    told = Counter(line.split("  ")[1] for line in shown(capsys) if "  AWS::" in line)
    assert told == {"demo": 2, "Child": 3, "Child/Grand": 3, "Child/Grand/Fn": 2}
    assert max(late) < 1.5


def test_a_nested_stack_that_may_not_be_looked_at_is_told_and_no_failure(
    aws: ScriptedAws, deployer: Deployer, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = deployer.propose("a")
    aws.nested = {"Child"}
    aws.script = [(0.0, "Child", "CREATE_IN_PROGRESS", ""), (0.6, "demo", "CREATE_COMPLETE", "")]
    aws.then["DescribeStackEvents"] = lambda: aws.fail("DescribeStackEvents", "AccessDenied", status=403)
    deployer.apply("a", proposal)
    assert [line for line in shown(capsys) if "the events of the nested stack Child cannot be read" in line]


def test_a_failure_that_is_about_to_be_rolled_back_is_not_the_end(aws: ScriptedAws, deployer: Deployer) -> None:
    """Where it is looked at in the moment between, or where no rollback is wanted, the state is the same."""
    proposal = deployer.propose("a")
    aws.script = [
        (0.0, "HelloWorldFunction", "CREATE_FAILED", "no such image"),
        (0.0, "demo", "CREATE_FAILED", ""),
        (0.7, "demo", "ROLLBACK_IN_PROGRESS", ""),
        (0.8, "demo", "ROLLBACK_COMPLETE", ""),
    ]
    aws.then["DescribeStackEvents"] = lambda: aws.become("ROLLBACK_IN_PROGRESS")
    with pytest.raises(StageError, match="The stack demo ended as ROLLBACK_COMPLETE"):
        deployer.apply("a", proposal)


def test_an_update_that_is_left_as_it_failed_ends(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.apply("a", deployer.propose("a"))
    proposal = deployer.propose("b", "two")
    aws.script = [(0.0, "HelloWorldFunction", "UPDATE_FAILED", "no such image"), (0.1, "demo", "UPDATE_FAILED", "")]
    with pytest.raises(StageError, match="The stack demo ended as UPDATE_FAILED") as caught:
        deployer.apply("b", proposal, "two")
    assert "towpath recover staging" in (caught.value.hint or "")


def test_an_update_that_somebody_cancels_ends(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.apply("a", deployer.propose("a"))
    proposal = deployer.propose("b", "two")
    aws.script = [(30.0, "demo", "UPDATE_COMPLETE", "")]
    rolled_back = [
        (0.0, "demo", "UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated"),
        (0.4, "demo", "UPDATE_ROLLBACK_COMPLETE", ""),
    ]
    aws.then["DescribeStackEvents"] = lambda: aws.somebody(*rolled_back)
    with pytest.raises(StageError, match="User Initiated") as caught:
        deployer.apply("b", proposal, "two")
    assert caught.value.hint == "The stack is as it was before. Correct the cause, then `towpath run`."


def test_a_creation_that_is_deleted_when_it_fails_leaves_nothing_to_free(aws: ScriptedAws, deployer: Deployer) -> None:
    """Whatever the operation's last event says: CloudFormation deletes the stack after it."""
    deployer.target = replace(deployer.target, on_failure="delete")
    proposal = deployer.propose("a")
    aws.script = [(0.0, "HelloWorldFunction", "CREATE_FAILED", "no such image"), (0.1, "demo", "ROLLBACK_COMPLETE", "")]
    aws.then["DescribeStackEvents"] = lambda: aws.become("DELETE_COMPLETE")
    with pytest.raises(StageError, match="The stack demo ended as DELETE_COMPLETE") as caught:
        deployer.apply("a", proposal)
    assert "recover" not in str(caught.value.hint)


def test_the_first_reason_is_on_top(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.script = [
        (0.0, "Queue", "CREATE_FAILED", "Resource creation cancelled"),
        (0.0, "HelloWorldFunction", "CREATE_FAILED", "Source image does not exist"),
        (0.1, "demo", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create"),
        (0.2, "HelloWorldFunction", "DELETE_COMPLETE", ""),
        (0.3, "demo", "ROLLBACK_COMPLETE", ""),
    ]
    with pytest.raises(StageError) as caught:
        deployer.apply("a", proposal)
    first = caught.value.message.splitlines()[0]
    assert first == "HelloWorldFunction (AWS::Lambda::Function) CREATE_FAILED: Source image does not exist"
    assert "`towpath recover staging`" in (caught.value.hint or "")


def test_throttling_and_faults_of_the_service_pass(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.fail("DescribeStacks", "Throttling", times=2, message="Rate exceeded")
    aws.fail("DescribeStackEvents", "InternalFailure", status=500, times=2)
    aws.fail("GetFunction", "TooManyRequestsException", status=429, times=2)
    aws.fail("DescribeChangeSet", times=2)
    deployer.apply("a", deployer.propose("a"))


def test_a_lost_answer_of_the_execution_executes_nothing_twice(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.fail("ExecuteChangeSet", when="after")
    deployer.apply("a", proposal)
    assert aws.executions == [proposal.handle["token"]]
    assert aws.count("ExecuteChangeSet") == 2


def test_a_state_from_before_the_execution_is_not_taken_for_its_end(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.apply("a", deployer.propose("a"))
    proposal = deployer.propose("b", "two")
    aws.stale_after_execution = 3
    aws.script = [(0.8, "demo", "UPDATE_ROLLBACK_COMPLETE", "failed")]
    with pytest.raises(StageError, match="UPDATE_ROLLBACK_COMPLETE"):
        deployer.apply("b", proposal, "two")


def test_credentials_that_expire_in_the_middle_and_the_attempt_after_it(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.fail("DescribeStackEvents", "ExpiredToken", status=403, message="The security token is expired")
    with pytest.raises(StageError, match="the AWS credentials have expired") as caught:
        deployer.apply("a", proposal)
    assert "towpath resume" in (caught.value.hint or "")
    deployer.apply("b", proposal, earlier=[Earlier("a", "apply", proposal)])
    assert aws.executions == [proposal.handle["token"]]


def test_a_change_set_deleted_by_someone_else(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.change_sets.clear()
    with pytest.raises(StageError, match="the proposed change set was deleted") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "moved"


def test_a_change_set_executed_by_someone_else(
    aws: ScriptedAws, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "TOKEN_WITHIN_S", 1.0)
    proposal = deployer.propose("a")
    aws.ExecuteChangeSet({"ChangeSetName": proposal.handle["change_set_arn"], "ClientRequestToken": "console"})
    with pytest.raises(StageError, match="was not executed by Towpath") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "moved"


def test_a_handle_that_points_to_another_change_set_is_refused(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.changes = [("Remove", "Database", "AWS::RDS::DBInstance")]
    with pytest.raises(StageError, match="these differ: changes") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "moved"
    assert aws.executions == []


def test_a_function_is_waited_for_and_its_failure_told(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.function_states = [("Pending", "InProgress"), ("Pending", "InProgress")]
    deployer.apply("a", proposal)
    aws.function_states = [("Pending", "Successful"), ("Failed", "Successful")]
    with pytest.raises(StageError, match=r"HelloWorldFunction .* state Failed: scripted reason"):
        deployer.apply("b", proposal, earlier=[Earlier("a", "apply", proposal)])


def test_lambda_that_runs_another_image_is_a_mismatch(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.function_image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:" + "0" * 64
    with pytest.raises(StageError, match=r"HelloWorldFunction runs .*@sha256:000") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "mismatch"


def test_a_network_cut_ends_with_a_retryable_error(
    aws: ScriptedAws, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.aws.retry.WINDOW_S", 0.5)
    proposal = deployer.propose("a")
    aws.fail("DescribeStacks", times=10_000)
    started = time.monotonic()
    with pytest.raises(StageError, match="AWS gave no usable answer while looking at the stack") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "retryable"
    assert time.monotonic() - started < 10


def test_throttling_without_end_ends_and_nothing_was_done_twice(
    aws: ScriptedAws, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.aws.retry.WINDOW_S", 0.3)
    proposal = deployer.propose("a")
    aws.fail("ExecuteChangeSet", "Throttling", message="Rate exceeded", times=10_000)
    with pytest.raises(
        StageError, match=r"AWS kept refusing calls as too many \(Throttling\) while executing"
    ) as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "retryable"
    aws.faults.clear()
    deployer.apply("b", proposal, earlier=[Earlier("a", "apply", proposal)])
    assert aws.executions == [proposal.handle["token"]]


@pytest.mark.parametrize("action", ["DescribeStackEvents", "ListStackResources", "GetFunction"])
def test_what_is_lost_sight_of_goes_on_and_is_said_to(
    aws: ScriptedAws, deployer: Deployer, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr("stages.aws.retry.WINDOW_S", 0.3)
    monkeypatch.setattr(following, "WINDOW_S", 0.3)
    proposal = deployer.propose("a")
    aws.fail(action, times=10_000)
    with pytest.raises(StageError, match="what CloudFormation has begun goes on there") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "retryable"
    assert "towpath resume" in (caught.value.hint or "")
    aws.faults.clear()
    deployer.apply("b", proposal, earlier=[Earlier("a", "apply", proposal)])
    assert aws.executions == [proposal.handle["token"]]


def test_what_somebody_deploys_before_we_look_again_is_not_ours_to_put_back(
    aws: ScriptedAws, deployer: Deployer
) -> None:
    proposal = deployer.propose("a")
    aws.then["ExecuteChangeSet"] = lambda: aws.fail("DescribeStackEvents", "ExpiredToken", status=403)
    with pytest.raises(StageError, match="have expired"):
        deployer.apply("a", proposal)
    aws.become("CREATE_COMPLETE")
    time.sleep(0.3)
    aws.somebody((0.0, "demo", "UPDATE_IN_PROGRESS", ""), (0.0, "demo", "UPDATE_COMPLETE", ""))
    aws.function_image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:" + "0" * 64
    with pytest.raises(StageError, match="ended well, and the stack demo was changed again after that") as caught:
        deployer.apply("b", proposal, earlier=[Earlier("a", "apply", proposal)])
    assert caught.value.cls == "moved"
    assert "update-function-code" not in (caught.value.hint or "")


def test_a_right_that_is_missing_in_the_middle_decides_nothing(aws: ScriptedAws, deployer: Deployer) -> None:
    proposal = deployer.propose("a")
    aws.fail(
        "DescribeStackEvents", "AccessDenied", status=403, message="not authorized to perform: DescribeStackEvents"
    )
    with pytest.raises(StageError, match="goes on there") as caught:
        deployer.apply("a", proposal)
    assert caught.value.cls == "retryable"
    assert caught.value.hint == (
        "Give the role named there this permission, or use one that has it. Then follow it on with `towpath resume`."
    )


def test_a_stack_that_somebody_else_is_at_is_not_touched(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.apply("a", deployer.propose("a"))
    proposal = deployer.propose("b", "two")
    aws.status = "UPDATE_IN_PROGRESS"
    with pytest.raises(
        StageError, match="the stack demo is in state UPDATE_IN_PROGRESS: somebody else is changing it"
    ) as caught:
        deployer.apply("b", proposal, "two")
    assert caught.value.cls == "blocked"
    aws.status = "CREATE_COMPLETE"
    message = "Stack:arn:aws:cloudformation:x is in UPDATE_IN_PROGRESS state and can not be updated."
    aws.fail("ExecuteChangeSet", "ValidationError", message=message)
    with pytest.raises(StageError, match="somebody else is changing the stack") as caught:
        deployer.apply("b", proposal, "two")
    assert caught.value.cls == "blocked"
    assert len(aws.executions) == 1
