from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from integration.stages.deploy.releases import write_release

from stages.contract import Target
from stages.deploy import subject
from stages.deploy.release import load
from stages.template.tree import read

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target("staging", "111122223333", "eu-central-1", stack="demo")


def resource(action: str = "Modify", name: str = "Fn", **more: Any) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": name, "ResourceType": "AWS::Lambda::Function", **more}
    return {"Type": "Resource", "ResourceChange": change}


def detail(name: str, cause: str | None = None) -> dict[str, Any]:
    target = {"Attribute": "Properties", "Name": name, "RequiresRecreation": "Never"}
    return {"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification", "CausingEntity": cause}


def test_order_and_chance_leave_no_trace() -> None:
    one = [
        resource(Details=[detail("Code"), detail("Timeout")], Scope=["Tags", "Properties"], PhysicalResourceId="fn-1"),
        resource(name="Other"),
    ]
    two = [
        resource(name="Other"),
        resource(
            Details=[detail("Timeout"), detail("Code"), detail("Code")],
            Scope=["Properties", "Tags"],
            PhysicalResourceId="fn-2",
            ChangeSetId="arn:aws:cloudformation:nested",
        ),
    ]
    assert subject.normalise(one) == subject.normalise(two)
    assert "arn:" not in str(subject.normalise(two))


def test_what_matters_stays() -> None:
    changes = [
        resource(),
        resource("Remove"),
        resource(name="Other"),
        resource(Replacement="True"),
        resource(Scope=["Tags"]),
        resource(PolicyAction="Delete"),
        resource(Details=[detail("Code")]),
        resource(Details=[detail("Code", cause="Parameter")]),
    ]
    normalised = [str(subject.normalise([change])) for change in changes]
    assert len(set(normalised)) == len(changes)


PARAMETERS = read(
    b"""\
Parameters:
  Plain: {Type: String, Default: one}
  Secret: {Type: String, Default: "", NoEcho: true}
  Ami: {Type: "AWS::SSM::Parameter::Value<String>", Default: /ami}
""",
    "t.yaml",
)


def test_parameters_have_the_value_that_counts() -> None:
    target = replace(TARGET, parameters={"Plain": "two", "Secret": "hunter2"})
    shown = [
        {"ParameterKey": "Plain", "ParameterValue": "two"},
        {"ParameterKey": "Secret", "ParameterValue": "hunter2"},  # as the embedded AWS shows it, in clear
        {"ParameterKey": "Ami", "ParameterValue": "/ami", "ResolvedValue": "ami-1"},
    ]
    found = subject.parameters(PARAMETERS, target, {"Parameters": shown})
    assert found["Plain"] == {"value": "two"}
    assert found["Ami"] == {"value": "/ami", "resolved": "ami-1"}
    assert set(found["Secret"]) == {"digest"}
    assert "hunter2" not in str(found)
    assert subject.parameters(PARAMETERS, TARGET, None)["Plain"] == {"value": "one"}


def test_a_secrets_digest_is_its_targets_own() -> None:
    digest = subject.secret_digest(TARGET, "Secret", "hunter2")
    assert digest == subject.secret_digest(replace(TARGET, environment="renamed"), "Secret", "hunter2")
    others = [
        subject.secret_digest(TARGET, "Secret", "hunter3"),
        subject.secret_digest(TARGET, "Other", "hunter2"),
        subject.secret_digest(replace(TARGET, account="444455556666"), "Secret", "hunter2"),
    ]
    assert digest not in others


def test_templates_as_text_and_as_objects() -> None:
    assert subject.template_digest({"b": 1, "a": 2}) == subject.template_digest({"a": 2, "b": 1})
    assert subject.template_digest("a: 1\n") != subject.template_digest("a: 1")
    assert subject.template_digest(None) is None


def test_a_difference_is_named_by_its_path() -> None:
    ours: dict[str, Any] = {"base": {"functions": {"Fn": {"image": "a"}}}, "changes": [1], "release": "r"}
    theirs = copy.deepcopy(ours)
    assert list(subject.differences(ours, theirs)) == []
    theirs["base"]["functions"]["Fn"]["image"] = "b"
    theirs["changes"] = [2]
    theirs["more"] = None
    assert list(subject.differences(ours, theirs)) == ["base.functions.Fn.image", "changes"]


def test_everything_that_people_approve_is_in_it(tmp_path: Path) -> None:
    """A field that fell out of the subject would no longer void an approval."""
    write_release(tmp_path / "release", TARGET, "one")
    release = load(tmp_path / "release")
    made = subject.build(
        release, TARGET, way="CREATE", change_set={"Changes": []}, template={"original": "x"}, base=None
    )
    assert set(made) == {
        "v",
        "target",
        "release",
        "images",
        "template",
        "parameters",
        "changes",
        "nothing_to_do",
        "execution",
        "base",
    }
    variants = [
        replace(TARGET, account="444455556666"),
        replace(TARGET, region="us-east-1"),
        replace(TARGET, partition="aws-cn"),
        replace(TARGET, stack="other"),
        replace(TARGET, tags={"a": "b"}),
        replace(TARGET, capabilities=["CAPABILITY_IAM"]),
    ]
    for target in variants:
        other = subject.build(
            release, target, way="CREATE", change_set={"Changes": []}, template={"original": "x"}, base=None
        )
        assert list(subject.differences(made, other))
    renamed = subject.build(
        release,
        replace(TARGET, environment="renamed"),
        way="CREATE",
        change_set={"Changes": []},
        template={"original": "x"},
        base=None,
    )
    assert renamed == made
