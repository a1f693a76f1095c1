"""What `deploy` proposes: parameters that are kept, values that are looked up later, how it is executed, nested stacks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy.releases import TEMPLATE, image_uri
from integration.stages.deploy.scripted_aws import ACCOUNT

from stages.aws.session import Session, connect
from stages.contract import StageError

if TYPE_CHECKING:
    from integration.stages.deploy.releases import Deployer
    from integration.stages.deploy.scripted_aws import ScriptedAws

    from stages.contract import OnFailure


def session(deployer: Deployer) -> Session:
    return connect(deployer.target, deployer.access)


def section(view: str, name: str) -> list[str]:
    """The lines of a section of a view."""
    lines = view.splitlines()
    start = lines.index(name) + 1
    end = next(at for at in range(start, len(lines)) if not lines[at].startswith(" "))
    return [" ".join(line.split()) for line in lines[start:end]]


def test_a_value_that_nobody_sets_is_the_stacks_or_the_templates_and_said_to_be(embedded: Deployer) -> None:
    bare = TEMPLATE.replace(
        "Stage: {Type: String, Default: none}", "Stage: {Type: String}\n  Size: {Type: String, Default: s}"
    )
    bare = bare.replace("Timeout: 3", "Timeout: 3\n      Description: !Sub '${Stage} ${Size} ${Password}'")
    embedded.target = replace(embedded.target, parameters={"Stage": "prod", "Size": "m", "Password": "hunter2"})
    embedded.apply("a-1", embedded.propose("a-1", template=bare), template=bare)
    embedded.target = replace(embedded.target, parameters={})
    proposal = embedded.propose("a-2", "two", template=bare)
    assert section(proposal.view, "Parameters") == [
        "Password (secret) (kept from the stack)",
        "Size m -> s (default of the template)",
        "Stage prod (kept from the stack)",
    ]
    embedded.apply("a-2", proposal, "two", template=bare)
    (function,) = session(embedded).lambda_.list_functions()["Functions"]
    assert function["Description"] == "prod s hunter2"


LATE = TEMPLATE.replace(
    "Parameters:", "Parameters:\n  Level: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /level}"
).replace(
    "Timeout: 3",
    "Environment: {Variables: {LEVEL: '{{resolve:ssm:/level}}', DB: '{{resolve:secretsmanager:db}}', KEY: '{{resolve:ssm-secure:/key:1}}'}}",
)


def test_late_bound_values_are_listed_and_a_change_of_one_is_noticed(embedded: Deployer) -> None:
    ssm, secrets = session(embedded).ssm, session(embedded).secrets_manager
    ssm.put_parameter(Name="/level", Value="info", Type="String")
    ssm.put_parameter(Name="/key", Value="correct-horse", Type="SecureString")
    secrets.create_secret(Name="db", SecretString="battery-staple")
    proposal = embedded.propose("l-1", template=LATE)
    found = section(proposal.view, "Late-bound values")
    assert found[0] == "Level = info looked up in Parameter Store, and fixed in this change set"
    assert found[3] == "{{resolve:ssm:/level}} = info (version 1) at HelloWorldFunction.Environment.Variables.LEVEL"
    assert found[2] == "{{resolve:ssm-secure:/key:1}} (version 1) at HelloWorldFunction.Environment.Variables.KEY"
    assert "correct-horse" not in str(proposal)
    assert "battery-staple" not in str(proposal)

    secrets.put_secret_value(SecretId="db", SecretString="other")
    with pytest.raises(StageError, match=r"late_bound\.\{\{resolve:secretsmanager:db\}\}\.version") as caught:
        embedded.apply("l-1", proposal, template=LATE)
    assert caught.value.cls == "moved"
    again = embedded.propose("l-2", template=LATE)
    ssm.put_parameter(Name="/level", Value="debug", Type="String", Overwrite=True)
    with pytest.raises(StageError, match=r"late_bound\.\{\{resolve:ssm:/level\}\}\.value"):
        embedded.apply("l-2", again, template=LATE)
    result, _ = embedded.apply("l-3", embedded.propose("l-3", template=LATE), template=LATE)
    assert result.outcome == "succeeded"


FAILS = TEMPLATE.replace(
    "Outputs:",
    "  Bucket: {Type: 'AWS::S3::Bucket', Properties: {BucketName: !Sub 'taken-${AWS::AccountId}'}}\nOutputs:",
)


@pytest.mark.parametrize(
    ("on_failure", "left"), [("rollback", "ROLLBACK_COMPLETE"), ("do-nothing", "CREATE_FAILED"), ("delete", None)]
)
def test_what_becomes_of_a_stack_that_cannot_be_made(
    embedded: Deployer, on_failure: OnFailure, left: str | None
) -> None:
    aws = session(embedded)
    aws.s3.create_bucket(
        Bucket=f"taken-{embedded.target.account}", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    embedded.target = replace(embedded.target, on_failure=on_failure)
    proposal = embedded.propose("f-1", template=FAILS)
    assert proposal.subject["execution"]["on_failure"] == on_failure
    with pytest.raises(StageError):
        embedded.apply("f-1", proposal, template=FAILS)
    stacks = [
        each for each in aws.cloudformation.list_stacks()["StackSummaries"] if each["StackStatus"] != "DELETE_COMPLETE"
    ]
    assert [each["StackStatus"] for each in stacks] == ([left] if left else [])


def test_an_approved_way_to_fail_is_the_one_that_is_executed(embedded: Deployer) -> None:
    """Somebody who turns rollback off after the approval does not get his way."""
    proposal = embedded.propose("o-1")
    embedded.target = replace(embedded.target, on_failure="do-nothing", retain_except_on_create=True)
    with pytest.raises(StageError, match=r"execution\.on_failure, execution\.retain_except_on_create"):
        embedded.apply("o-1", proposal)


def test_options_reach_cloudformation_as_they_were_approved(aws: ScriptedAws, deployer: Deployer) -> None:
    role, topic = f"arn:aws:iam::{ACCOUNT}:role/deploys", f"arn:aws:sns:eu-central-1:{ACCOUNT}:told"
    plain = deployer.target
    deployer.target = replace(
        plain, service_role=role, notification_arns=[topic], on_failure="delete", retain_except_on_create=True
    )
    deployer.apply("a", deployer.propose("a"))
    (asked,) = [each.asked for each in aws.change_sets.values()]
    assert (asked["RoleARN"], asked["NotificationARNs.member.1"], asked["OnStackFailure"]) == (role, topic, "DELETE")
    assert aws.executed_with["RetainExceptOnCreate"] == "true"
    assert "DisableRollback" not in aws.executed_with  # CloudFormation refuses it beside OnStackFailure

    deployer.target = replace(plain, on_failure="do-nothing")
    deployer.apply("b", deployer.propose("b"))
    asked = list(aws.change_sets.values())[-1].asked
    assert asked["NotificationARNs"] == ""  # none of the stack's are left
    assert not {"RoleARN", "OnStackFailure"} & set(asked)
    assert aws.executed_with["DisableRollback"] == "true"
    assert "RetainExceptOnCreate" not in aws.executed_with


NESTED = "  Child: {{Type: AWS::CloudFormation::Stack, Properties: {{TemplateURL: '{}'}}}}\n"
CHILD = """\
Resources:
  Fn:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: IMAGE}
