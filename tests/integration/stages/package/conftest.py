"""A project that was built, and an account of an embedded AWS to package it for."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.build.projects import Project, projects
from integration.stages.deploy.running import embedded_aws, new_account

from stages import package
from stages.contract import Access, Request, Target
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient

REGION = "eu-west-1"


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_aws(tmp_path_factory.mktemp("embedded")) as url:
        yield url


@dataclass
class Packager:
    """Packages what its project has built last, into an account of its own."""

    project: Project
    folder: Path
    target: Target
    access: Access
    without_environment: bool = False

    @property
    def images(self) -> Path:
        return self.folder / "inputs" / "images"

    @property
    def output(self) -> Path:
        return self.folder / "outputs" / "release"

    def build(self, **options: Any) -> dict[str, Any]:
        functions = self.project.build(**options)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.project.work / "outputs" / "images", self.images)
        return functions

    def package(self, **options: Any) -> dict[str, Any]:
        """Package, and return release.json."""
        shutil.rmtree(self.output, ignore_errors=True)
        request = Request(
            "package",
            "apply",
            "run-package-1",
            options,
            {"images": "inputs/images"},
            target=None if self.without_environment else self.target,
            access=None if self.without_environment else self.access,
        )
        self.result = package.apply(request, self.folder)
        document: dict[str, Any] = json.loads((self.output / "release.json").read_text())
        return document

    def edit(self, name: str, **changes: Any) -> None:
        """Change a function's entry of images.json."""
        document = json.loads((self.images / "images.json").read_text())
        document["functions"][name] |= changes
        (self.images / "images.json").write_text(json.dumps(document))


@pytest.fixture
def packager(tmp_path: Path, client: APIClient, endpoint: str) -> Iterator[Packager]:
    target = Target("artifacts", new_account(), REGION, embedded=True, repository="team/app")
    with projects(tmp_path, client) as make:
        project = make()
        for name in ("hello", "hola"):
            project.write_scratch(name, name)
        project.write_template({
            "HelloFunction": "Dockerfile: Dockerfile, DockerContext: hello",
            "HolaFunction": "Dockerfile: Dockerfile, DockerContext: hola",
        })  # fmt: skip
        yield Packager(project, tmp_path / "package", target, Access(endpoint_url=endpoint))


@pytest.fixture
def ecr(packager: Packager) -> Any:
    from stages.aws.session import connect

    return connect(packager.target, packager.access).ecr
