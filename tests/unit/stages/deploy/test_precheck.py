from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.deploy import precheck
from stages.template import assemble, read

if TYPE_CHECKING:
    from stages.contract import Problem

SAM = "Transform: AWS::Serverless-2016-10-31\n"
FUNCTION = "Fn: {Type: 'AWS::Serverless::Function', Properties: {Role: x}}"


def problems(
    text: str, parameters: dict[str, str] | None = None, capabilities: list[str] | None = None
) -> list[Problem]:
    stacks = assemble({"": read(text.encode(), "t.yaml")}, {})
    return precheck.check(stacks, "staging", parameters or {}, capabilities or [])


def resources(*lines: str) -> str:
    return "Resources:\n" + "".join(f"  {line}\n" for line in lines)


# Capabilities


@pytest.mark.parametrize(
    ("text", "stated", "wanted"),
    [
        (resources("R: {Type: 'AWS::IAM::Role'}"), [], "capabilities: [CAPABILITY_IAM]"),
        (resources("R: {Type: 'AWS::IAM::Policy', Properties: {PolicyName: p}}"), [], "capabilities: [CAPABILITY_IAM]"),
        (
            resources("R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r}}"),
            ["CAPABILITY_IAM"],
            "capabilities: [CAPABILITY_IAM, CAPABILITY_NAMED_IAM]",
        ),
        (SAM + resources("F: {Type: 'AWS::Serverless::Function'}"), [], "capabilities: [CAPABILITY_IAM]"),
        (
            SAM + resources("Fn::ForEach::L: [N, [a], {'F${N}': {Type: 'AWS::Serverless::Function'}}]"),
            [],
            "capabilities: [CAPABILITY_IAM]",
        ),
        (
            SAM + resources("A: {Type: 'AWS::Serverless::Application'}", "R: {Type: 'AWS::IAM::Role'}"),
            [],
            "capabilities: [CAPABILITY_AUTO_EXPAND, CAPABILITY_IAM]",
        ),
        (
            resources("R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r}}", "S: {Type: 'AWS::IAM::Role'}"),
            [],
            "capabilities: [CAPABILITY_NAMED_IAM]",
        ),
        (
            "Globals: {Function: {Role: r, DeploymentPreference: {Type: Canary10Percent5Minutes}}}\n"
            + SAM
            + resources(FUNCTION),
            [],
            "capabilities: [CAPABILITY_IAM]",
        ),
        (
            SAM
            + resources(
                "F: {Type: 'AWS::Serverless::Function', Properties: {Role: x, Events: {E: {Type: ScheduleV2}}}}"
            ),
            [],
            "capabilities: [CAPABILITY_IAM]",
        ),
        (
            SAM + resources("F: {Type: 'AWS::Serverless::Function', Connectors: {C: {}}, Properties: {Role: x}}"),
            [],
            "capabilities: [CAPABILITY_IAM]",
        ),
    ],
)
def test_a_capability_needed_but_not_stated(text: str, stated: list[str], wanted: str) -> None:
    hints = {problem.hint for problem in problems(text, capabilities=stated)}
    assert hints == {f"Add to the environment staging: `{wanted}`"}


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        (resources("R: {Type: 'AWS::IAM::Role'}"), ["CAPABILITY_IAM"]),
        (resources("R: {Type: 'AWS::IAM::Role'}"), ["CAPABILITY_NAMED_IAM"]),
        (resources("R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r}}"), ["CAPABILITY_NAMED_IAM"]),
        (SAM + resources(FUNCTION), []),  # the macro alone needs none for a change set
        (SAM + "Globals: {Function: {Role: r}}\n" + resources("F: {Type: 'AWS::Serverless::Function'}"), []),
    ],
)
def test_capabilities_that_suffice(text: str, stated: list[str]) -> None:
    assert problems(text, capabilities=stated) == []


def test_the_place_is_that_of_the_resource() -> None:
    [problem] = problems("Resources:\n  Queue: {Type: 'AWS::SQS::Queue'}\n  Role:\n    Type: AWS::IAM::Role\n")
    assert problem.where == "t.yaml:3:3"


# Parameters

PARAMETERS = """\
Parameters:
  Stage: {Type: String, AllowedValues: [dev, prod]}
  Size: {Type: Number, Default: 1, AllowedValues: [1, 2]}
  Zones: {Type: CommaDelimitedList, Default: "", AllowedValues: [a, b]}
  Key: {Type: String, NoEcho: true, Default: x, AllowedValues: [x]}
  Image: {Type: "AWS::SSM::Parameter::Value<String>", Default: /x, AllowedValues: [/x]}
Resources: {}
"""