"""
TABLE = """\
  Orders:
    Type: AWS::DynamoDB::Table
    Properties:
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      BillingMode: PAY_PER_REQUEST
"""
OPEN = "  Address: {Type: AWS::Lambda::Url, Properties: {AuthType: NONE, TargetFunctionArn: !GetAtt Fn.Arn}}\n"


def test_what_changes_in_a_nested_stack_is_told_without_change_sets_of_its_own(embedded: Deployer) -> None:
    """The embedded AWS makes none."""
    bucket = f"templates-{embedded.target.account}"
    s3 = session(embedded).s3
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def pack(child: str, content: str) -> str:
        url = f"https://s3.eu-central-1.amazonaws.com/{bucket}/child-{content}"
        body = child.replace("IMAGE", image_uri(embedded.target, content)).encode()
        s3.put_object(Bucket=bucket, Key=f"child-{content}", Body=body)
        embedded.nested = {"Child": (child, url)}
        return TEMPLATE.replace("Outputs:", NESTED.format(url) + "Outputs:")

    template = pack(CHILD + TABLE, "one")
    embedded.apply("n-1", embedded.propose("n-1", template=template), template=template)
    proposal = embedded.propose("n-2", "two", template=pack(CHILD + OPEN, "two"))
    (change,) = [each for each in proposal.subject["changes"] if each["logical_id"] == "Child"]
    assert change["nested"] is False
    assert "its own changes are not in the change set" in proposal.view
    assert section(proposal.view, "What it means") == [
        "Child/Orders (AWS::DynamoDB::Table) is deleted, with all that is in it",
        "Child may be replaced by a new one",  # so it says of every nested stack
        "Child/Address (AWS::Lambda::Url): the function's address opens to everybody, without authorization",
        "Child/Address (AWS::Lambda::Url) is added, by its template",
        "Child/Fn (AWS::Lambda::Function) changes, by its template: Code.ImageUri",
    ]


def test_how_the_image_of_a_function_differs_from_the_one_that_runs(embedded: Deployer) -> None:
    first = embedded.propose("i-1")
    assert section(first.view, "Images")[1] == "0 layers, 2 bytes compressed"
    embedded.apply("i-1", first)
    proposal = embedded.propose("i-2", "two")
    assert section(proposal.view, "Images")[1:] == [
        "layers: 0 shared; 2 bytes compressed, +0 bytes",
        "packages and findings: not known, because the record has no scan of what runs",
    ]
    assert "compressed" not in str(proposal.subject)  # shown, and no part of what is approved
    running = proposal.subject["base"]["functions"]["HelloWorldFunction"]["image"]
    session(embedded).ecr.batch_delete_image(
        repositoryName="app", imageIds=[{"imageDigest": running.partition("@")[2]}]
    )
    gone = embedded.propose("i-3", "two")
    assert section(gone.view, "Images")[1].startswith(
        "not known, because of the image that runs: it is not in its registry"
    )
    assert gone.subject == proposal.subject
