from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.releases import TEMPLATE, add_nested, sha256, write_release

from stages.contract import InvalidInput, StageError, Target
from stages.deploy.release import for_target, load, not_lambdas, release_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGET = Target("staging", "111122223333", "eu-central-1")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", TARGET, "one")
    return tmp_path / "release"


def change(directory: Path, edit: Callable[[Any], Any], *, template: str | None = None, reseal: bool = True) -> None:
    """Edit release.json (and the template), with its digests made to fit again as an attacker would."""
    path = directory / "release.json"
    document = json.loads(path.read_text())
    if template is not None:
        (directory / "packaged-template.yaml").write_text(template)
        document["templates"][""]["packaged"] = sha256(template.encode())
    edit(document)
    if reseal:
        document["digest"] = release_digest(document)
    path.write_text(json.dumps(document))


def refused(directory: Path) -> str:
    with pytest.raises(StageError) as caught:
        load(directory)
    assert caught.value.cls == "mismatch"
    return caught.value.message


def test_a_release_that_fits(directory: Path) -> None:
    release = load(directory)
    image = release.images["HelloWorldFunction"]
    assert (image.account, image.region, image.repository) == ("111122223333", "eu-central-1", "app")
    assert image.uri.endswith(image.manifest)


def test_a_release_in_another_registry_has_the_same_digest(directory: Path, tmp_path: Path) -> None:
    write_release(tmp_path / "copy", Target("production", "444455556666", "us-east-1"), "one")
    assert load(directory).digest == load(tmp_path / "copy").digest


def test_a_changed_template(directory: Path) -> None:
    path = directory / "packaged-template.yaml"
    path.write_text(path.read_text() + "\n")
    assert "packaged-template.yaml has the digest" in refused(directory)


def test_another_image_in_template_and_file_list_only(directory: Path) -> None:
    """The template's digest is put right, but the image is not the one the release names."""
    template = (directory / "packaged-template.yaml").read_text()
    digest = template.partition("@sha256:")[2][:64]
    change(directory, lambda _: None, template=template.replace(digest, "0" * 64))
    message = refused(directory)
    assert "packaged-template.yaml:12: HelloWorldFunction has the ImageUri" in message


def test_another_image_everywhere_but_in_the_digest(directory: Path) -> None:
    def swap(document: Any) -> None:
        function = document["functions"]["HelloWorldFunction"]
        function["config"] = "sha256:" + "0" * 64

    change(directory, swap, reseal=False)
    assert "what release.json names has the digest" in refused(directory)


@pytest.mark.parametrize(
    "uri",
    ["111122223333.dkr.ecr.eu-central-1.amazonaws.com/app:latest", "docker.io/app:1", "app@sha256:" + "0" * 64, "app"],
)
def test_an_image_that_is_not_pinned(directory: Path, uri: str) -> None:
    change(
        directory,
        lambda document: document["functions"]["HelloWorldFunction"].update(image=uri),
        template=TEMPLATE.replace("IMAGE", uri),
    )
    assert "the image of HelloWorldFunction is" in refused(directory)


@pytest.mark.parametrize("image", ["{ImageUri: !Ref Image}", "{}", "{ImageUri: 'app:latest'}"])
def test_a_function_the_release_does_not_know(directory: Path, image: str) -> None:
    extra = f"  Other: {{Type: 'AWS::Lambda::Function', Properties: {{PackageType: Image, Code: {image}}}}}\nOutputs:"
    template = (directory / "packaged-template.yaml").read_text().replace("Outputs:", extra)
    change(directory, lambda _: None, template=template)
    assert "Other is an image function of which release.json knows nothing" in refused(directory)


def test_a_function_the_template_does_not_know(directory: Path) -> None:
    template = (directory / "packaged-template.yaml").read_text().replace("HelloWorldFunction", "Renamed")
    change(directory, lambda _: None, template=template)
    assert "release.json has the function HelloWorldFunction, which is no image function" in refused(directory)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"v": 1}', '{"v": 2}', '{"v": 2, "functions": [], "digest": 1, "templates": {}}'],
)
def test_a_file_of_another_form(directory: Path, text: str) -> None:
    (directory / "release.json").write_text(text)
    assert "release.json is not" in refused(directory)


@pytest.mark.parametrize("name", ["release.json", "packaged-template.yaml"])
def test_a_missing_file(directory: Path, name: str) -> None:
    (directory / name).unlink()
    assert f"{name} is missing" in refused(directory)


CHILD = "Resources:\n  Fn:\n    Type: AWS::Lambda::Function\n    Properties: {PackageType: Image, Code: {ImageUri: IMAGE}}\n"
URL = "https://bucket.example/child.template"
NESTING = f"  Child: {{Type: AWS::CloudFormation::Stack, Condition: C, Properties: {{TemplateURL: '{URL}'}}}}\nOutputs:"


