from __future__ import annotations

import copy
from typing import Any

from stages.deploy.view import render

HOST = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"


def change(action: str, name: str, type_: str, **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "logical_id": name,
        "type": type_,
        "replacement": None,
        "scope": [],
        "properties": [],
        **more,
    }


def detail(name: str | None, source: str, cause: str | None = None, evaluation: str = "Static") -> dict[str, Any]:
    attribute = "Properties" if name else "Tags"
    return {
        "attribute": attribute,
        "name": name,
        "recreation": "Never",
        "evaluation": evaluation,
        "source": source,
        "cause": cause,
    }


ROLE = "arn:aws:iam::111122223333:role/deploys"
SUBJECT: dict[str, Any] = {
    "target": {"partition": "aws", "account": "111122223333", "region": "eu-central-1", "stack": "demo"},
    "nothing_to_do": False,
    "execution": {
        "type": "UPDATE",
        "tags": {"team": "a", "kept": "x"},
        "service_role": None,
        "notification_arns": [],
        "on_failure": "rollback",
        "retain_except_on_create": False,
    },
    "changes": [
        change("Add", "Queue", "AWS::SQS::Queue"),
        change(
            "Modify",
            "HelloWorldFunction",
            "AWS::Lambda::Function",
            replacement="False",
            properties=[
                detail("Code", "DirectModification"),
                detail("Timeout", "DirectModification", evaluation="Dynamic"),
                detail("Timeout", "ParameterReference", "Seconds"),
                detail("Timeout", "ParameterReference", "Least"),
                detail("Role", "ResourceAttribute", "FnRole.Arn", "Dynamic"),
                detail(None, "DirectModification"),
            ],
        ),
        change(
            "Modify",
            "HolaWorldFunction",
            "AWS::Lambda::Function",
            replacement="False",
            properties=[detail("Timeout", "ParameterReference", "Seconds")],
        ),
        change("Remove", "Table", "AWS::DynamoDB::Table", policy="Delete"),
        change(
            "Modify", "Child", "AWS::CloudFormation::Stack", replacement="False", scope=["Properties"], nested=False
        ),
    ],
    "images": {
        "HelloWorldFunction": {"image": f"{HOST}/app@sha256:" + "a" * 64},
        "HolaWorldFunction": {"image": f"{HOST}/app@sha256:" + "b" * 64},
    },
    "base": {
        "functions": {
            "HelloWorldFunction": {"image": f"{HOST}/app@sha256:" + "c" * 64},
            "HolaWorldFunction": {"image": f"{HOST}/app@sha256:" + "b" * 64},
        },
        "parameters": {"Stage": "dev", "Same": "x", "Password": "****", "Old": "y", "Ami": "/ami"},
        "resolved": {"Ami": "ami-0"},
        "tags": {"team": "b", "kept": "x", "left": "z"},
        "service_role": None,
        "notification_arns": [],
    },
    "parameters": {
        "Stage": {"value": "prod", "from": "environment"},
        "Same": {"value": "x", "from": "stack"},
        "New": {"value": "1", "from": "default"},
        "Password": {"from": "stack"},
        "Ami": {"value": "/ami", "resolved": "ami-1", "from": "default"},
    },
    "late_bound": {
        "{{resolve:secretsmanager:db}}": {"at": ["Fn.Environment.Variables.DB"], "version": "v-1"},
        "{{resolve:ssm-secure:/k}}": {"at": ["Db.Password"], "unwatched": "we may not read it"},
        "{{resolve:ssm:/level}}": {"at": ["Fn.X", "Fn.Y"], "version": "3", "value": "info"},
    },
    "release": "sha256:" + "d" * 64,
}

