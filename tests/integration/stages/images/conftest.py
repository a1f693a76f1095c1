"""An engine, and a real registry on a port of its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.images.running import build_scratch, running_registry

from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@pytest.fixture
def scratch(client: APIClient) -> Iterator[Any]:
    """Builds images of one file; they are removed at the end."""
    built: list[str] = []

    def build(content: str) -> str:
        built.append(build_scratch(client, f"{content} {uuid.uuid4()}"))
        return built[-1]

    yield build
    for image in built:
        if engine.find(client, image):
            client.remove_image(image, force=True)


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("registry")
    with running_registry(folder) as host:
        yield host
