from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.contract import InvalidInput
from stages.limits import LIMITS
from stages.template import Application, BuiltImage, Slot, Unreadable, Value, artifacts, innermost_first, load, packaged

if TYPE_CHECKING:
    from collections.abc import Mapping

FUNCTION = """\
  {name}:
    Type: AWS::Serverless::Function
    Properties: {{PackageType: Image}}
    Metadata: {{Dockerfile: Dockerfile, DockerContext: app, DockerTag: v1}}
"""
NESTED = "  {name}: {{Type: AWS::Serverless::Application, Properties: {{Location: {location}}}}}\n"


def template(*names: str, **nested: str) -> str:
    parts = [FUNCTION.format(name=name) for name in names]
    parts += [NESTED.format(name=name, location=location) for name, location in nested.items()]
    return "Resources:\n" + "".join(parts)


def read(files: Mapping[str, str], root: str = "t.yaml", **parameters: str) -> tuple[Application, list[str]]:
    def reader(file: str) -> bytes:
        if file not in files:
            raise Unreadable("does not exist")
        return files[file].encode()

    application, problems = load(reader, root, parameters)
    return application, [str(problem).partition("\n")[0] for problem in problems]


def test_functions_of_nested_templates_are_known_by_their_full_path() -> None:
    application, problems = read(
        {
            "app/t.yaml": template("Root", Child="child/t.yaml", Other="../shared/t.yaml"),
            "app/child/t.yaml": template("Root", Grand="./grand.json"),
            "app/child/grand.json": json.dumps(
                {"Resources": {"Other": {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": "../../shared/t.yaml"}}}}
            ),
            "shared/t.yaml": template("Root"),
        },
        "app/t.yaml",
    )  # fmt: skip
    assert problems == []
    assert [each.id for each in application.functions] == ["Root", "Child/Root", "Child/Grand/Other/Root", "Other/Root"]
    assert [each.stack for each in application.functions] == ["", "Child", "Child/Grand/Other", "Other"]
    assert {path: stack.template.file for path, stack in application.stacks.items()} == {
        "": "app/t.yaml",
        "Child": "app/child/t.yaml",
        "Child/Grand": "app/child/grand.json",
        "Child/Grand/Other": "shared/t.yaml",
        "Other": "shared/t.yaml",
    }


def test_each_template_is_packaged_with_the_images_and_addresses_that_belong_in_it() -> None:
    """Two stacks of one file may have different images, and no function gets those of another with its name."""
    application, _ = read(
        {
            "t.yaml": template("Fn", A="c.yaml", B="c.yaml"),
            "c.yaml": template("Fn", Deep="d.yaml"),
            "d.yaml": template("Fn"),
        }
    )
    values: dict[Slot, Value] = {
        each.slot: f"r/{each.id.lower().replace('/', '-')}@sha256:1" for each in application.functions
    }
    done = {}
    assert innermost_first(application) == ["B/Deep", "B", "A/Deep", "A", ""]
    for path in innermost_first(application):
        done[path] = packaged(application, path, values).decode()
        slot = application.stacks[path].slot
        if slot:
            values[slot] = f"https://bucket.example/{path}.template"
    assert done["A/Deep"] == template("Fn").replace("{PackageType", "{ImageUri: r/a-deep-fn@sha256:1, PackageType")
    assert "ImageUri: r/b-fn@sha256:1" in done["B"]
    assert "Location: https://bucket.example/B/Deep.template" in done["B"]
    assert "ImageUri: r/fn@sha256:1" in done[""]
    assert "Location: https://bucket.example/A.template" in done[""]
    assert "Location: https://bucket.example/B.template" in done[""]


def test_nested_templates_that_are_elsewhere_are_left_alone() -> None:
    application, problems = read(
        {
            "t.yaml": template(
                "Fn", A="https://b.example/t.yaml", B="s3://b/k", C="{ApplicationId: a, SemanticVersion: 1}"
            )
            + "  D: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: !Sub 'https://${B}.example/t.yaml'}}\n"
        }
    )
    assert problems == []
    assert [*application.stacks] == [""]


def test_what_a_parent_passes_on_decides_and_the_pseudo_parameters_with_it() -> None:
    nested = """\
Parameters: {Tag: {Type: String, Default: none}, Region: {Type: String}}
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
    Metadata: {Dockerfile: d, DockerContext: c, DockerTag: !Sub "${Tag}-${AWS::Region}"}
"""
    parent = """\
Parameters: {Stage: {Type: String, Default: dev}}
Resources:
  A: {Type: AWS::Serverless::Application, Properties: {Location: c.yaml, Parameters: {Tag: !Sub "v-${Stage}"}}}
  B: {Type: AWS::Serverless::Application, Properties: {Location: c.yaml}}
  C: {Type: AWS::Serverless::Application, Properties: {Location: c.yaml, Parameters: {Tag: !GetAtt A.Outputs.Tag}}}
"""
    application, problems = read({"t.yaml": parent, "c.yaml": nested}, "t.yaml", Stage="qa", **{"AWS::Region": "x"})
    tags = {each.id: each.image.tag for each in application.functions if isinstance(each.image, BuiltImage)}
    assert tags == {"A/Fn": "v-qa-x", "B/Fn": "none-x"}
    (problem,) = problems
    assert problem.startswith(
        "c.yaml:6:60: C/Fn: DockerTag cannot be told: the parameter Tag is not known here: Fn::GetAtt"
    )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"t.yaml": template(A="no.yaml")}, "t.yaml:2:66: A: the template no.yaml does not exist"),
        ({"t.yaml": template(A="../x.yaml")}, "t.yaml:2:66: A: the template ../x.yaml is outside the project"),
        ({"t.yaml": template(A="/etc/passwd")}, "t.yaml:2:66: A: the template /etc/passwd is outside the project"),
        ({"t.yaml": template(A="./t.yaml")}, "t.yaml:2:66: A: the template t.yaml is nested in itself"),
        (
            {"t.yaml": template(A="a/b.yaml"), "a/b.yaml": template(B="../t.yaml")},
            "a/b.yaml:2:66: A/B: the template t.yaml is nested in itself",
        ),
        ({"t.yaml": template(A="b.yaml"), "b.yaml": "x"}, "b.yaml: a template is expected here, but this file has no mapping"),
        ({"t.yaml": template(A="b.yaml"), "b.yaml": "Resources: {F: {Type: AWS::Lambda::Function, Properties: {PackageType: Image}}}"},
         "b.yaml:1:13: A/F: an image function needs Metadata that says how to build its image, or an ImageUri"),
    ],
)  # fmt: skip
def test_mistakes_of_nested_templates_have_their_place(files: dict[str, str], problem: str) -> None:
    assert read(files)[1] == [problem]