def test_parameters_as_they_should_be() -> None:
    assert problems(PARAMETERS, {"Stage": "dev", "Size": "2", "Zones": "a, b"}) == []


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"Stage": "dev", "Sise": "1"}, "sets the parameter Sise, which the template does not", "Did you mean Size?"),
        ({"Stage": "dev", "Zzz": "1"}, "sets the parameter Zzz", "Its parameters are Stage, Size, Zones, Key, Image."),
        ({"Stage": "test"}, "the parameter Stage does not allow 'test'", "It allows: dev, prod."),
        ({"Stage": "dev", "Zones": "a,c"}, "the parameter Zones does not allow 'c'", "It allows: a, b."),
    ],
)
def test_parameters_as_they_should_not_be(given: dict[str, str], message: str, hint: str) -> None:
    [problem] = problems(PARAMETERS, given)
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_a_secret_that_is_not_allowed_is_not_shown() -> None:
    [problem] = problems(PARAMETERS, {"Stage": "dev", "Key": "hunter2"})
    assert "hunter2" not in str(problem)


# References


@pytest.mark.parametrize(
    "text",
    [
        "!Ref Queue",
        "!GetAtt Queue.Arn",
        "{'Fn::GetAtt': [Queue, Arn]}",
        "!Sub 'x-${Queue}-${Queue.Arn}-${AWS::Region}-${!Literal}-${Name}'",
        "!Sub ['${Own}-${Queue}', {Own: !Ref Name}]",
        "!Ref AWS::NoValue",
        "!Join ['', [!Ref Name, {Ref: Queue}]]",
        "{Reference: Nothing, Ref: x, other: y}",  # three keys: not the function Ref
    ],
)
def test_references_that_hold(text: str) -> None:
    template = "Parameters: {Name: {Type: String, Default: x}}\n"
    assert problems(template + resources("Queue: {Type: 'AWS::SQS::Queue'}", f"X: {{Type: T, P: {text}}}")) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("!Ref Quue", "Quue"),
        ("{Ref: Quue}", "Quue"),
        ("!GetAtt Quue.Arn", "Quue"),
        ("{'Fn::GetAtt': [Quue, Arn]}", "Quue"),
        ("!GetAtt Name.Arn", "Name"),  # a parameter has no attributes
        ("!Sub '${Quue}'", "Quue"),
        ("!Sub '${Name.Arn}'", "Name"),
        ("!Sub ['${Own}-${Quue}', {Own: x}]", "Quue"),
        ("!Sub ['${Own}', {Own: !Ref Quue}]", "Quue"),
        ("!If [Yes, !Ref Quue, !Ref AWS::NoValue]", "Quue"),
    ],
)
@pytest.mark.parametrize("section", ["Resources", "Outputs"])
def test_references_to_nothing(section: str, text: str, name: str) -> None:
    template = "Parameters: {Name: {Type: String, Default: x}}\n" + resources("Queue: {Type: 'AWS::SQS::Queue'}")
    template += f"  X: {{Type: T, P: {text}}}\n" if section == "Resources" else f"Outputs: {{X: {{Value: {text}}}}}\n"
    [problem] = problems(template)
    assert f"{name!r} is not the name of a resource" in problem.message
    assert problem.line == 4
    if name == "Quue":
        assert problem.hint == "Did you mean Queue?"


@pytest.mark.parametrize(
    "text",
    [
        "!Ref ServerlessRestApi",
        "!Ref ServerlessRestApiProdStage",
        "!GetAtt ServerlessHttpApi.ApiEndpoint",
        "!GetAtt FnRole.Arn",
        "!Ref Fn.Version",
        "!Ref FnAliaslive",
        "!Sub '${FnHelloPermissionProd}'",
        "!Sub 'https://${ServerlessRestApi}.execute-api.${AWS::Region}.amazonaws.com/Prod/hello/'",
    ],
)
def test_what_sam_makes_is_not_refused(text: str) -> None:
    outputs = f"Outputs: {{X: {{Value: {text}}}}}\n"
    assert problems(SAM + resources(FUNCTION) + outputs) == []
    assert (
        problems(resources(FUNCTION) + outputs) == [] or "Fn.Version" in text or problems(resources(FUNCTION) + outputs)
    )


def test_without_sam_its_names_are_unknown() -> None:
    [problem] = problems(resources("Q: {Type: 'AWS::SQS::Queue'}") + "Outputs: {X: {Value: !Ref ServerlessRestApi}}\n")
    assert "ServerlessRestApi" in problem.message


@pytest.mark.parametrize(
    "head",
    ["Transform: MyMacro\n", "Transform: [AWS::Serverless-2016-10-31, AWS::LanguageExtensions]\n"],
)
def test_where_another_macro_may_add_names_none_is_refused(head: str) -> None:
    assert problems(head + resources(FUNCTION) + "Outputs: {X: {Value: !Ref FromTheMacro}}\n") == []


