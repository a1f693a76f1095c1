"""An embedded AWS, and a deployer to it or to the scripted one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy import scripted_aws
from integration.stages.deploy.releases import Deployer
from integration.stages.deploy.running import embedded_aws, new_account

from stages.contract import Access, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def deployer(tmp_path: Path, aws: scripted_aws.ScriptedAws) -> Deployer:
    from integration.stages.deploy.releases import manifest

    for content in ("one", "two"):
        aws.add_image(manifest(content))
    target = Target("staging", scripted_aws.ACCOUNT, scripted_aws.REGION, embedded=True, stack="demo")
    return Deployer(tmp_path, target, aws.url)


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an embedded AWS of this test run's own."""
    with embedded_aws(tmp_path_factory.mktemp("embedded")) as url:
        yield url


@pytest.fixture
def embedded(tmp_path: Path, embedded_url: str) -> Deployer:
    """A deployer to an account of the test's own, in which the images of "one" and "two" are."""
    from integration.stages.deploy.releases import manifest

    from stages.aws.session import connect

    account = new_account()
    target = Target("staging", account, "eu-central-1", embedded=True, stack="demo")
    ecr = connect(target, Access(endpoint_url=embedded_url)).ecr
    ecr.create_repository(repositoryName="app")
    for content in ("one", "two"):
        ecr.put_image(repositoryName="app", imageManifest=manifest(content), imageTag=content)
    return Deployer(tmp_path, target, embedded_url)
