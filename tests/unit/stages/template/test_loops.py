from __future__ import annotations

import json

import pytest
import yaml

from stages.contract import InvalidInput
from stages.template import Application, Slot, Value, load, packaged
from stages.template.application import assemble
from stages.template.resolve import resolve
from stages.template.resources import find
from stages.template.tree import read

LOOP = """\
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Names: {Type: CommaDelimitedList, Default: "alpha,beta"}
Resources:
  Fn::ForEach::Functions:
    - Name
    - !Ref Names   # one for each
    - ${Name}Function:
        Type: AWS::Serverless::Function
        Properties:
          PackageType: Image
        Metadata:
          Dockerfile: Dockerfile
          DockerContext: ./functions/${Name}
          DockerBuildArgs: {NAME: !Ref Name, ALSO: !Sub "x-${Name}"}
"""


def _load(text: str, **parameters: str) -> tuple[Application, list[str]]:
    application, problems = load(lambda _: text.encode(), "t.yaml", parameters)
    return application, [str(problem) for problem in problems]


def _packaged(application: Application, images: dict[str, str]) -> str:
    values: dict[Slot, Value] = {function.slot: images[function.id] for function in application.functions}
    return packaged(application, "", values).decode()


def _images(text: str, parameters: dict[str, str] | None = None) -> dict[str, object]:
    """What the functions of a packaged template come to, as CloudFormation would have it."""
    (stack,) = assemble({"": read(text.encode(), "p.yaml")}, parameters or {}).values()
    nodes = {each.id: (find(each.node, ("Properties", "ImageUri")), each.scope) for each in stack.resources}
    return {name: resolve(node, scope) for name, (node, scope) in nodes.items() if node is not None}


def test_a_loop_makes_a_function_for_each_item_with_its_variable_put_in() -> None:
    application, problems = _load(LOOP)
    assert problems == []
    assert [(function.id, function.path) for function in application.functions] == [
        (f"{name}Function", ("Resources", "Fn::ForEach::Functions", 2, "${Name}Function")) for name in ("alpha", "beta")
    ]
    images = [function.image for function in application.functions]
    assert [(image.context, image.build_args) for image in images] == [  # type: ignore[union-attr]
        (f"./functions/{name}", {"NAME": name, "ALSO": f"x-{name}"}) for name in ("alpha", "beta")
    ]


def test_items_are_those_that_the_stage_states() -> None:
    application, _ = _load(LOOP, Names="one, two,three")
    assert [function.id for function in application.functions] == ["oneFunction", "twoFunction", "threeFunction"]


def test_each_item_finds_its_own_image_in_a_mapping() -> None:
    application, _ = _load(LOOP)
    text = _packaged(application, {"alphaFunction": "r/a@sha256:1", "betaFunction": "r/b@sha256:2"})
    mapping = "{FunctionsNameFunctionImageUri: {alpha: {Value: r/a@sha256:1}, beta: {Value: r/b@sha256:2}}}"
    found = "{Fn::FindInMap: [FunctionsNameFunctionImageUri, {Ref: Name}, Value]}"
    assert text == LOOP.replace("Resources:", f"Mappings: {mapping}\nResources:").replace(
        "          PackageType", f"          ImageUri: {found}\n          PackageType"
    )
    assert _images(text) == {"alphaFunction": "r/a@sha256:1", "betaFunction": "r/b@sha256:2"}


def test_items_that_share_an_image_have_it_written_out() -> None:
    application, _ = _load(LOOP)
    text = _packaged(application, {"alphaFunction": "r/a@sha256:1", "betaFunction": "r/a@sha256:1"})
    assert "Mappings" not in text
    assert "          ImageUri: r/a@sha256:1\n" in text


def test_a_template_with_mappings_keeps_them_and_no_name_is_taken_twice() -> None:
    text = "Mappings:\n  FunctionsNameFunctionImageUri: {a: {b: c}}\n" + LOOP
    application, _ = _load(text)
    done = _packaged(application, {"alphaFunction": "r/a@sha256:1", "betaFunction": "r/b@sha256:2"})
    assert yaml.safe_load(done.partition("Transform")[0]) == {
        "Mappings": {
            "FunctionsNameFunctionImageUri": {"a": {"b": "c"}},
            "FunctionsNameFunctionImageUri2": {
                "alpha": {"Value": "r/a@sha256:1"},
                "beta": {"Value": "r/b@sha256:2"},
            },
        }
    }
    assert _images(done)["betaFunction"] == "r/b@sha256:2"


