"""`towpath package` as somebody types it who has no pipeline."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from integration.stages.images.running import running_registry
from support.machine import Machine

from stages.images import engine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine

TEMPLATE = """\
# a comment that stays
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
    Metadata: {Dockerfile: Dockerfile, DockerContext: hello}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    project = tmp_path / "project"
    (project / "hello").mkdir(parents=True)
    (project / "template.yaml").write_text(TEMPLATE)
    (project / "hello" / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
    (project / "hello" / "code").write_text(uuid.uuid4().hex)
    nowhere = str(tmp_path / "none")
    aws = {"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true"}
    return Machine(project, aws)


def test_it_builds_pushes_and_writes_the_template_and_the_second_time_does_nothing_over(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry") as host:
        asked = ("package", "--image-repository", f"{host}/app", "--output-template-file", "packaged.yaml")
        first = machine.towpath(*asked)
        text = (machine.project / "packaged.yaml").read_text()
        assert text.startswith("# a comment that stays\n")
        assert f"ImageUri: {host}/app@sha256:" in text
        assert "pushed" in first.stderr
        told = machine.json(*asked)["stages"]["package"]["facts"]["functions"]["Hello"]
        assert (machine.project / "packaged.yaml").read_text() == text
        assert told["image"] in text
        assert "is there already" in machine.towpath("logs", "latest").stdout
    with engine.connect() as client:
        client.remove_image(told["config"], force=True)


def test_for_an_environment_of_the_project(machine: Machine, embedded: dict[str, str]) -> None:
    """An environment says account, region, repository, and that the AWS is the one on this machine."""
    machine.variables |= embedded
    account = "222200003333"
    (machine.project / "pipeline.yaml").write_text(
        f"""\
version: 1
name: demo
environments:
  artifacts: {{aws: embedded, account: "{account}", region: eu-west-1, repository: team/app}}
stages:
  build: {{uses: build, with: {{template: template.yaml}}}}
  package: {{uses: package, needs: [build], environment: artifacts}}
"""
    )
    told = machine.json("package", "--environment", "artifacts", "--output-template-file", "packaged.yaml")
    function = told["stages"]["package"]["facts"]["functions"]["Hello"]
    assert function["image"].startswith(f"{account}.dkr.ecr.eu-west-1.amazonaws.com/team/app@sha256:")
    assert function["image"] in (machine.project / "packaged.yaml").read_text()
    with engine.connect() as client:
        client.remove_image(function["config"], force=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resolve-image-repos",), "--resolve-image-repos --application NAME"),
        (("--image-repositories", "Hello"), "Write: --image-repositories NAME=VALUE"),
        (("--image-repository", "app", "--region", "eu-west-1"), "no usable AWS credentials"),
        (("--environment", "x"), "pipeline.yaml"),
        (("--environment", "x", "--region", "y"), "leave out --aws, --region and --profile"),
    ],
)
def test_a_mistake_is_told_before_anything_is_built(machine: Machine, arguments: tuple[str, ...], said: str) -> None:
    assert said in machine.towpath("package", *arguments, code=2).stderr
    assert not (machine.project / ".towpath").exists()
