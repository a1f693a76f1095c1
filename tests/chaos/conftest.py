"""Runners that can be killed at any point, and a real embedded AWS behind fronts that know every call."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest
from chaos.front import Calls, Front
from chaos.runner import Runners
from support.layers import debian, layer
from support.machine import ROOT, Machine, free_port

from stages.images.engine import host

if TYPE_CHECKING:
    from collections.abc import Iterator


def _variables(folder: Path) -> dict[str, str]:
    return {"TOWPATH_KEY": str(folder / "runner.key"), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}


def _make_key(folder: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "runner.key")]
    subprocess.run(argv, check=True)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A folder in memory, where there is one: a process's death loses nothing that the kernel was given, flushed or not."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def runners(workshop: Path) -> Iterator[Runners]:
    """Runners of pipelines that call nothing outside."""
    _make_key(workshop)
    made = Runners(workshop, _variables(workshop))
    yield made
    made.close()


@dataclass(frozen=True)
class Surroundings:
    """What the stages of the example call, and runners that call it through the fronts."""

    runners: Runners
    calls: Calls
    direct: str
    trust: Path


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    home = tmp_path_factory.mktemp("embedded")
    machine = Machine(home, {"TOWPATH_EMBEDDED_HOME": str(home), "TOWPATH_EMBEDDED_PORT": str(free_port())})
    machine.towpath("embedded", "start")
    direct = machine.json("embedded", "status")["endpoint_url"]
    calls = Calls()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/tmp") as name:  # short: it holds a socket
        folder = Path(name)
        _make_key(folder)
        aws = Front(calls, int(direct.rpartition(":")[2]))
        engine = Front(calls, host().removeprefix("unix://"), folder / "docker.sock")
        runners = Runners(folder, {**_variables(folder), "DOCKER_HOST": engine.address}, aws.address)
        yield Surroundings(runners, calls, direct, runners.enrol())
        runners.close()
        aws.close()
        engine.close()
    machine.towpath("embedded", "stop")


@pytest.fixture(scope="session")
def small_base() -> Iterator[str]:
    """A base image of a few hundred bytes, for what is built, scanned and pushed, and never run."""
    name = f"towpath-test-base:{uuid.uuid4().hex[:8]}"
    client = docker.from_env()
    data = layer(debian(("tzdata", "2024a-0+deb12u1")))
    repository, _, tag = name.partition(":")
    client.api.import_image_from_data(data, repository, tag, changes=["ENV LAMBDA_TASK_ROOT=/var/task"])
    yield name
    with suppress(docker.errors.ImageNotFound):  # who tidies up this machine may have been here
        client.images.remove(name, force=True)
    client.close()


@pytest.fixture(scope="session")
def real_base() -> str:
    """The base image that functions run on."""
    made = subprocess.run([ROOT / "scripts/base-image"], check=True, capture_output=True, text=True)
    return made.stdout.strip().splitlines()[-1]