def test_loops_in_loops_look_up_by_both_variables() -> None:
    text = """\
Transform: AWS::LanguageExtensions
Resources:
  Fn::ForEach::Stages:
    - Stage
    - [dev, qa]
    - Fn::ForEach::Names:
        - Name
        - [1, b]
        - F${Stage}${Name}:
            Type: AWS::Lambda::Function
            Properties: {PackageType: Image, Code: {ImageUri: x}}
            Metadata: {Dockerfile: Dockerfile, DockerContext: "${Stage}/${Name}"}
"""
    application, problems = _load(text)
    assert problems == []
    assert [function.id for function in application.functions] == ["Fdev1", "Fdevb", "Fqa1", "Fqab"]
    done = _packaged(application, {name: f"r/{name.lower()}@sha256:1" for name in ("Fdev1", "Fdevb", "Fqa1", "Fqab")})
    assert "Code: {ImageUri: {Fn::FindInMap: [StagesNamesFStageNameCodeImageUri, {Ref: Stage}, {Ref: Name}]}}" in done
    assert 'dev: {"1": r/fdev1@sha256:1, b: r/fdevb@sha256:1}' in done


def test_only_the_variable_that_decides_is_looked_up() -> None:
    application, _ = _load(
        "Transform: AWS::LanguageExtensions\n"
        "Resources:\n"
        "  Fn::ForEach::A: [A, [x_1, y_1], {'Fn::ForEach::B': [B, [m, n], {'F${A}${B}': {\n"
        "    Type: AWS::Serverless::Function, Properties: {PackageType: Image},\n"
        "    Metadata: {Dockerfile: d, DockerContext: '${B}'}}}]}]\n".replace("_", "")
    )
    images = {function.id: f"r/{function.id[-1]}@sha256:1" for function in application.functions}
    done = _packaged(application, images)
    assert "{Ref: B}, Value]" in done
    assert "{Ref: A}" not in done


def test_uploads_of_several_parts_are_looked_up_part_by_part() -> None:
    application, _ = _load(LOOP)
    alpha, beta = (function.slot for function in application.functions)
    values: dict[Slot, Value] = {
        alpha: {"S3Bucket": "b", "S3Key": "k1"},
        beta: {"S3Bucket": "b", "S3Key": "k2"},
    }
    done = packaged(application, "", values).decode()
    assert "ImageUri: {S3Bucket: b, S3Key: {Fn::FindInMap: [FunctionsNameFunctionImageUriS3Key" in done


def test_a_loop_in_json() -> None:
    body = {
        "F${N}": {
            "Type": "AWS::Serverless::Function",
            "Properties": {"PackageType": "Image"},
            "Metadata": {"Dockerfile": "d", "DockerContext": "${N}"},
        }
    }
    document = {"Transform": "AWS::LanguageExtensions", "Resources": {"Fn::ForEach::L": ["N", ["a", "b"], body]}}
    text = json.dumps(document, indent=1)
    application, _ = _load(text)
    done = json.loads(_packaged(application, {"Fa": "r/a@sha256:1", "Fb": "r/b@sha256:2"}))
    assert done["Mappings"] == {"LFNImageUri": {"a": {"Value": "r/a@sha256:1"}, "b": {"Value": "r/b@sha256:2"}}}
    properties = done["Resources"]["Fn::ForEach::L"][2]["F${N}"]["Properties"]
    assert properties["ImageUri"] == {"Fn::FindInMap": ["LFNImageUri", {"Ref": "N"}, "Value"]}


def test_items_that_cannot_be_keys_of_a_mapping_are_refused() -> None:
    application, problems = _load(LOOP.replace("${Name}Function", "F&{Name}"), Names="a_b,c/d")
    assert problems == []
    assert [function.id for function in application.functions] == ["Fab", "Fcd"]
    with pytest.raises(InvalidInput, match="'a_b' cannot be a key of the mapping"):
        _packaged(application, {"Fab": "r/a@sha256:1", "Fcd": "r/b@sha256:2"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AWS::LanguageExtensions, ", "", "needs the transform AWS::LanguageExtensions"),
        ("!Ref Names", "!Ref Bucket", "makes functions or stacks, and its items are not known: Bucket is no parameter"),
        ("!Ref Names", "alpha", "the items of Fn::ForEach::Functions are not a list of texts"),
        ("!Ref Names", "[a_b]", "'a_bFunction' cannot be a logical id"),
        ("${Name}Function", "SameFunction", "there is a second resource SameFunction"),
        ("    - Name\n", "", "Fn::ForEach::Functions is not a loop"),
    ],
)
def test_loops_that_cannot_be_followed_are_refused_not_skipped(old: str, new: str, message: str) -> None:
    assert message in "\n".join(_load(LOOP.replace(old, new, 1))[1])


def test_a_loop_of_other_things_with_unknown_items_is_left_alone() -> None:
    text = LOOP.replace("!Ref Names", "!Ref Bucket").replace("AWS::Serverless::Function", "AWS::SNS::Topic")
    assert _load(text)[1] == []


def test_loops_that_multiply_are_bounded() -> None:
    items = "[" + ", ".join(f"a{at}" for at in range(100)) + "]"
    text = "Transform: AWS::LanguageExtensions\nResources: {'Fn::ForEach::A': [A, %s, {'Fn::ForEach::B': [B, %s, {'${A}${B}': {}}]}]}"
    assert "more than 1,000 resources" in _load(text % (items, items))[1][0]
