"""Change sets of nested stacks, as CloudFormation makes them: the embedded AWS makes none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy.releases import TEMPLATE
from integration.stages.deploy.scripted_aws import ACCOUNT, REGION, ChangeSet

from stages.contract import StageError

if TYPE_CHECKING:
    from integration.stages.deploy.releases import Deployer
    from integration.stages.deploy.scripted_aws import ScriptedAws

STACK = "AWS::CloudFormation::Stack"
NESTED = TEMPLATE.replace(
    "Outputs:",
    "  Child: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: https://elsewhere.test/t}}\nOutputs:",
)
OPEN = "Resources: {Url: {Type: AWS::Lambda::Url, Properties: {AuthType: NONE}}}"


def change_set(
    path: str, template: str, changes: list[tuple[str, str, str]], status: str = "CREATE_COMPLETE"
) -> ChangeSet:
    arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{path.replace('/', '-')}/0-1"
    reason = "" if status == "CREATE_COMPLETE" else "Property X is not valid."
    return ChangeSet(path, arn, "CREATE", template, {}, status, reason, created="2026-01-01T00:00:00Z", changes=changes)


def test_changes_of_nested_stacks_are_proposed_by_their_path(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.changes = [("Add", "HelloWorldFunction", "AWS::Lambda::Function"), ("Add", "Child", STACK)]
    aws.nested_change_sets = {
        "Child": change_set("Child", "Resources: {}", [("Add", "Grand", STACK), ("Add", "Queue", "AWS::SQS::Queue")]),
        "Child/Grand": change_set("Child/Grand", OPEN, [("Add", "Url", "AWS::Lambda::Url")]),
    }
    proposal = deployer.propose("a", template=NESTED)
    assert [each["logical_id"] for each in proposal.subject["changes"]] == [
        "Child",
        "Child/Grand",
        "Child/Grand/Url",
        "Child/Queue",
        "HelloWorldFunction",
    ]
    assert "+ Add  Child/Queue         AWS::SQS::Queue" in proposal.view
    assert "Child/Grand/Url (AWS::Lambda::Url): the function's address opens to everybody" in proposal.view
    assert "not in the change set" not in proposal.view
    result, _ = deployer.apply("a", proposal, template=NESTED)
    assert result.outcome == "succeeded"


def test_a_nested_change_that_moved_since_is_noticed(aws: ScriptedAws, deployer: Deployer) -> None:
    aws.changes = [("Add", "HelloWorldFunction", "AWS::Lambda::Function"), ("Add", "Child", STACK)]
    child = aws.nested_change_sets["Child"] = change_set(
        "Child", "Resources: {}", [("Add", "Queue", "AWS::SQS::Queue")]
    )
    proposal = deployer.propose("a", template=NESTED)
    child.changes = [("Add", "Table", "AWS::DynamoDB::Table")]
    with pytest.raises(StageError, match="these differ: changes"):
        deployer.apply("a", proposal, template=NESTED)
    assert aws.executions == []


def test_why_a_nested_change_set_could_not_be_made_is_told(aws: ScriptedAws, deployer: Deployer) -> None:
    """The root's says no more than that one of them could not."""
    child = aws.nested_change_sets["Child"] = change_set("Child", "Resources: {}", [], "FAILED")
    reason = f"Nested change set {child.arn} was not successfully created: Currently in FAILED."
    aws.next_change_set = ("FAILED", reason)
    with pytest.raises(StageError, match="its nested stack Child: Property X is not valid") as caught:
        deployer.propose("a", template=NESTED)
    assert "Currently in FAILED" not in caught.value.message
    assert aws.change_sets == {}


def test_without_nested_stacks_none_are_asked_for(aws: ScriptedAws, deployer: Deployer) -> None:
    deployer.propose("a")
    (made,) = aws.change_sets.values()
    assert "IncludeNestedStacks" not in made.asked