def test_a_nest_that_is_too_deep_ends() -> None:
    files = {"t.yaml": template(N="n0.yaml")} | {f"n{at}.yaml": template(N=f"n{at + 1}.yaml") for at in range(100)}
    _, problems = read(files)
    assert problems[0].endswith(f"is nested more than {LIMITS.nested_depth} deep")


def test_templates_that_multiply_end_fast() -> None:
    """Each names the next one twice: unbounded, fifteen files would be 32,768 stacks."""
    files = {"t.yaml": template(A="n0.yaml", B="n0.yaml")}
    files |= {f"n{at}.yaml": template("F", A=f"n{at + 1}.yaml", B=f"n{at + 1}.yaml") for at in range(14)}
    files["n14.yaml"] = template("F")
    started = time.monotonic()
    application, problems = read(files)
    assert "is one too many: an application has at most 500 templates" in problems[0]
    assert len(application.stacks) == LIMITS.nested_stacks
    assert time.monotonic() - started < 5


def test_a_root_that_cannot_be_read_or_is_none() -> None:
    with pytest.raises(InvalidInput, match=r"t\.yaml: the template t\.yaml does not exist"):
        read({})


def test_a_parameter_that_nobody_declares_is_a_mistake() -> None:
    _, problems = read({"t.yaml": "Parameters: {Stage: {Type: String}}\n" + template("F")}, "t.yaml", Stag="x")
    assert problems == ["the option `parameters` names 'Stag', which is no parameter of t.yaml"]


def test_functions_under_conditions_are_built_whatever_the_condition_is() -> None:
    text = "Conditions: {Never: !Equals [a, b]}\n" + template("F", N="n.yaml").replace(
        "    Properties", "    Condition: Never\n    Properties"
    )
    application, problems = read({"t.yaml": text, "n.yaml": template("G")})
    assert problems == []
    assert [each.id for each in application.functions] == ["F", "N/G"]


SYNTHESIZED = Path(__file__).parent / "cdk.out"
"""What aws-cdk-lib 2.276.0 made of two DockerImageFunctions, a Function and a LayerVersion of archives, and a NestedStack."""


def test_what_cdk_synthesizes_is_built_from_its_assets() -> None:
    root = "cdk.out/Demo.template.json"
    application, problems = read({f"cdk.out/{each.name}": each.read_text() for each in SYNTHESIZED.iterdir()}, root)
    assert problems == []
    first, plain, nested = application.functions
    assert (first.id, first.platform) == ("ImageFnCD541B83", "linux/arm64")
    assert isinstance(first.image, BuiltImage)
    asset = first.image.context
    assert asset.startswith("asset.")
    assert first.image == BuiltImage("docker/Dockerfile.prod", asset, build_args={"VERSION": "1"}, target="prod")
    assert isinstance(plain.image, BuiltImage)
    assert plain.image.dockerfile == "Dockerfile"
    assert (nested.id, nested.image) == (f"{nested.stack}/ImageFnCD541B83", plain.image)
    assert [(each.id, each.name) for each in artifacts(application)] == [
        ("Zip9471D920", "Code"),
        ("LayerB20D2F06", "Content"),
    ]

    values: dict[Slot, Value] = {each.slot: f"r/{each.id.lower()}@sha256:1" for each in (first, plain)}
    values |= {each.slot: {"S3Bucket": "b", "S3Key": each.id} for each in artifacts(application)}
    nest = application.stacks[nested.stack].slot
    assert nest is not None
    values[nest] = "https://b.example/n.json"
    expected = json.loads((SYNTHESIZED / "Demo.template.json").read_text())
    properties = {name: resource.get("Properties", {}) for name, resource in expected["Resources"].items()}
    for each in (first, plain):
        properties[each.id]["Code"]["ImageUri"] = f"r/{each.id.lower()}@sha256:1"
    properties["Zip9471D920"]["Code"] = {"S3Bucket": "b", "S3Key": "Zip9471D920"}
    properties["LayerB20D2F06"]["Content"] = {"S3Bucket": "b", "S3Key": "LayerB20D2F06"}
    properties[nested.stack]["TemplateURL"] = "https://b.example/n.json"
    done = packaged(application, "", values)
    assert json.loads(done) == expected
