"""The template of an environment: what each role may, whom it trusts, and the hook's function."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from typing import Any

import pytest
import yaml

from stages.aws import bootstrap
from stages.aws.bootstrap import GITHUB, Trust, Wanted
from stages.aws.hook_function import handler
from stages.template.tree import read

JOBS = Trust(GITHUB, "sts.amazonaws.com", ("repo:octo/shop:environment:production",))
WHOLE = Wanted("shop", JOBS, "shop", "shop/app", "shop-bucket", ("deploy",), pullers=("222222222222",))


def may(wanted: Wanted, role: str, action: str) -> list[Any]:
    """The resources on which a role may do something by itself, without CloudFormation."""
    [policy] = bootstrap.template(wanted)["Resources"][role]["Properties"]["Policies"]
    found = []
    for each in policy["PolicyDocument"]["Statement"]:
        if any(fnmatch.fnmatchcase(action, one) for one in each["Action"]) and "Condition" not in each:
            found += each["Resource"] if isinstance(each["Resource"], list) else [each["Resource"]]
    return [
        each["Fn::Sub"].rpartition(":")[2] if isinstance(each, dict) and "Fn::Sub" in each else each for each in found
    ]


@pytest.mark.parametrize(
    ("action", "who"),
    [
        ("cloudformation:CreateChangeSet", {"Propose"}),
        ("cloudformation:ExecuteChangeSet", {"Apply"}),
        ("cloudformation:UpdateStack", set()),
        ("cloudformation:DeleteStack", set()),
        ("lambda:InvokeFunction", {"Invoke"}),
        ("lambda:UpdateFunctionCode", set()),
        ("iam:CreateRole", set()),
        ("iam:PassRole", set()),
        ("ecr:PutImage", {"Package"}),
        ("ecr:DeleteRepository", set()),
        ("ecr:BatchGetImage", {"Propose", "Apply", "Package", "Scan"}),
        ("s3:PutObject", {"Propose", "Package"}),
        ("s3:DeleteObject", set()),
    ],
)
def test_each_role_may_do_what_its_phase_does_and_no_other(action: str, who: set[str]) -> None:
    roles = ("Propose", "Apply", "Invoke", "Package", "Scan")
    assert {role for role in roles if may(WHOLE, role, action)} == who


def test_changes_are_made_on_this_stack_alone() -> None:
    own = ["stack/shop/*", "changeSet/towpath-*-deploy-*/*"]
    assert may(WHOLE, "Apply", "cloudformation:ExecuteChangeSet") == own
    assert may(WHOLE, "Propose", "cloudformation:DeleteChangeSet") == own
    assert may(WHOLE, "Propose", "cloudformation:CreateChangeSet")[0] == "stack/shop/*"
    assert may(WHOLE, "Package", "ecr:PutImage") == [{"Fn::GetAtt": ["Repository", "Arn"]}]


def test_what_a_stack_changes_only_cloudformation_may() -> None:
    [policy] = bootstrap.template(WHOLE)["Resources"]["Apply"]["Properties"]["Policies"]
    via = {"aws:CalledVia": ["cloudformation.amazonaws.com"]}
    for each in policy["PolicyDocument"]["Statement"]:
        if {"lambda:*", "iam:CreateRole", "iam:PassRole", "logs:*", "apigateway:*"} & set(each["Action"]):
            assert each["Condition"]["ForAnyValue:StringEquals"] == via
    bounded = bootstrap.template(Wanted("shop", JOBS, stack="shop", boundary="arn:aws:iam::1:policy/b"))
    assert "iam:PermissionsBoundary" in json.dumps(bounded["Resources"]["Apply"])


def test_with_a_service_role_apply_only_executes_and_cloudformation_alone_has_that_role() -> None:
    made = bootstrap.template(dataclasses.replace(WHOLE, service_role=bootstrap.MAKE))
    [policy] = made["Resources"]["Apply"]["Properties"]["Policies"]
    assert not {"lambda:*", "iam:CreateRole"} & {
        one for each in policy["PolicyDocument"]["Statement"] for one in each["Action"]
    }
    own = made["Resources"]["ServiceRole"]["Properties"]
    [trusted] = own["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "cloudformation.amazonaws.com"}
    assert "lambda:*" in json.dumps(own)
    [passed] = [
        each
        for each in made["Resources"]["Propose"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        if "iam:PassRole" in each["Action"]
    ]
    assert passed["Resource"] == {"Fn::GetAtt": ["ServiceRole", "Arn"]}
    there = bootstrap.template(dataclasses.replace(WHOLE, service_role="arn:aws:iam::1:role/there"))
    assert "ServiceRole" not in there["Resources"]


@pytest.mark.parametrize(
    ("trust", "principal", "condition"),
    [
        (
            JOBS,
            {"Federated": {"Ref": "Provider"}},
            {
                "StringEquals": {
                    f"{GITHUB}:aud": "sts.amazonaws.com",
                    f"{GITHUB}:sub": ["repo:octo/shop:environment:production"],
                }
            },
        ),
        (
            Trust(principals=("arn:aws:iam::111111111111:role/ci",)),
            {"AWS": ["arn:aws:iam::111111111111:role/ci"]},
            None,
        ),
    ],
)
def test_roles_trust_just_those_jobs_or_principals(trust: Trust, principal: Any, condition: Any) -> None:
    made = bootstrap.template(Wanted("shop", trust, stack="shop"))["Resources"]
    for role in ("Propose", "Apply", "Invoke"):
        [statement] = made[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert (statement["Principal"], statement.get("Condition")) == (principal, condition)
    assert ("Provider" in made) == (trust.issuer is not None)


def test_a_provider_that_is_there_is_not_made_again() -> None:
    there = "arn:aws:iam::333333333333:oidc-provider/" + GITHUB
    made = bootstrap.template(Wanted("shop", Trust(GITHUB, "a", ("s",), there), stack="shop"))["Resources"]
    assert "Provider" not in made
    assert made["Apply"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Federated": there}


def test_an_environment_without_a_stack_has_no_roles_for_one_and_no_hook() -> None:
    made = bootstrap.template(Wanted("images", JOBS, repository="app"))["Resources"]
    assert set(made) == {"Provider", "Repository", "Package", "Scan"}


def test_lambda_of_the_accounts_that_pull_may_and_nobody_else() -> None:
    policy = bootstrap.template(WHOLE)["Resources"]["Repository"]["Properties"]["RepositoryPolicyText"]
    _, by_lambda = policy["Statement"]
    assert by_lambda["Condition"] == {
        "StringEquals": {"aws:SourceAccount": [{"Ref": "AWS::AccountId"}, "222222222222"]}
    }


def test_the_bucket_takes_tls_only_and_is_not_deleted() -> None:
    made = bootstrap.template(WHOLE)["Resources"]
    denied = made["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert {made[each]["DeletionPolicy"] for each in ("Bucket", "Repository", "Provider")} == {"Retain"}


def test_the_text_is_a_template_with_the_hooks_program_as_it_is() -> None:
    text = bootstrap.text(WHOLE, "Read it.\n\nTwice.")
    assert text.startswith("# Read it.\n#\n# Twice.\n")
    assert yaml.safe_load(text) == bootstrap.template(WHOLE)
    assert read(text.encode(), "t.yaml").root is not None
    assert "&id" not in text
    assert len(text.encode()) < 51_200
    program = yaml.safe_load(text)["Resources"]["HookFunction"]["Properties"]["Code"]["ZipFile"]
    assert len(program) < 4096
    found: dict[str, Any] = {}
    exec(compile(program, "index.py", "exec"), found)  # noqa: S102 - it is what Lambda does with it
    assert found["handler"]({}, None)["hookStatus"] == "FAILED"


def test_the_hook_judges_this_stack_or_all() -> None:
    for hook, named in (("stack", ["shop"]), ("account", None)):
        made = bootstrap.template(Wanted("shop", JOBS, stack="shop", hook=hook))["Resources"]["Hook"]["Properties"]  # type: ignore[arg-type] # a literal of the two
        assert made.get("StackFilters", {}).get("StackNames", {}).get("Include") == named
        assert (made["FailureMode"], made["HookStatus"]) == ("FAIL", "ENABLED")


def asked(properties: Any) -> dict[str, Any]:
    event = {
        "clientRequestToken": "t",
        "actionInvocationPoint": "CREATE_PRE_PROVISION",
        "requestData": {
            "targetName": "AWS::Lambda::Function",
            "targetModel": {"resourceProperties": properties},
        },
    }
    return handler(event, None)


PINNED = "111111111111.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("properties", "status", "code"),
    [
        ({"PackageType": "Image", "Code": {"ImageUri": PINNED}}, "SUCCESS", None),
        ({"Code": {"ZipFile": "x"}, "Runtime": "python3.12"}, "SUCCESS", None),
        (
            {"PackageType": "Image", "Code": {"ImageUri": PINNED.partition("@")[0] + ":latest"}},
            "FAILED",
            "NonCompliant",
        ),
        ({"Code": {"ImageUri": PINNED[:-1]}}, "FAILED", "NonCompliant"),
        ({"Code": {"ImageUri": PINNED + "0"}}, "FAILED", "NonCompliant"),
        ({"PackageType": "Image"}, "FAILED", "NonCompliant"),
        (None, "FAILED", "InternalFailure"),
        ({"Code": None}, "FAILED", "InternalFailure"),
    ],
)
def test_the_hook_refuses_what_is_not_pinned_and_what_it_cannot_read(
    properties: Any, status: str, code: str | None
) -> None:
    answer = asked(properties)
    assert (answer["hookStatus"], answer.get("errorCode"), answer["clientRequestToken"]) == (status, code, "t")
