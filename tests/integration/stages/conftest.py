"""A real engine, and a function's image in it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import docker
import pytest
from support import functions

from stages.images import direct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.images.direct import Engine


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
