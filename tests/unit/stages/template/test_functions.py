from __future__ import annotations

import textwrap

import pytest

from stages.template import BuiltImage, Function, load

GOOD = """\
Globals:
  Function:
    Timeout: 3
Resources:
  HelloWorldFunction:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Environment:
        Variables: {NAME: !Ref Name}
    Metadata:
      DockerTag: python3.11-v1
      DockerContext: ./hello
      Dockerfile: Dockerfile
      DockerBuildArgs: {V: 3, ON: on, LEADING: 010, EMPTY: "", Q: 'x y'}
      DockerBuildTarget: last
  Plain:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Architectures: [arm64]
      Code: {ImageUri: x}
    Metadata: {Dockerfile: sub/Dockerfile, DockerContext: .}
  Topic:
    Type: AWS::SNS::Topic
"""

ONE = """\
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
{properties}
    Metadata:
      Dockerfile: Dockerfile
      DockerContext: .
{metadata}
"""


def _read(text: str) -> tuple[list[Function], list[str]]:
    application, problems = load(lambda _: text.encode(), "t.yaml", {})
    return application.functions, [str(problem) for problem in problems]


def _one(properties: str = "", metadata: str = "") -> tuple[list[Function], list[str]]:
    indent = " " * 6
    return _read(
        ONE.format(
            properties=textwrap.indent(textwrap.dedent(properties), indent),
            metadata=textwrap.indent(textwrap.dedent(metadata), indent),
        )
    )


def test_image_functions_are_found_with_what_their_metadata_says() -> None:
    found, problems = _read(GOOD)
    assert problems == []
    assert found == [
        Function(
            id="HelloWorldFunction",
            stack="",
            path=("Resources", "HelloWorldFunction"),
            type="AWS::Serverless::Function",
            platform="linux/amd64",
            image=BuiltImage(
                dockerfile="Dockerfile",
                context="./hello",
                tag="python3.11-v1",
                build_args={"V": "3", "ON": "on", "LEADING": "010", "EMPTY": "", "Q": "x y"},
                target="last",
            ),
        ),
        Function(
            id="Plain",
            stack="",
            path=("Resources", "Plain"),
            type="AWS::Lambda::Function",
            platform="linux/arm64",
            image=BuiltImage(dockerfile="sub/Dockerfile", context="."),
        ),
    ]


def test_architectures_come_from_globals_unless_they_are_ignored() -> None:
    text = "Globals: {Function: {Architectures: [arm64]}}\n" + GOOD.partition("    Timeout: 3\n")[2]
    assert _read(text)[0][0].platform == "linux/arm64"
    ignoring = text.replace("    Properties:", "    IgnoreGlobals: [Architectures]\n    Properties:", 1)
    assert _read(ignoring)[0][0].platform == "linux/amd64"


@pytest.mark.parametrize(
    ("properties", "metadata", "message"),
    [
        ("Architectures: [x86_64, arm64]", "", "t.yaml:6:22: Fn: a function has one architecture, and here are 2"),
        ("Architectures: [riscv]", "", "must be a list of x86_64 or arm64"),
        ("Architectures: !Ref A", "", "Architectures cannot be told: A is no parameter"),
        ("", "DockerTag: foo:bar", "t.yaml:10:18: Fn: DockerTag 'foo:bar' is not a tag"),
        (
            "",
            "DockerTag: !Ref Tag",
            "DockerTag cannot be told: Tag is no parameter, so it is known only when the stack is deployed",
        ),
        ("", "DockerBuildArgs: [1]", "DockerBuildArgs must be a mapping"),
        ("", "DockerBuildArgs: {A: }", "the build argument A has no value"),
        ("", "DockerBuildArgs: {A: {B: 1}}", "the build argument A cannot be told: it must be a string"),
        ("", "DockerBuildExtraParams: --secret", "DockerBuildExtraParams must be a list of strings"),
        ("", "DockerBuildExtraParams: [[x]]", "DockerBuildExtraParams must be a list of strings"),
        ("", "DockerBuildExtraParams:", "DockerBuildExtraParams has no value"),
        ("", "DockerBuildArgs: !Ref AWS::Region", "DockerBuildArgs cannot be told: AWS::Region is known only when"),
        ("", "DockerBuildArgs: !Join [a, [b]]", "DockerBuildArgs must be a mapping"),
        ("", "DockerTag: !Ref AWS::NoValue", "DockerTag has no value"),
        ("", "DockerImage: a:b", "t.yaml:10:20: Fn: DockerImage 'a:b' is no image's name"),
        ("", "SkipBuild: 3", "SkipBuild is '3', and must be true or false"),
    ],
)
def test_mistakes_have_a_place(properties: str, metadata: str, message: str) -> None:
    found, problems = _one(properties, metadata)
    assert found == []
    assert len(problems) == 1
    assert message in problems[0]


