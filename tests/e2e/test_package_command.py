"""`towpath package` as somebody types it who has no pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from integration.stages.images.running import running_registry
from support.samconfig import SAM_INIT

from stages.images import engine

if TYPE_CHECKING:
    from pathlib import Path

    from support.machine import Machine

pytestmark = pytest.mark.engine


def test_it_builds_pushes_and_writes_the_template_and_the_second_time_does_nothing_over(
    bare: Machine, tmp_path: Path
) -> None:
    """The second time what `sam init` wrote says where to, and the bucket that it wants is not needed."""
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry") as host:
        asked = ("package", "--image-repository", f"{host}/app", "--output-template-file", "packaged.yaml")
        first = bare.towpath(*asked)
        text = (bare.project / "packaged.yaml").read_text()
        assert text.startswith("# a comment that stays\n")
        assert f"ImageUri: {host}/app@sha256:" in text
        assert "pushed" in first.stderr
        said = f'resolve_s3 = true\noutput_template_file = "again.yaml"\nimage_repositories = ["Hello={host}/app"]\n'
        package = "[default.package.parameters]\n"
        (bare.project / "samconfig.toml").write_text(
            SAM_INIT.replace(f"{package}resolve_s3 = true\n", f"{package}{said}")
        )
        told = bare.json("package")["stages"]["package"]["facts"]["functions"]["Hello"]
        assert (bare.project / "again.yaml").read_text() == text
        assert told["image"] in text
        assert "is there already" in bare.towpath("logs", "latest").stdout
    with engine.connect() as client:
        client.remove_image(told["config"], force=True)


def test_for_an_environment_of_the_project(machine: Machine) -> None:
    """An environment says account, region, repository, and that the AWS is the one on this machine."""
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
    (machine.project / "samconfig.toml").write_text(
        '[default.package.parameters]\nregion = "us-west-2"\nimage_repository = "example.com/other"\n'
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
        (("--image-repositories", "Hello"), "Write: --image-repositories Name=value"),
        (("--image-repository", "app", "--region", "eu-west-1"), "no usable AWS credentials"),
        (("--environment", "x"), "pipeline.yaml"),
        (("--environment", "x", "--region", "y"), "leave out --aws, --region and --profile"),
    ],
)
def test_a_mistake_is_told_before_anything_is_built(machine: Machine, arguments: tuple[str, ...], said: str) -> None:
    assert said in machine.towpath("package", *arguments, code=2).stderr
    assert not (machine.project / ".towpath").exists()
