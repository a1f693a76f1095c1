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


SUBJECT: dict[str, Any] = {
    "target": {"partition": "aws", "account": "111122223333", "region": "eu-central-1", "stack": "demo"},
    "nothing_to_do": False,
    "execution": {"type": "UPDATE"},
    "changes": [
        change("Add", "Queue", "AWS::SQS::Queue"),
        change(
            "Modify",
            "HelloWorldFunction",
            "AWS::Lambda::Function",
            replacement="False",
            properties=[{"attribute": "Properties", "name": "Code"}],
        ),
        change("Remove", "Table", "AWS::DynamoDB::Table", policy="Delete"),
    ],
    "images": {
        "HelloWorldFunction": {"image": f"{HOST}/app@sha256:" + "a" * 64},
        "HolaWorldFunction": {"image": f"{HOST}/app@sha256:" + "b" * 64},
    },
    "base": {
        "functions": {
            "HelloWorldFunction": {"image": f"{HOST}/app@sha256:" + "c" * 64},
            "HolaWorldFunction": {"image": f"{HOST}/app@sha256:" + "b" * 64},
        }
    },
    "parameters": {"Stage": {"value": "prod"}, "Password": {"digest": "scrypt:00"}},
    "release": "sha256:" + "d" * 64,
}

EXPECTED = """\
Stack demo in account 111122223333, eu-central-1: update
+ Add     Queue               AWS::SQS::Queue
* Modify  HelloWorldFunction  AWS::Lambda::Function  replacement: False; Code
- Remove  Table               AWS::DynamoDB::Table   policy: Delete

Images
  HelloWorldFunction  app@sha256:aaaaaaaaaaaa  (now app@sha256:cccccccccccc)
  HolaWorldFunction   app@sha256:bbbbbbbbbbbb  (runs already)
Parameters
  Stage     prod
  Password  (secret)
Release sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
"""


def test_a_proposal_as_people_see_it() -> None:
    assert render(SUBJECT) == EXPECTED


def test_nothing_to_do_says_so() -> None:
    subject = copy.deepcopy(SUBJECT)
    subject.update(nothing_to_do=True, changes=[], parameters={}, images={})
    assert "nothing to change" in render(subject).splitlines()[0]


def test_a_change_of_outputs_only_is_not_nothing() -> None:
    subject = copy.deepcopy(SUBJECT)
    subject["changes"] = []
    assert "no resource changes" in render(subject)