def test_all_mistakes_are_told_at_once() -> None:
    _, problems = _read(
        "Globals: {Function: {PackageType: Image}}\n"
        "Resources:\n"
        "  A: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}\n"
        "  B: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {DockerFile: x}}\n"
        "  C: {Type: AWS::Serverless::Function, Metadata: {Dockerfile: x}}\n"
        "  D: {Type: AWS::Serverless::Function, Properties: {ImageUri: x:1}}\n"
    )
    assert [problem.splitlines()[0] for problem in problems] == [
        "t.yaml:1:22: PackageType cannot stand in Globals: SAM refuses it there",
        "t.yaml:3:3: A: an image function needs Metadata that says how to build its image, or an ImageUri",
        "t.yaml:4:3: B: its Metadata lacks Dockerfile",
        "t.yaml:4:3: B: its Metadata lacks DockerContext",
        "t.yaml:5:3: C: it has a Dockerfile, but is not of PackageType Image",
        "t.yaml:6:3: D: it has an ImageUri, but is not of PackageType Image",
    ]
    assert "Did you mean Dockerfile where it says DockerFile?" in problems[2]


def test_a_zip_function_whose_code_is_in_s3_is_left_alone() -> None:
    text = "Resources: {A: {Type: AWS::Serverless::Function, Properties: {CodeUri: s3://b/k}}}\n"
    assert _read(text) == ([], [])


def test_a_template_without_resources_is_a_problem() -> None:
    assert "no Resources" in _read("Description: x\n")[1][0]


@pytest.mark.parametrize("text", ["Resources: [a]", "Resources: x", "Resources:"])
def test_resources_that_are_no_map(text: str) -> None:
    assert _read(text)[1][0].splitlines()[0].endswith(": Resources must be a map")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Pïng", "t.yaml:2:3: 'Pïng' cannot be a logical id"),
        ("my-fn", "t.yaml:2:3: 'my-fn' cannot be a logical id"),
        ("my_fn", "t.yaml:2:3: 'my_fn' cannot be a logical id"),
        ("٣", "t.yaml:2:3: '٣' cannot be a logical id"),
        ('""', "t.yaml:2:3: '' cannot be a logical id"),
        ('"A\\n"', "t.yaml:2:3: 'A\\n' cannot be a logical id"),
        ("A" * 256, f"t.yaml:2:3: '{'A' * 60}... (256 characters)' cannot be a logical id"),
        ("[a]", "t.yaml:2:3: a logical id must be a text"),
        ("123", "t.yaml:2:3: the logical id 123 is no text in YAML but a number, a boolean or null"),
        ("0x1F", "t.yaml:2:3: the logical id 0x1F is no text in YAML but a number, a boolean or null"),
        ("Null", "t.yaml:2:3: the logical id Null is no text in YAML but a number, a boolean or null"),
        ("On", "t.yaml:2:3: the logical id On is no text in YAML but a number, a boolean or null"),
    ],
)
def test_logical_ids_are_those_that_cloudformation_takes(key: str, message: str) -> None:
    """It would refuse them only once every image is built and pushed."""
    found, problems = _read(f"Resources:\n  {key}: {{Type: AWS::SNS::Topic}}\n")
    assert found == []
    assert [problem.splitlines()[0] for problem in problems] == [message]


@pytest.mark.parametrize("key", ['"123"', "A1", "1A", "x" * 255, "Fn::Transform"])
def test_odd_logical_ids_that_are_right(key: str) -> None:
    assert _read(f"Resources:\n  {key}: {{Type: AWS::SNS::Topic}}\n") == ([], [])


def test_a_resource_that_is_no_map() -> None:
    assert _read("Resources: {A: x, B: [y], 'Fn::ForEach::L': [N, [A], {}]}")[1][0].startswith(
        "t.yaml:1:16: A: a resource"
    )


RESOLVED = """\
Parameters:
  Stage: {Type: String, Default: dev}
  Type: {Type: String, Default: Image}
  Chips: {Type: CommaDelimitedList, Default: arm64}
Conditions: {IsProd: !Equals [!Ref Stage, prod]}
Mappings: {Args: {dev: {level: debug}, prod: {level: warn}}}
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {PackageType: !Ref Type, Architectures: !Ref Chips, ImageUri: !GetAtt Anything.Uri}
    Metadata:
      Dockerfile: !If [IsProd, Dockerfile.prod, Dockerfile]
      DockerContext: !Join [/, [src, !Ref Stage]]
      DockerBuildArgs: !If [IsProd, {A: "1"}, {A: 2, LEVEL: !FindInMap [Args, !Ref Stage, level]}]
      DockerBuildExtraParams: !If [IsProd, [], [--label, "x=y"]]
      DockerBuildTarget: !Sub "${Stage}-target"
"""


def test_everything_that_says_how_to_build_may_be_an_intrinsic_function() -> None:
    (function,), problems = _read(RESOLVED)
    assert problems == []
    assert function.platform == "linux/arm64"
    assert function.image == BuiltImage(
        "Dockerfile",
        "src/dev",
        build_args={"A": "2", "LEVEL": "debug"},
        target="dev-target",
        extra_params=("--label", "x=y"),
    )


def test_a_function_that_a_parameter_makes_no_image_function_is_none() -> None:
    found, problems = _read(RESOLVED.replace("Default: Image", "Default: Zip"))
    assert found == []
    assert problems[0].startswith("t.yaml:8:3: Fn: it has a Dockerfile, but is not of PackageType Image")
