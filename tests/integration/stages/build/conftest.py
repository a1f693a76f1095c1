"""Projects and the engine that builds them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.build.projects import Project, projects

from stages.build import builders, clients
from stages.contract import StageError
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker import APIClient


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@pytest.fixture(params=["classic", "buildkit"])
def builder(request: pytest.FixtureRequest) -> str:
    """Each builder that can be had here: a test with it holds for both."""
    try:
        chosen = builders.choose(request.param, builders.engine_here(), clients.find(None))
    except StageError as error:
        pytest.skip(error.message)
    return chosen.name


@pytest.fixture
def make_project(tmp_path: Path, client: APIClient, builder: str) -> Iterator[Callable[..., Project]]:
    with projects(tmp_path, client, builder) as make:
        yield make


@pytest.fixture
def project(make_project: Any) -> Project:
    made: Project = make_project()
    return made


@pytest.fixture
def code_of(client: APIClient) -> Any:
    """Reads /code out of an image: what would be run, whatever names the image has."""

    def read(image: str) -> str:
        container = client.create_container(image, command=["none"])["Id"]
        try:
            stream, _ = client.get_archive(container, "/code")
            with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
                member = archive.extractfile("code")
                assert member is not None
                return member.read().decode()
        finally:
            client.remove_container(container)

    return read
