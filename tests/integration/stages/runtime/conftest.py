"""A real engine, and a function's image in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import docker
import pytest
from support import functions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def function_image(engine: docker.DockerClient) -> Iterator[str]:
    with functions.function_image(engine) as tag:
        yield tag
