from __future__ import annotations

import subprocess
from itertools import count
from typing import TYPE_CHECKING

import pytest
from support.bare import bare_project
from support.machine import ROOT, Machine, copy_example, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_accounts = count(1001)


@pytest.fixture(scope="session")
def base_image() -> str:
    """The base image of the example, made if it is not there."""
    subprocess.run([ROOT / "scripts/base-image"], check=True, stdin=subprocess.DEVNULL)
    return subprocess.run(
        [ROOT / "scripts/base-image", "--print"], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An embedded AWS of these tests' own; what a machine needs to find it."""
    home = tmp_path_factory.mktemp("embedded")
    variables = {"TOWPATH_EMBEDDED_HOME": str(home), "TOWPATH_EMBEDDED_PORT": str(free_port())}
    machine = Machine(home, variables)
    machine.towpath("embedded", "start")
    yield variables
    machine.towpath("embedded", "stop")


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A project without a pipeline, without credentials, and without an AWS."""
    return bare_project(tmp_path)


@pytest.fixture
def machine(bare: Machine, embedded: dict[str, str]) -> Machine:
    """The same with an AWS on this machine."""
    bare.variables |= embedded
    return bare


@pytest.fixture
def example(tmp_path: Path, embedded: dict[str, str], base_image: str) -> Callable[..., Machine]:
    """Give machines, each with a fresh copy of the example in accounts of its own."""

    def make(*, own_registry: bool = False) -> Machine:
        accounts = str(next(_accounts))
        project = tmp_path / f"project-{accounts}"
        copy_example(project, accounts, own_registry=own_registry)
        pipeline = project / "pipeline.yaml"
        pipeline.write_text(pipeline.read_text().replace("public.ecr.aws/lambda/python:3.12", base_image))
        return Machine(project, embedded)

    return make
