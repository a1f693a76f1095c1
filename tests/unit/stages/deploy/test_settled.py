from __future__ import annotations

from typing import Any

import pytest

from stages.deploy import meaning
from stages.deploy.settled import hidden, settle


def template(properties: Any, **more: Any) -> dict[str, Any]:
    return {
        "Parameters": {
            "Stage": {"Type": "String", "Default": "dev"},
            "Names": {"Type": "CommaDelimitedList"},
            "Key": {"Type": "String", "NoEcho": "true", "Default": "x"},
            "Ami": {"Type": "AWS::SSM::Parameter::Value<String>"},
        },
        "Conditions": {
            "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
            "HasKey": {"Fn::Equals": [{"Ref": "Key"}, "y"]},
        },
        "Resources": {"X": {"Type": "T", "Properties": properties, **more}},
    }


def settled(value: Any, given: dict[str, str] | None) -> Any:
    return settle(template({"P": value}), given)["Resources"]["X"]["Properties"].get("P")


GIVEN = {"Stage": "prod", "Names": "a,b", "Key": "****", "Ami": "ami-1", "AWS::Region": "eu-central-1"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Stage"}, "prod"),
        ({"Ref": "Names"}, ["a", "b"]),
        ({"Ref": "Ami"}, "ami-1"),
        ({"Ref": "AWS::Region"}, "eu-central-1"),
        ({"Ref": "Queue"}, {"Ref": "Queue"}),
        ({"Ref": "Key"}, {"Ref": "Key"}),  # a secret is never put in
        ({"Fn::Sub": "x-${Stage}"}, "x-prod"),
        ({"Fn::Sub": "x-${Stage}-${Queue.Arn}-${Key}"}, {"Fn::Sub": "x-prod-${Queue.Arn}-${Key}"}),
        (
            {"Fn::Sub": ["${AWS::Region}:${A}/${S}", {"A": {"Ref": "Api"}, "S": "*"}]},
            {"Fn::Sub": "eu-central-1:${Api}/*"},
        ),
        ({"Fn::Sub": ["${A}-${Stage}", {"A": {"Ref": "Stage"}}]}, "prod-prod"),
        ({"Fn::Sub": ["${A}", {"A": {"Fn::GetAtt": ["Fn", "Arn"]}}]}, {"Fn::Sub": "${Fn.Arn}"}),
        (
            {"Fn::Sub": ["${Stage}", {"Stage": {"Fn::Split": [",", "a"]}}]},  # it is not the parameter
            {"Fn::Sub": ["${Stage}", {"Stage": {"Fn::Split": [",", "a"]}}]},
        ),
        ({"Fn::If": ["IsProd", ["a"], ["b"]]}, ["a"]),
        ({"Fn::If": ["IsProd", {"Ref": "AWS::NoValue"}, "b"]}, None),
        ([1, {"Fn::If": ["IsProd", {"Ref": "AWS::NoValue"}, "b"]}], [1]),
        ({"Fn::If": ["HasKey", {"Ref": "Stage"}, "b"]}, {"Fn::If": ["HasKey", "prod", "b"]}),
    ],
)
def test_what_is_known_is_put_in(value: Any, expected: Any) -> None:
    assert settled(value, GIVEN) == expected


def test_without_values_nothing_is_decided_though_there_are_defaults() -> None:
    """A nested stack's may be set by the one around it."""
    for value in ({"Ref": "Stage"}, {"Fn::If": ["IsProd", "a", "b"]}):
        assert settled(value, None) == value


def test_a_resource_whose_condition_does_not_hold_is_none() -> None:
    assert settle(template({}, Condition="IsProd"), {"Stage": "dev"})["Resources"] == {}
    assert settle(template({}, Condition="IsProd"), GIVEN)["Resources"]["X"] == {"Type": "T", "Properties": {}}
    undecided = settle(template({}, Condition="HasKey"), GIVEN)["Resources"]["X"]
    assert undecided["Condition"] == "HasKey"
    assert hidden(undecided) == {}


def test_what_is_no_template_stays_as_it_is() -> None:
    assert settle(None, GIVEN) is None
    odd: dict[str, Any] = {"Resources": {"X": 3}, "Conditions": {"A": {"Condition": "A"}}}
    assert settle(odd, {}) == odd


URL = {"Type": "AWS::Lambda::Url", "Properties": {"AuthType": {"Fn::If": ["IsProd", "NONE", "AWS_IAM"]}}}
RIGHT = {"Effect": "Allow", "Action": "s3:*", "Resource": {"Ref": "Stage"}}
ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "Policies": [{"PolicyDocument": {"Statement": [{"Fn::If": ["IsProd", RIGHT, {"Ref": "AWS::NoValue"}]}]}}]
    },
}


def told(before: dict[str, str] | None, after: dict[str, str] | None) -> list[str]:
    """What a change of nothing but parameters means."""
    body = template({}) | {"Resources": {"Url": URL, "Role": ROLE}}
    return meaning.explain([], {"": settle(body, before)}, {"": settle(body, after)})


def test_a_right_that_a_parameter_gives_is_told() -> None:
    """The templates before and after are the same."""
    assert told({"Stage": "dev"}, {"Stage": "prod"}) == [
        "Url (AWS::Lambda::Url): the function's address opens to everybody, without authorization",
        "Role (AWS::IAM::Role): may also s3:* on prod",
    ]
    assert told({"Stage": "prod"}, {"Stage": "prod"}) == told({"Stage": "prod"}, {"Stage": "dev"}) == []


def test_where_nobody_knows_what_a_condition_chooses_the_wider_one_is_told() -> None:
    assert len(told(None, None)) == 2
    assert len(told({"Stage": "dev"}, None)) == 2


def test_what_no_stack_is_made_of_stops_nobody() -> None:
    """CloudFormation refuses it with better words."""
    odd: list[Any] = [
        {"Resources": {"A": {"Type": {"Ref": "X"}, "Properties": {"KeyPolicy": {"Fn::If": []}}}}, "Parameters": []},
        {"Resources": {"A": {"Type": "AWS::IAM::Role", "Properties": {"Policies": {"Fn::If": ["X", 1, None]}}}}},
        {"Resources": {"A": {"Type": "AWS::Lambda::Url", "Properties": []}, "B": None}, "Conditions": "x"},
        [],
    ]
    for before in odd:
        for after in odd:
            meaning.explain([], {"": settle(before, {})}, {"": settle(after, None)})
