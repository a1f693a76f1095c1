"""A release is copied to another account and another region: the registries are real, and so is what runs there in the end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.running import new_account

from pipeline.audit import relocations
from stages import contract, deploy, package
from stages.aws.session import Session, connect
from stages.contract import InvalidInput, Request, StageError, Target

if TYPE_CHECKING:
    from pathlib import Path

    from integration.stages.package.conftest import Packager

pytestmark = pytest.mark.engine

NESTING = """\
Resources:
  HelloFunction:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: x} # stays: a comment
    Metadata: {Dockerfile: Dockerfile, DockerContext: hello}
  Child:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: child.yaml}
"""
ZIPPED = """\
Resources:
  Zipped:
    Type: AWS::Lambda::Function
    Properties: {Handler: app.handler, Runtime: python3.12, Role: r, Code: code}
"""
CHILD = """\
Resources:
  HolaFunction:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Code: {ImageUri: x}
    Metadata: {Dockerfile: Dockerfile, DockerContext: hola}
"""


@pytest.fixture
def elsewhere(packager: Packager) -> Target:
    """Another account, in another region, with a registry of its own."""
    account = new_account()
    bucket = f"copies-{account}"
    return replace(
        packager.target, environment="production", account=account, region="eu-west-3", repository="live/app", bucket=bucket, stack="copied"
    )  # fmt: skip


def copied(packager: Packager, target: Target, release: Path | None = None) -> dict[str, Any]:
    """Copy what was packaged last; gives release.json of the copy."""
    folder = packager.folder.parent / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(release or packager.output, folder / "inputs/release")
    request = Request(
        "package", "apply", "run-copy-1", {}, {"release": "inputs/release"}, target=target, access=packager.access
    )
    packager.result = package.apply(request, folder)
    document: dict[str, Any] = json.loads((folder / "outputs/release/release.json").read_text())
    return document


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def derived(packager: Packager) -> list[str]:
    """What an audit finds of the copy."""
    made = packager.folder.parent / "copy/outputs/release"
    return [str(each) for each in relocations.copied("copy", files(packager.output), files(made))]


def images(session: Session, repository: str) -> set[str]:
    return {each["imageDigest"] for each in session.ecr.list_images(repositoryName=repository)["imageIds"]}


def test_images_go_by_digest_and_the_release_stays_what_it_is(
    packager: Packager, elsewhere: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    packager.build()
    original = packager.package()
    capsys.readouterr()
    document = copied(packager, elsewhere)
    assert "copied " in capsys.readouterr().out
    assert document["digest"] == original["digest"]
    host = f"{elsewhere.account}.dkr.ecr.eu-west-3.amazonaws.com/live/app"
    for name, each in document["functions"].items():
        assert each["image"] == f"{host}@{original['functions'][name]['manifest']}"
    there = images(connect(elsewhere, packager.access), "live/app")
    assert there == {each["manifest"] for each in original["functions"].values()}
    before, after = (
        files(folder)["packaged-template.yaml"]
        for folder in (packager.output, packager.folder.parent / "copy/outputs/release")
    )
    own = f"{packager.target.account}.dkr.ecr.{packager.target.region}.amazonaws.com/team/app"
    assert after == before.replace(own.encode(), host.encode())
    assert derived(packager) == []
    again = copied(packager, elsewhere)  # as after a kill: what is there is left
    said = capsys.readouterr().out
    assert again == document
    assert "is there already" in said
    assert "copied " not in said


KILLED = """
import os, signal, sys
from pathlib import Path
from stages import contract, package
from stages.images import uploads
put, done = uploads.put_image, []
def once(*given):
    if done:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(put(*given))
    return done[0]