@pytest.fixture
def nesting(tmp_path: Path) -> Path:
    """A release with a template nested in its own."""
    template = TEMPLATE.replace("Outputs:", NESTING)
    write_release(tmp_path / "nesting", TARGET, "one", template)
    add_nested(tmp_path / "nesting", TARGET, "one", {"Child": (CHILD, URL)})
    return tmp_path / "nesting"


def test_functions_of_nested_templates_are_of_the_release(nesting: Path) -> None:
    release = load(nesting)
    assert set(release.images) == {"HelloWorldFunction", "Child/Fn"}
    assert release.is_conditional("Child/Fn")  # its stack is
    assert not release.is_conditional("HelloWorldFunction")


def test_another_address_of_a_nested_template(nesting: Path) -> None:
    """Catches a release that passes while CloudFormation is led to another template."""
    template = (nesting / "packaged-template.yaml").read_text().replace(URL, "https://attacker.example/t")
    change(nesting, lambda _: None, template=template)
    assert f"Child is at 'https://attacker.example/t', but release.json says '{URL}'" in refused(nesting)


def test_a_nested_template_that_was_changed(nesting: Path) -> None:
    path = nesting / "nested" / "Child.yaml"
    path.write_text(path.read_text() + "\n")
    assert "nested/Child.yaml has the digest" in refused(nesting)


def test_another_image_in_a_nested_template(nesting: Path) -> None:
    path = nesting / "nested" / "Child.yaml"
    path.write_text(path.read_text().partition("@sha256:")[0] + "@sha256:" + "0" * 64 + "}}\n")
    change(
        nesting,
        lambda document: document["templates"]["Child"].update(packaged=sha256(path.read_bytes())),
    )
    assert "nested/Child.yaml:4: Child/Fn has the ImageUri" in refused(nesting)


def test_a_nested_template_that_nothing_leads_to(nesting: Path) -> None:
    template = (nesting / "packaged-template.yaml").read_text().replace("  Child:", "  Renamed:")
    change(nesting, lambda _: None, template=template)
    message = refused(nesting)
    assert "release.json has the nested template Child, which no template names" in message


@pytest.mark.parametrize("path", ["../Child", "Child/", "/etc", "Child.x"])
def test_a_stack_whose_path_is_none(nesting: Path, path: str) -> None:
    change(nesting, lambda document: document["templates"].update({path: document["templates"]["Child"]}))
    assert "release.json is not of format version" in refused(nesting)


def test_an_image_of_a_registry_that_lambda_does_not_take(directory: Path) -> None:
    uri = "docker.io/library/app@sha256:" + "1" * 64
    change(
        directory,
        lambda document: document["functions"]["HelloWorldFunction"].update(image=uri, manifest="sha256:" + "1" * 64),
        template=TEMPLATE.replace("IMAGE", uri),
    )
    (problem,) = not_lambdas(load(directory), TARGET)
    assert problem.message.startswith("HelloWorldFunction: Lambda runs images of Amazon ECR alone")


def test_an_image_of_another_region_is_none_for_lambda(directory: Path) -> None:
    assert not_lambdas(load(directory), TARGET) == []
    (problem,) = not_lambdas(load(directory), replace(TARGET, region="us-east-1"))
    assert "Lambda in us-east-1 runs images of that region alone" in problem.message
    assert "uses: package" in (problem.hint or "")


LOOP_OF_STACKS = """\
Transform: AWS::LanguageExtensions
Parameters:
  Names: {Type: CommaDelimitedList, Default: "Child"}
Resources:
  HelloWorldFunction:
    Type: AWS::Lambda::Function
    Properties: {PackageType: Image, Code: {ImageUri: IMAGE}}
  Fn::ForEach::Stacks:
    - Name
    - !Ref Names
    - ${Name}: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: URL}}
"""


def test_a_loops_stacks_are_those_that_the_targets_parameters_make(tmp_path: Path) -> None:
    write_release(tmp_path / "loop", TARGET, "one", LOOP_OF_STACKS.replace("TemplateURL: URL", f"TemplateURL: '{URL}'"))
    add_nested(tmp_path / "loop", TARGET, "one", {"Child": (CHILD, URL)})
    release = load(tmp_path / "loop")
    assert set(release.images) == {"HelloWorldFunction", "Child/Fn"}
    assert set(for_target(release, TARGET).images) == set(release.images)
    fewer = for_target(release, replace(TARGET, parameters={"Names": ""}))
    assert "Child/Fn" not in fewer.images
    with pytest.raises(InvalidInput, match="there is a nested stack Other, of which the release has no template"):
        for_target(release, replace(TARGET, parameters={"Names": "Child,Other"}))
