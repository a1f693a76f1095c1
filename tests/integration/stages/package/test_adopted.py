"""A template that is packaged already: what release it comes to."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from stages import package
from stages.aws.session import connect
from stages.contract import InvalidInput, Request, StageError
from stages.deploy import release as releases

if TYPE_CHECKING:
    from integration.stages.package.conftest import Packager

pytestmark = pytest.mark.engine

CHILD = """\
Resources:
  Inner:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image, ImageUri: IMAGE}
"""
PARENT = """\
# a comment that stays
Transform: AWS::Serverless-2016-10-31
Parameters: {Tag: {Type: String, Default: nope}, Stage: {Type: String, Default: dev}}
Resources:
  Outer:
    Type: AWS::Lambda::Function
    Properties: {PackageType: Image, Code: {ImageUri: !Sub "REPOSITORY:${Tag}"}, Role: !Ref Stage}
    Metadata: {Dockerfile: Dockerfile, DockerContext: /of/another/machine}
  Child: {Type: AWS::Serverless::Application, Properties: {Location: URL}}
"""


@dataclasses.dataclass
class Pushed:
    """An image that was pushed: by tag and by digest."""

    repository: str
    tag: str
    digest: str
    config: str

    @property
    def uri(self) -> str:
        return f"{self.repository}@{self.digest}"


@pytest.fixture
def pushed(packager: Packager, ecr: Any) -> Pushed:
    packager.build()
    function = packager.package()["functions"]["HelloFunction"]
    repository, _, digest = function["image"].partition("@")
    listed = ecr.describe_images(repositoryName="team/app", imageIds=[{"imageDigest": digest}])["imageDetails"]
    return Pushed(repository, listed[0]["imageTags"][0], digest, function["config"])


def adopt(packager: Packager, text: str, parameters: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """Take a template as the release, and return release.json, once `deploy` has found that all of it fits together."""
    work = packager.folder.parent / "adopt"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("source", "outputs"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "source" / "packaged.yaml").write_text(text)
    target = dataclasses.replace(packager.target, parameters=parameters or {})
    given = {"packaged": "packaged.yaml", **options}
    request = Request(
        "package", "apply", "run-package-1", given, source="source", target=target, access=packager.access
    )
    package.apply(request, work)
    output = work / "outputs" / "release"
    releases.load(output)
    document: dict[str, Any] = json.loads((output / "release.json").read_text())
    document["text"] = (output / "packaged-template.yaml").read_text()
    return document


def put(packager: Packager, text: str) -> str:
    """Put a template into a bucket of the account, and give its address."""
    s3, name = connect(packager.target, packager.access).s3, f"b{packager.target.account}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": packager.target.region})  # type: ignore[typeddict-item] # any region
    s3.put_object(Bucket=name, Key="a/child.template", Body=text.encode())
    return f"https://s3.{packager.target.region}.amazonaws.com/{name}/a/child.template"


def test_images_are_pinned_where_they_stand_and_nested_templates_are_read(packager: Packager, pushed: Pushed) -> None:
    url = put(packager, CHILD.replace("IMAGE", pushed.uri))
    text = PARENT.replace("REPOSITORY", pushed.repository).replace("URL", url)
    document = adopt(packager, text, {"Tag": pushed.tag, "Stage": "live"})
    assert {name: each["image"] for name, each in document["functions"].items()} == {
        "Outer": pushed.uri,
        "Child/Inner": pushed.uri,
    }
    assert {each["config"] for each in document["functions"].values()} == {pushed.config}
    assert document["text"] == text.replace(f'!Sub "{pushed.repository}:${{Tag}}"', f'"{pushed.uri}"')
    assert document["templates"]["Child"]["url"] == url  # all of it was pinned, so it stays where it is
    assert document["parameters"] == {"Tag": pushed.tag}  # a stage's own settings make no other release


def test_a_nested_template_with_a_tag_is_uploaded_anew(packager: Packager, pushed: Pushed) -> None:
    url = put(packager, CHILD.replace("IMAGE", f"{pushed.repository}:{pushed.tag}"))
    text = PARENT.replace("REPOSITORY:${Tag}", pushed.uri).replace("URL", url)
    with pytest.raises(StageError, match="there is no bucket"):
        adopt(packager, text)
    document = adopt(packager, text, bucket=f"b{packager.target.account}")
    assert document["templates"]["Child"]["url"] != url
    assert document["templates"]["Child"]["url"] in document["text"]


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (
            "PackageType: Image, ImageUri: hello:latest",
            "Fn: its ImageUri names 'hello:latest', which is in no registry",
        ),
        ("PackageType: Image", "Fn: its ImageUri names no image of a registry"),
        ("CodeUri: src, Handler: app.handler", "Fn: CodeUri names the file src"),
    ],
)
def test_what_is_not_packaged_is_refused(packager: Packager, properties: str, said: str) -> None:
    text = f"Resources:\n  Fn: {{Type: AWS::Serverless::Function, Properties: {{{properties}}}}}\n"
    with pytest.raises(InvalidInput) as caught:
        adopt(packager, text)
    assert said in str(caught.value)
    assert "towpath package --output-template-file" in str(caught.value)


@pytest.mark.parametrize(
    ("image", "said"),
    [("team/app:other", "its registry has no image"), ("team/app@sha256:" + "0" * 64, "its registry has no image")],
)
def test_an_image_that_is_not_there_is_told(packager: Packager, pushed: Pushed, image: str, said: str) -> None:
    host = pushed.repository.partition("/")[0]
    with pytest.raises(StageError, match=said):
        adopt(packager, CHILD.replace("IMAGE", f"{host}/{image}"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://s3.eu-west-1.amazonaws.com/nobodys-bucket-7c1/child.template", "is not at"),
        ("https://example.com/child.template", "is no address in S3"),
        ("child.yaml", "Child nests the file child.yaml"),
    ],
)
def test_a_nested_template_that_is_not_there_is_told(packager: Packager, pushed: Pushed, url: str, said: str) -> None:
    with pytest.raises(StageError, match=said):
        adopt(packager, PARENT.replace("REPOSITORY:${Tag}", pushed.uri).replace("URL", url))