uploads.put_image = once
folder = Path(sys.argv[1])
package.apply(contract.read_request(folder / "request.json"), folder)
"""


def test_killed_in_the_middle_it_is_gone_on_with(
    packager: Packager, elsewhere: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    packager.build()
    packager.package()
    folder = packager.folder.parent / "killed"
    shutil.copytree(packager.output, folder / "inputs/release")
    inputs = {"release": "inputs/release"}
    request = Request("package", "apply", "run-copy-1", {}, inputs, target=elsewhere, access=packager.access)
    contract.write(folder / "request.json", request)
    done = subprocess.run([sys.executable, "-c", KILLED, folder], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(images(connect(elsewhere, packager.access), "live/app")) == 1
    capsys.readouterr()
    copied(packager, elsewhere)
    said = capsys.readouterr().out
    assert (said.count("is there already"), said.count("copied ")) == (1, 1)
    assert derived(packager) == []


def test_what_an_audit_finds_of_a_copy_that_is_none(packager: Packager, elsewhere: Target) -> None:
    packager.build()
    packager.package()
    copied(packager, elsewhere)
    made = packager.folder.parent / "copy/outputs/release"
    template, about = made / "packaged-template.yaml", made / "release.json"
    template.write_text(template.read_text() + "\n")
    assert any("differs from the release's in more than the addresses" in each for each in derived(packager))
    copied(packager, elsewhere)
    document = json.loads(about.read_text())
    (first, other) = document["functions"].values()
    first["image"] = other["image"]
    about.write_text(json.dumps(document))
    assert any("names another image for" in each for each in derived(packager))
    copied(packager, elsewhere)
    about.write_text(about.read_text().replace('"platform": "linux/amd64"', '"platform": "linux/arm64"'))
    assert any("says another functions.HelloFunction.platform" in each for each in derived(packager))
    (made / "more.yaml").write_text("x")
    assert any("has other files" in each for each in derived(packager))


def test_nested_templates_go_along_and_run_there(packager: Packager, elsewhere: Target) -> None:
    packager.target = replace(packager.target, bucket=f"artifacts-{packager.target.account}")
    packager.project.write("child.yaml", CHILD)
    packager.project.write("template.yaml", NESTING)
    packager.build()
    original = packager.package()
    document = copied(packager, elsewhere)
    assert document["digest"] == original["digest"]
    assert document["templates"]["Child"]["url"].startswith(
        f"https://s3.eu-west-3.amazonaws.com/copies-{elsewhere.account}/"
    )
    assert derived(packager) == []
    folder = packager.folder.parent / "deploy"
    shutil.copytree(packager.folder.parent / "copy/outputs/release", folder / "inputs/release")
    request = Request(
        "deploy", "propose", "run-deploy-1", {}, {"release": "inputs/release"}, target=elsewhere, access=packager.access
    )
    proposed = deploy.propose(request, folder)
    (folder / "outputs").mkdir()
    made = deploy.apply(replace(request, phase="apply", proposal=proposed.proposal), folder)
    running = {name: each["image"] for name, each in made.facts["functions"].items()}
    assert running == {name: each["image"] for name, each in document["functions"].items()}


def test_without_a_copy_another_region_is_refused_before_anything_is_made(
    packager: Packager, elsewhere: Target
) -> None:
    packager.build()
    document = packager.package()
    folder = packager.folder.parent / "deploy"
    shutil.copytree(packager.output, folder / "inputs/release")
    request = Request(
        "deploy", "propose", "run-deploy-1", {}, {"release": "inputs/release"}, target=elsewhere, access=packager.access
    )
    with pytest.raises(
        InvalidInput, match="HelloFunction: Lambda in eu-west-3 runs images of that region alone"
    ) as caught:
        deploy.propose(request, folder)
    hints = [each.hint or "" for each in caught.value.problems]
    assert any("{uses: package, needs: [...], environment: production}" in each for each in hints)
    client = connect(elsewhere, packager.access).lambda_
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="is not valid"):
        client.create_function(
            FunctionName="f", PackageType="Image", Role=f"arn:aws:iam::{elsewhere.account}:role/r",
            Code={"ImageUri": document["functions"]["HelloFunction"]["image"]},
        )  # fmt: skip


def test_an_image_that_is_gone_is_told_by_name(packager: Packager, elsewhere: Target, ecr: Any) -> None:
    packager.build()
    document = packager.package()
    digest = document["functions"]["HolaFunction"]["manifest"]
    ecr.batch_delete_image(repositoryName="team/app", imageIds=[{"imageDigest": digest}])
    with pytest.raises(StageError, match=r"HolaFunction: its image .* is no longer in its registry"):
        copied(packager, elsewhere)


@pytest.mark.parametrize("what", ["template", "image", "digest", "upload"])
def test_a_release_that_is_not_what_it_says_is_not_copied(packager: Packager, elsewhere: Target, what: str) -> None:
    packager.build()
    document = packager.package()
    if what == "template":
        (packager.output / "packaged-template.yaml").write_text("Resources: {}\n")
    elif what == "image":
        document["functions"]["HelloFunction"]["image"] = document["functions"]["HelloFunction"]["image"].replace(
            "team", "evil"
        )
    elif what == "digest":
        document["functions"]["HelloFunction"]["config"] = "sha256:" + "0" * 64
    else:
        document["uploads"] = [{"id": "Zip", "name": "Code", "stack": "", "path": [], "sha256": "sha256:" + "1" * 64}]
    (packager.output / "release.json").write_text(json.dumps(document))
    with pytest.raises(StageError) as caught:
        copied(packager, elsewhere)
    assert caught.value.cls == "mismatch"
    assert not connect(elsewhere, packager.access).ecr.describe_repositories()["repositories"]


def test_files_in_s3_are_told_of_and_not_left_behind(packager: Packager, elsewhere: Target) -> None:
    packager.target = replace(packager.target, bucket=f"artifacts-{packager.target.account}")
    packager.project.write("code/app.py", "x")
    packager.project.write("template.yaml", ZIPPED)
    packager.build()
    packager.package()
    with pytest.raises(
        InvalidInput, match="Zipped: Code is a file in S3, and only images and nested templates are copied"
    ):
        copied(packager, elsewhere)