def test_an_include_may_add_names_too() -> None:
    include = "'Fn::Transform': {Name: 'AWS::Include', Parameters: {Location: s3://b/k}}"
    assert problems(resources(include, "X: {Type: T, P: !Ref Included}")) == []


def test_depends_on_nothing() -> None:
    [problem] = problems(resources("Queue: {Type: T}", "X: {Type: T, DependsOn: [Queue, Qeue]}"))
    assert (problem.message, problem.hint) == ("DependsOn names 'Qeue', which is no resource", "Did you mean Queue?")


def test_all_problems_at_once() -> None:
    text = PARAMETERS.replace("Resources: {}", resources("R: {Type: 'AWS::IAM::Role', P: !Ref Nothing}"))
    assert len(problems(text, {"Other": "x"})) == 3


def test_a_resource_of_sams_needs_its_macro() -> None:
    """CloudFormation would tell of a nested template only when the stack is half made."""
    (problem,) = problems(resources(FUNCTION, "Api: {Type: 'AWS::Serverless::Api'}"))
    assert (
        problem.message == "Fn is an AWS::Serverless::Function, and the template does not name the macro that knows it"
    )
    assert problem.where == "t.yaml:2:3"
    assert problems("Transform: MyOwn\n" + resources(FUNCTION)) == []
    (nested_problem,) = nested(resources(FUNCTION))
    assert nested_problem.startswith("nested/Child.yaml:2:3: Fn is an AWS::Serverless::Function")


# Nested templates


def nested(child: str, parameters: str = "{}", capabilities: list[str] | None = None) -> list[str]:
    parent = (
        "Resources: {Child: {Type: AWS::CloudFormation::Stack, "
        f"Properties: {{TemplateURL: https://x, Parameters: {parameters}}}}}}}"
    )
    stacks = assemble({"": read(parent.encode(), "t.yaml"), "Child": read(child.encode(), "nested/Child.yaml")}, {})
    return [str(problem).partition("\n")[0] for problem in precheck.check(stacks, "staging", {}, capabilities or [])]


def test_a_nested_templates_capabilities_and_names_are_looked_at() -> None:
    assert nested(resources("R: {Type: 'AWS::IAM::Role', Properties: {X: !Ref Nobody}}")) == [
        "nested/Child.yaml:2:3: R is an AWS::IAM::Role, which needs CAPABILITY_IAM",
        "nested/Child.yaml:2:47: 'Nobody' is not the name of a resource or a parameter of this template",
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{}", "nested/Child.yaml:1:17: the parameter A has no default, and the template around it does not set it"),
        ("{A: 1, C: 2}", "nested/Child.yaml:1:1: Child is given the parameter C, which its template does not have"),
        ("{A: !Ref AWS::Region}", None),
        ("!If [X, {A: 1}, {A: 2}]", None),
    ],
)
def test_a_nested_templates_parameters_come_from_the_template_around_it(parameters: str, message: str | None) -> None:
    child = "Parameters: {A: {Type: String}, B: {Type: String, Default: b}}\n" + resources("T: {Type: X}")
    assert nested(child, parameters) == ([message] if message else [])


@pytest.mark.parametrize(("value", "allowed"), [("2", True), ("3", False), ("!GetAtt Some.Thing", True)])
def test_a_nested_templates_parameters_are_what_it_allows_as_far_as_they_are_written_out(
    value: str, *, allowed: bool
) -> None:
    child = "Parameters: {Size: {Type: Number, MaxValue: 2}}\n" + resources("T: {Type: X}")
    found = [each for each in nested(child, f"{{Size: {value}}}") if "Some" not in each]
    assert found == (
        []
        if allowed
        else ["nested/Child.yaml:1:20: the parameter Size does not allow '3', which the template around it sets"]
    )


def test_a_macro_in_a_nested_template_needs_a_capability_and_all_are_in_one_line() -> None:
    parent = "Resources: {Child: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: https://x}}, R: {Type: AWS::IAM::Role}}"
    child = "Transform: AWS::LanguageExtensions\n" + resources("Q: {Type: 'AWS::SQS::Queue'}")
    stacks = assemble({"": read(parent.encode(), "t.yaml"), "Child": read(child.encode(), "nested/Child.yaml")}, {})
    one, two = precheck.check(stacks, "staging", {}, [])
    assert one.message == "R is an AWS::IAM::Role, which needs CAPABILITY_IAM"
    assert two.message == "a nested template uses AWS::LanguageExtensions, which needs CAPABILITY_AUTO_EXPAND"
    assert (two.file, two.line) == ("nested/Child.yaml", 1)
    line = "Add to the environment staging: `capabilities: [CAPABILITY_IAM, CAPABILITY_AUTO_EXPAND]`"
    assert one.hint == two.hint == line
    assert precheck.check(stacks, "staging", {}, ["CAPABILITY_AUTO_EXPAND", "CAPABILITY_IAM"]) == []
