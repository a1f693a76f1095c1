"""What is found in AWS against what is recorded."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline import drift

TOKENS = frozenset({"towpath-20261126-010203-abcd-deploy-1"})
IMAGE = "111111111111.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:" + "a" * 64
CURRENT = {
    "release": "sha256:" + "1" * 64,
    "at": "2026-11-26T01:02:30.000Z",
    "functions": {"Hello": {"image": IMAGE}},
}
PROPOSAL = {
    "template": {"original": "sha256:o", "processed": "sha256:p"},
    "parameters": {"Level": {"value": "1"}, "Token": {"digest": "scrypt:aa"}},
    "execution": {"tags": {"application": "demo"}, "service_role": None, "notification_arns": []},
    "nothing_to_do": False,
}
FOUND: dict[str, Any] = {
    "stack": {
        "stack_id": "arn:aws:cloudformation:eu-central-1:111111111111:stack/demo/1",
        "template": {"original": "sha256:o", "processed": "sha256:p"},
        "parameters": {"Level": "1", "Token": "****"},
        "functions": {"Hello": {"image": IMAGE}},
        "tags": {"application": "demo"},
        "service_role": None,
        "notification_arns": [],
    },
    "status": "UPDATE_COMPLETE",
    "last": {"status": "UPDATE_COMPLETE", "at": "2026-11-26T01:02:20+00:00", "token": min(TOKENS)},
    "resources": [],
    "not_asked": [],
}


def compare(proposal: Any = PROPOSAL, current: Any = CURRENT, **changed: Any) -> dict[str, Any]:
    found = copy.deepcopy(FOUND)
    for path, value in changed.items():
        *around, key = path.split("__")
        place = found
        for each in around:
            place = place[each]
        place[key] = value
    return drift.compare(current, proposal, found, TOKENS)


def differs(**changed: Any) -> list[str]:
    return [each["what"] for each in compare(**changed)["differs"]]


def test_what_is_as_recorded() -> None:
    told = compare()
    assert told["differs"] == []
    assert "what CloudFormation's drift detection finds in the resources" in told["asked"]
    assert told["not_asked"] == [{"what": "the value of Token", "why": "it is secret, and nobody is shown it"}]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"stack__template": {"original": "sha256:o", "processed": "sha256:q"}}, ["the processed template"]),
        ({"stack__parameters": {"Level": "2", "Token": "****"}}, ["parameter Level"]),
        ({"stack__parameters": {"Level": "1", "More": "1"}}, ["parameter More"]),
        ({"stack__tags": {}}, ["tag application"]),
        ({"stack__service_role": "arn:aws:iam::1:role/x"}, ["the stack's service role"]),
        ({"stack__notification_arns": ["arn:aws:sns:::x"]}, ["the stack's topics"]),
        ({"stack__functions": {"Hello": {"image": IMAGE[:-1] + "b"}}}, ["the image of Hello"]),
        ({"stack__functions": {"Hello": {"missing": True}}}, ["the image of Hello"]),
        ({"stack__functions": {}}, ["the image of Hello"]),
        ({"stack__functions": {"Hello": {"image": IMAGE}, "New": {"image": IMAGE}}}, ["the image of New"]),
        ({"last__token": "somebody-1"}, ["the stack's last operation"]),
        ({"last__token": None}, ["the stack's last operation"]),
        (
            {"resources": [{"resource": "Q", "type": "AWS::SQS::Queue", "status": "MODIFIED", "properties": ["/A"]}]},
            ["the resource Q (AWS::SQS::Queue)"],
        ),
    ],
)
def test_each_change_outside_is_named(changed: dict[str, Any], what: list[str]) -> None:
    assert differs(**changed) == what


def test_what_an_older_record_says_nothing_of_is_not_compared() -> None:
    older = {**PROPOSAL, "execution": {"tags": {"application": "demo"}}}
    assert compare(older, stack__service_role="arn:aws:iam::1:role/x")["differs"] == []


def test_a_function_of_an_archive_is_said_not_to_be_compared() -> None:
    told = compare(
        current={**CURRENT, "functions": {"Hello": {"image": IMAGE}, "Zip": {"image": None}}},
        stack__functions={"Hello": {"image": IMAGE}, "Zip": {"code_sha256": "x"}},
    )
    assert told["differs"] == []
    assert told["not_asked"][1]["what"] == "the code of Zip"


def test_what_was_there_as_wanted_may_have_been_put_there_by_another() -> None:
    adopted = {**PROPOSAL, "nothing_to_do": True}
    assert compare(adopted, last__token="somebody-1")["differs"] == []
    later = {"status": "UPDATE_COMPLETE", "at": "2026-11-26T01:03:00+00:00", "token": "somebody-1"}
    assert [each["what"] for each in compare(adopted, last=later)["differs"]] == ["the stack's last operation"]


@pytest.mark.parametrize(
    ("current", "stack", "what"),
    [(CURRENT, None, ["the stack"]), (None, FOUND["stack"], ["the stack"]), (None, None, [])],
)
def test_a_stack_that_is_there_or_not_against_the_record(current: Any, stack: Any, what: list[str]) -> None:
    told = compare(PROPOSAL if current else None, current, stack=stack, last__token="somebody-1")
    assert [each["what"] for each in told["differs"]] == what
    assert told["asked"] == ["whether there is a stack"]


def test_what_a_deployment_of_ours_that_failed_has_left_is_nobody_elses_change() -> None:
    told = compare(None, None, status="ROLLBACK_COMPLETE")
    assert told["differs"] == []
    assert "as a deployment that failed has left it: ROLLBACK_COMPLETE" in told["asked"][0]
