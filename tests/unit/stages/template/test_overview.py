from __future__ import annotations

import pytest

from stages import template as templates
from stages.template import overview


def load(text: str) -> templates.Application:
    application, _ = templates.load(lambda _: text.encode(), "template.yaml", {})
    return application


def function(properties: str) -> str:
    return f"Resources:\n  Fn:\n    Type: AWS::Serverless::Function\n    Properties: {{PackageType: Image, {properties}}}\n"


def test_parameters_with_all_that_is_asked_of_them() -> None:
    text = """
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, live], Description: Which one}
  Count: {Type: Number, Default: 010}
  Password: {Type: String, NoEcho: true}
Resources: {}
"""
    found = overview.parameters(templates.read(text.encode(), "template.yaml"))
    assert found == {
        "Stage": overview.Parameter(
            "Stage", "String", "dev", secret=False, allowed=("dev", "live"), description="Which one"
        ),
        "Count": overview.Parameter("Count", "Number", "010", secret=False),
        "Password": overview.Parameter("Password", "String", None, secret=True),
    }


@pytest.mark.parametrize(
    ("uri", "packaged"),
    [
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:" + "a" * 64, True),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:fn-1", True),
        ("fn:latest", False),
        ("images/fn.tar", False),
        ("NOT A NAME", False),
    ],
)
def test_a_template_is_packaged_if_every_image_is_in_a_registry(uri: str, *, packaged: bool) -> None:
    """SAM leaves the Metadata of the build where it was, so that does not count."""
    built = function(f"ImageUri: '{uri}'") + "    Metadata: {Dockerfile: Dockerfile, DockerContext: /somewhere}\n"
    assert overview.is_packaged(load(built)) is packaged


def test_one_that_is_to_be_built_is_not_packaged() -> None:
    built = (
        function("ImageUri: example.com/app:1")
        + "  Other: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}\n"
    )
    assert not overview.is_packaged(load(built))
    assert not overview.is_packaged(load("Resources: {}"))


GET = "Path: /, Method: get"
API = "  MyApi: {Type: AWS::Serverless::Api, Properties: {StageName: Prod, %s}}\n"


@pytest.mark.parametrize(
    ("properties", "rest", "found"),
    [
        (f"Events: {{Get: {{Type: Api, Properties: {{{GET}}}}}}}", "", ["Fn"]),
        (f"Events: {{Get: {{Type: HttpApi, Properties: {{{GET}}}}}}}", "", ["Fn"]),
        (f"Events: {{Get: {{Type: Api, Properties: {{{GET}, Auth: {{ApiKeyRequired: true}}}}}}}}", "", []),
        (
            f"Events: {{Get: {{Type: Api, Properties: {{{GET}}}}}}}",
            "Globals: {Api: {Auth: {DefaultAuthorizer: AWS_IAM}}}\n",
            [],
        ),
        (
            f"Events: {{Get: {{Type: Api, Properties: {{{GET}, RestApiId: !Ref MyApi}}}}}}",
            API % "Auth: {DefaultAuthorizer: AWS_IAM}",
            [],
        ),
        (f"Events: {{Get: {{Type: Api, Properties: {{{GET}, RestApiId: {{Ref: MyApi}}}}}}}}", API % "Cors: x", ["Fn"]),
        (
            f"Events: {{Get: {{Type: Api, Properties: {{{GET}, RestApiId: !Ref MyApi}}}}}}",
            API % "DefinitionBody: {paths: {/: {get: {security: [{key: []}]}}}}",
            [],
        ),
        ("FunctionUrlConfig: {AuthType: NONE}", "", ["Fn Function Url"]),
        ("FunctionUrlConfig: {AuthType: AWS_IAM}", "", []),
        ("Events: {Tick: {Type: Schedule, Properties: {Schedule: rate(1 day)}}}", "", []),
    ],
)
def test_endpoints_that_anybody_may_call(properties: str, rest: str, found: list[str]) -> None:
    text = function(f"ImageUri: app:1, {properties}")
    text = rest + text if rest.startswith("Globals") else text + rest
    assert overview.open_endpoints(load(text)) == found


def test_parameters_that_decide_which_images_there_are() -> None:
    """A stage's own settings are not among them: the same release is deployed to all stages."""
    text = """
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters: {Tag: {Type: String}, Base: {Type: String}, Names: {Type: CommaDelimitedList}, Big: {Type: String}, Table: {Type: String}}
Conditions: {IsBig: !Equals [!Ref Big, yes]}
Resources:
  One: {Type: AWS::Serverless::Function, Properties: {PackageType: Image, ImageUri: !Sub "example.com/one:${Tag}"}}
  Two:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image, Environment: {Variables: {TABLE: !Ref Table}}}
    Metadata: {Dockerfile: Dockerfile, DockerContext: ., DockerBuildArgs: {BASE: !Ref Base}}
  Fn::ForEach::Each:
    - Name
    - !Ref Names
    - "Fn${Name}": {Type: AWS::Serverless::Function, Properties: {PackageType: Image, ImageUri: example.com/x:1}}
"""
    assert overview.deciding(load(text)) == {"Tag", "Base", "Names", "Big"}


DECLARED = """
Parameters:
  Level: {Type: Number, MinValue: 1, MaxValue: 9}
  Levels: {Type: List<Number>, MaxValue: 9}
  Name: {Type: String, MinLength: 3, MaxLength: 5, AllowedPattern: "[a-z]*"}
  Zone: {Type: CommaDelimitedList, AllowedValues: [a, b], MaxLength: 1}
  Mail: {Type: String, AllowedPattern: ".+@.+", ConstraintDescription: An address.}
  Odd: {Type: String, AllowedPattern: "[[:alpha:]"}
  Key: {Type: String, NoEcho: true, MinLength: 8}
  Image: {Type: "AWS::SSM::Parameter::Value<String>", AllowedPattern: "/.*"}
Resources: {}
"""


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("Level", "9", None),
        ("Level", "1e0", None),
        ("Level", "10", ("'10'", "It is at most 9.")),
        ("Level", "0.5", ("'0.5'", "It is at least 1.")),
        ("Level", "abc", ("'abc'", "It is a number.")),
        ("Level", "", ("''", "It is a number.")),
        ("Level", "nan", ("'nan'", "It is a number.")),
        ("Levels", "1, 2", None),
        ("Levels", "1,10", ("'10'", "It is at most 9.")),
        ("Name", "abc", None),
        ("Name", "ab", ("'ab'", "It is at least 3 characters.")),
        ("Name", "abcdef", ("'abcdef'", "It is at most 5 characters.")),
        ("Name", "abc1", ("'abc1'", "It matches [a-z]*")),
        ("Name", "{{resolve:ssm:/name}}", None),
        ("Zone", "a, b", None),
        ("Zone", "a,c", ("'c'", "It allows: a, b.")),
        ("Mail", "ada", ("'ada'", "An address.")),
        ("Odd", "anything", None),
        ("Key", "hunter2", ("the value given", "It is at least 8 characters.")),
        ("Image", "x", None),
    ],
)
def test_what_a_parameter_does_not_allow(name: str, value: str, wrong: tuple[str, str] | None) -> None:
    declared = overview.parameters(templates.read(DECLARED.encode(), "t.yaml"))
    found = declared[name].wrong(value)
    assert ((found.value, found.allows) if found else None) == wrong
