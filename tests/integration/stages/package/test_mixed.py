"""An application of images, code in zip archives, a layer and nested templates: packaged, deployed, and called."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stages import deploy
from stages.aws.session import connect
from stages.contract import Request, StageError

if TYPE_CHECKING:
    from pathlib import Path

    from integration.stages.package.conftest import Packager

pytestmark = pytest.mark.engine

ROOT = """\
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Imaged:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: x}
    Metadata: {Dockerfile: Dockerfile, DockerContext: hello}
  Zipped:
    Type: AWS::Lambda::Function
    Properties:
      Handler: app.handler
      Runtime: python3.12
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: code # stays: a comment
      Layers: [!Ref Layer]
  Layer:
    Type: AWS::Lambda::LayerVersion
    Properties: {Content: layer, LayerName: shared}
  Child:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: child/template.yaml}
Outputs:
  Zipped: {Value: !Ref Zipped}
"""
CHILD = """\
Resources:
  Imaged:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: x}
    Metadata: {Dockerfile: Dockerfile, DockerContext: ../hola}
"""


@pytest.fixture
def mixed(packager: Packager) -> Packager:
    project = packager.project
    project.write("template.yaml", ROOT)
    project.write("child/template.yaml", CHILD)
    project.write("code/app.py", "def handler(event, context):\n    return 'zipped'\n")
    project.write("layer/python/shared.py", "X = 1\n")
    packager.target = replace(packager.target, bucket=f"artifacts-{packager.target.account}", stack="mixed")
    return packager


def _objects(mixed: Packager) -> dict[str, int]:
    s3 = connect(mixed.target, mixed.access).s3
    found = s3.list_objects_v2(Bucket=str(mixed.target.bucket)).get("Contents", [])
    return {each["Key"]: each["Size"] for each in found}


def test_a_mixed_application_is_deployed(mixed: Packager, tmp_path: Path) -> None:
    mixed.build()
    release = mixed.package()
    assert set(release["functions"]) == {"Imaged", "Child/Imaged"}
    assert [each["id"] for each in release["uploads"]] == ["Zipped", "Layer"]
    assert set(_objects(mixed)) == {
        *(each["uri"].split("/", 3)[3] for each in release["uploads"]),
        release["templates"]["Child"]["url"].split("/", 4)[4],
    }
    packaged = (mixed.output / "packaged-template.yaml").read_text()
    assert "# stays: a comment" in packaged
    work = tmp_path / "deploy"
    shutil.copytree(mixed.output, work / "inputs" / "release")
    (work / "outputs").mkdir()
    request = Request(
        "deploy",
        "propose",
        "run-deploy-1",
        inputs={"release": "inputs/release"},
        target=mixed.target,
        access=mixed.access,
    )
    proposal = deploy.propose(request, work).proposal
    assert proposal is not None
    result = deploy.apply(replace(request, phase="apply", proposal=proposal), work)
    assert result.outcome == "succeeded"
    lambda_: Any = connect(mixed.target, mixed.access).lambda_
    code = lambda_.get_function(FunctionName=result.facts["outputs"]["Zipped"])
    assert code["Configuration"]["Handler"] == "app.handler"
    assert code["Configuration"]["CodeSize"] == release["uploads"][0]["size"]


def test_a_second_run_uploads_nothing_and_gives_the_same_bytes(
    mixed: Packager, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed.build()
    mixed.package()
    first = {path.name: path.read_bytes() for path in mixed.output.rglob("*") if path.is_file()}
    capsys.readouterr()
    mixed.build()
    mixed.package()
    assert {path.name: path.read_bytes() for path in mixed.output.rglob("*") if path.is_file()} == first
    messages = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert not [message for message in messages if message.startswith(("uploaded", "pushed"))]


def test_changed_code_is_another_release(mixed: Packager) -> None:
    """Catches a release whose digest says nothing of the code that is no image."""
    mixed.build()
    first = mixed.package()
    mixed.project.write("code/app.py", "def handler(event, context):\n    return 'changed'\n")
    mixed.build()
    second = mixed.package()
    assert second["functions"] == first["functions"]
    assert second["digest"] != first["digest"]


def test_without_a_bucket_it_is_told_before_anything_is_pushed(mixed: Packager, ecr: Any) -> None:
    mixed.target = replace(mixed.target, bucket=None)
    mixed.build()
    with pytest.raises(StageError, match="Zipped names code; Layer names layer; Child is a nested template") as caught:
        mixed.package()
    assert "Give the environment artifacts `bucket: NAME`" in (caught.value.hint or "")
    assert ecr.describe_repositories()["repositories"] == []


def test_code_that_was_changed_after_build_is_refused(mixed: Packager, ecr: Any) -> None:
    mixed.build()
    file = max((mixed.images / "artifacts").iterdir(), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StageError, match="holds something else") as caught:
        mixed.package()
    assert caught.value.cls == "mismatch"
    assert ecr.describe_repositories()["repositories"] == []


def test_a_bucket_that_is_made_is_private(mixed: Packager) -> None:
    mixed.build()
    mixed.package()
    s3: Any = connect(mixed.target, mixed.access).s3
    block = s3.get_public_access_block(Bucket=str(mixed.target.bucket))["PublicAccessBlockConfiguration"]
    assert all(block.values())
