"""Podman answers as Docker does, on a socket; its service is started for these tests, with a storage of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.build.projects import projects

from stages.contract import StageError
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        shutil.which("podman") is None or os.getuid() != 0, reason="needs podman, and root to run it so"
    ),
]

METADATA = "Dockerfile: Dockerfile, DockerContext: {}"


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service."""
    home = tmp_path_factory.mktemp("podman")
    (home / "containers.conf").write_text('[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n')
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{home}/run"\ngraphroot = "{home}/storage"\n'
    )
    variables = {
        **os.environ,
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "TMPDIR": str(home),
    }
    socket = home / "s"
    with (home / "log").open("wb") as log:
        argv = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
        with subprocess.Popen(argv, env=variables, stdout=log, stderr=log) as process:
            deadline = time.monotonic() + 30
            while not socket.exists():
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"unix://{socket}"
            process.terminate()


@pytest.fixture
def make_project(tmp_path: Path, podman: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("DOCKER_HOST", podman)
    with engine.connect() as client, projects(tmp_path, client) as make:
        yield make


@pytest.fixture
def project(make_project: Any) -> Any:
    return make_project()


def test_images_are_built_and_not_built_again(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    first = project.build()
    assert "engine Podman" in capsys.readouterr().out
    assert first["Fn"]["builder"] == "classic"
    again = project.build_again()
    assert again == first  # the engine's id too, which Podman makes up anew each time it is asked
    assert "nothing changed since it was built" in capsys.readouterr().out
    project.write("app/code", "y")
    assert project.build_again()["Fn"]["config"] != first["Fn"]["config"]


def test_a_failure_has_its_line(project: Any) -> None:
    project.write_scratch("app", "x")
    project.write(
        "app/Dockerfile", "FROM scratch AS one\nCOPY code /\n\nFROM scratch\nCOPY --from=one /code /\nCOPY nope /\n"
    )
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError, match="Fn: the image cannot be built") as caught:
        project.build()
    assert caught.value.where == "app/Dockerfile:6"


def test_what_needs_buildkit_is_refused(project: Any) -> None:
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    with pytest.raises(StageError, match=r"needs BuildKit, and this is the .*Podman has no BuildKit"):
        project.build(ssh=["default"])
