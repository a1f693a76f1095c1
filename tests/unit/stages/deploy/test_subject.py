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
    found = subject.parameters(PARAMETERS, target, {"Parameters": shown}, None)
    assert found["Plain"] == {"value": "two", "from": "environment"}
    assert found["Ami"] == {"value": "/ami", "resolved": "ami-1", "from": "default"}
    assert set(found["Secret"]) == {"digest", "from"}
    assert "hunter2" not in str(found)
    assert subject.parameters(PARAMETERS, TARGET, None, None)["Plain"] == {"value": "one", "from": "default"}


def test_a_value_that_the_stack_keeps_is_said_to_be_kept() -> None:
    template = read(PARAMETERS.data.replace(b", Default: one", b""), "t.yaml")
    base = {"parameters": {"Plain": "two", "Secret": "****", "Ami": "/ami"}}
    found = subject.parameters(template, TARGET, None, base)
    assert found["Plain"] == {"value": "two", "from": "stack"}
    assert found["Secret"] == {"digest": None, "from": "stack"}  # nobody may see it, so nobody can say which it is
    assert found["Ami"] == {"value": "/ami", "from": "default"}


def nested_change(name: str, arn: str | None) -> dict[str, Any]:
    change = {"Action": "Modify", "LogicalResourceId": name, "ResourceType": subject.STACK}
    return {"Type": "Resource", "ResourceChange": change | ({"ChangeSetId": arn} if arn else {})}


def test_changes_of_nested_stacks_are_known_by_their_path() -> None:
    nested = {
        "arn:1": {"Changes": [resource(), nested_change("Grand", "arn:2")]},
        "arn:2": {"Changes": [resource("Add")]},
    }
    found = subject.normalise([nested_change("Child", "arn:1"), nested_change("Other", None)], nested)
    assert [(each["logical_id"], each["action"], each.get("nested")) for each in found] == [
        ("Child", "Modify", True),
        ("Child/Fn", "Modify", None),
        ("Child/Grand", "Modify", True),
        ("Child/Grand/Fn", "Add", None),
        ("Other", "Modify", False),
    ]
    assert "arn:" not in str(found)


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
    found = subject.Found("CREATE", {"Changes": []}, {"original": "x"}, None)
    made = subject.build(release, TARGET, found)
    assert set(made) == {
        "v",
        "target",
        "release",
        "images",
        "template",
        "parameters",
        "late_bound",
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
        replace(TARGET, service_role="arn:aws:iam::111122223333:role/deploys"),
        replace(TARGET, notification_arns=["arn:aws:sns:eu-central-1:111122223333:told"]),
        replace(TARGET, on_failure="do-nothing"),
        replace(TARGET, on_failure="delete"),
        replace(TARGET, retain_except_on_create=True),
    ]
    subjects = [subject.build(release, target, found) for target in variants]
    for other in subjects:
        assert list(subject.differences(made, other))
    assert len({str(each) for each in subjects}) == len(variants)
    late = subject.build(release, TARGET, replace(found, late_bound={"{{resolve:ssm:/x}}": {"version": "2"}}))
    assert list(subject.differences(made, late)) == ["late_bound.{{resolve:ssm:/x}}"]
    assert subject.build(release, replace(TARGET, environment="renamed"), found) == made


def test_how_it_is_executed() -> None:
    def how(on_failure: Any, way: str = "UPDATE", *, retain: bool = False) -> dict[str, bool]:
        execution = {"on_failure": subject.on_failure(replace(TARGET, on_failure=on_failure), way)}
        return subject.execution({"execution": execution | {"retain_except_on_create": retain}})

    rolls_back = {"disable_rollback": False, "retain_except_on_create": False}
    assert how("rollback") == how("delete") == how("delete", "CREATE") == rolls_back
    assert how("do-nothing") == how("do-nothing", "CREATE") == rolls_back | {"disable_rollback": True}
    assert how("rollback", retain=True) == rolls_back | {"retain_except_on_create": True}
    assert (
        subject.on_failure(replace(TARGET, on_failure="delete"), "UPDATE") == "rollback"
    )  # what stands is not deleted


def test_what_changes_leave_alone() -> None:
    def change(name: str, **more: Any) -> dict[str, Any]:
        return {"logical_id": name, **more}

    changes = [change("Fn"), change("Seen", nested=True), change("Seen/Fn"), change("Unseen", nested=False)]
    functions = dict.fromkeys(["Fn", "Fn2", "Seen/Fn", "Seen/Other", "Unseen/Fn", "Unseen/In/Fn", "Unseen2/Fn"], 1)
    assert sorted(subject.untouched({"changes": changes}, functions)) == ["Fn2", "Seen/Other", "Unseen2/Fn"]
