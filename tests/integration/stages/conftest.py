"""A real engine with a function's image in it, and a scripted AWS."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import docker
import pytest
from integration.stages.deploy.scripted_aws import ScriptedAws
from support import functions

from stages.images import direct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.images.direct import Engine


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedAws]:
    """A scripted AWS. Waits for a second try are cut short; those between looks stay as they are."""
    monkeypatch.setattr("stages.aws.retry.FIRST_DELAY_S", 0.01)
    with ScriptedAws() as world:
        yield world


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def spoken() -> Iterator[Engine]:
    """The same engine, as the runtime speaks with it."""
    with closing(direct.connect()) as connected:
        yield connected


@pytest.fixture(scope="session")
def function_image(engine: docker.DockerClient) -> Iterator[str]:
    with functions.function_image(engine) as tag:
        yield tag
