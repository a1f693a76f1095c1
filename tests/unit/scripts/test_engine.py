"""scripts/engine and scripts/base-image: what they say when they cannot, without touching the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script without a terminal."""
    return subprocess.run(
        [SCRIPTS / script, *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake(folder: Path, name: str, script: str) -> None:
    """A program of this name that does what the shell script says."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.engine
def test_an_engine_named_but_not_there_is_not_replaced(tmp_path: Path) -> None:
    """The bug: a typo in DOCKER_HOST makes the script install and start an engine that nothing then uses."""
    fake(tmp_path, "apt-get", 'echo "apt-get $*" >>"$0.called"')
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run("engine", DOCKER_HOST="tcp://127.0.0.1:1", PATH=path, XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "no Docker Engine answers at DOCKER_HOST=tcp://127.0.0.1:1" in done.stderr
    assert "unset DOCKER_HOST" in done.stderr
    assert not (tmp_path / "apt-get.called").exists()


@pytest.mark.engine
def test_an_engine_that_answers_is_left_alone(tmp_path: Path) -> None:
    """The bug: state is written, so that `--stop-if-started` later stops an engine that others use."""
    done = run("engine", XDG_STATE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_only_an_engine_that_it_started_is_stopped(tmp_path: Path) -> None:
    fake(tmp_path, "systemctl", 'echo "systemctl $*" >>"$0.called"')
    fake(tmp_path, "kill", 'echo "kill $*" >>"$0.called"')
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run("engine", "--stop-if-started", PATH=path, XDG_STATE_HOME=str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.glob("*.called"))


@pytest.mark.parametrize("script", ["engine", "base-image"])
def test_an_unknown_argument_is_wrong_usage(script: str) -> None:
    done = run(script, "--sotp")
    assert done.returncode == 1
    assert "unknown argument '--sotp'" in done.stderr
    assert f"Usage: scripts/{script}" in done.stderr


def test_the_base_image_is_named_without_an_engine() -> None:
    done = run("base-image", "--print", DOCKER_HOST="tcp://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, "towpath-base:python\n")


def test_the_base_image_needs_an_engine_and_says_how_to_get_one() -> None:
    done = run("base-image", DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert "Run scripts/engine first." in done.stderr