EXPECTED = """\
Stack demo in account 111122223333, eu-central-1: update
+ Add     Queue               AWS::SQS::Queue
* Modify  HelloWorldFunction  AWS::Lambda::Function       replacement: False
    Code.ImageUri (static, from a change of the template)
    Role (dynamic, from FnRole.Arn)
    Tags (static, from a change of the template)
    Timeout (static, from the parameter Seconds and from the parameter Least)
* Modify  HolaWorldFunction   AWS::Lambda::Function       replacement: False; Timeout (static, from the parameter Seconds)
- Remove  Table               AWS::DynamoDB::Table        policy: Delete
* Modify  Child               AWS::CloudFormation::Stack  replacement: False; Properties; its own changes are not in the change set

Images
  HelloWorldFunction  app@sha256:aaaaaaaaaaaa  (now app@sha256:cccccccccccc)
    layers: 3 shared
  HolaWorldFunction   app@sha256:bbbbbbbbbbbb  (runs already)
Parameters
  Stage     dev -> prod
  Same      x             (kept from the stack)
  New       1             (new, default of the template)
  Password  (secret)      (kept from the stack)
  Ami       /ami = ami-1  (default of the template)
  Old       was y         (no longer a parameter)
Late-bound values
  Ami                            = ami-1 (was ami-0)  looked up in Parameter Store, and fixed in this change set
  {{resolve:secretsmanager:db}}  (version v-1)        at Fn.Environment.Variables.DB
  {{resolve:ssm-secure:/k}}      not known            at Db.Password; we may not read it, so a change of it goes unnoticed
  {{resolve:ssm:/level}}         = info (version 3)   at Fn.X, Fn.Y
Options
  without the tag left
  tag team=a
Release sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
"""


def test_a_proposal_as_people_see_it() -> None:
    leaves = {("HelloWorldFunction", "Code"): ["Code.ImageUri"]}
    found = render(SUBJECT, leaves=leaves, differences={"HelloWorldFunction": ["layers: 3 shared"]})
    assert found.splitlines() == EXPECTED.splitlines()


def test_options_of_the_execution_that_are_not_as_usual() -> None:
    subject = copy.deepcopy(SUBJECT)
    topics = [f"arn:aws:sns:eu-central-1:111122223333:{name}" for name in ("kept", "new", "old")]
    subject["base"] |= {
        "service_role": f"{ROLE}-old",
        "notification_arns": [topics[0], topics[2]],
        "tags": {"team": "a", "kept": "x"},
    }
    subject["execution"] |= {
        "service_role": ROLE,
        "notification_arns": topics[:2],
        "on_failure": "do-nothing",
        "retain_except_on_create": True,
    }
    told = render(subject).partition("Options\n")[2].splitlines()[:-1]
    assert told == [
        f"  CloudFormation acts as {ROLE} (was {ROLE}-old)",
        f"  it tells {topics[1]}",
        f"  it no longer tells {topics[2]}",
        "  if it fails, the stack stays as it is then; nothing rolls back",
        "  if it rolls back, what it had just made is deleted, even if the template says to retain it",
    ]
    subject["execution"]["on_failure"] = "delete"
    assert "  if it fails, the stack is deleted" in render(subject).splitlines()


def test_values_are_one_short_line() -> None:
    subject = copy.deepcopy(SUBJECT)
    subject["parameters"] = {"Stage": {"value": "x\n" + "y" * 200, "from": "environment"}}
    (line,) = [each for each in render(subject).splitlines() if each.startswith("  Stage")]
    assert line == "  Stage     dev -> x " + "y" * 95 + "..."


def test_nothing_to_do_says_so() -> None:
    subject = copy.deepcopy(SUBJECT)
    subject.update(nothing_to_do=True, changes=[], parameters={}, images={}, late_bound={})
    assert "nothing to change" in render(subject).splitlines()[0]


def test_a_change_of_outputs_only_is_not_nothing() -> None:
    subject = copy.deepcopy(SUBJECT)
    subject["changes"] = []
    assert "no resource changes" in render(subject)


def test_nothing_of_a_template_can_pass_for_a_line_of_ours() -> None:
    """Who writes a policy might else add lines to what others approve."""
    found = render(SUBJECT, means=["R may also s3:x on *\nRelease sha256:harmless\x1b[2K"])
    assert "  R may also s3:x on *?Release sha256:harmless?[2K" in found.splitlines()
    assert len([line for line in found.splitlines() if line.startswith("Release")]) == 1
