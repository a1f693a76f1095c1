from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stages.build import clients
from stages.build.builders import Client

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  --version) echo "Docker version {version}, build 1" ;;
  buildx) {buildx} ;;
esac
"""


class Machine:
    """A PATH with one docker client, which writes down how often it is started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.log = folder, folder / "cache", folder / "log"
        (folder / "bin").mkdir()
        self.program = folder / "bin" / "docker"

    def install(self, version: str, buildx: str = "exit 1") -> None:
        self.program.unlink(missing_ok=True)
        self.program.write_text(SCRIPT.format(log=self.log, version=version, buildx=buildx))
        self.program.chmod(0o755)

    @property
    def started(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    machine.install("20.10.24")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/sbin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return machine


def test_a_client_is_asked_once(machine: Machine) -> None:
    client = Client(str(machine.program), (20, 10, 24), None)
    assert clients.find(machine.home) == [client]
    assert clients.find(machine.home) == [client]
    assert machine.started == 2  # for its version, and for buildx


def test_another_program_is_asked_anew(machine: Machine) -> None:
    clients.find(machine.home)
    machine.install("28.1.0", "echo github.com/docker/buildx v0.23.0 abc")
    assert clients.find(machine.home) == [Client(str(machine.program), (28, 1, 0), (0, 23, 0))]


def test_a_plugin_that_was_installed_since_is_noticed(machine: Machine) -> None:
    clients.find(machine.home)
    plugin = machine.folder / "docker" / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    clients.find(machine.home)
    assert machine.started == 4


@pytest.mark.parametrize("kept", ["", "[]", '{"v": 1}', '{"v": 2, "files": [], "clients": []}', "\0"])
def test_what_is_kept_and_of_no_use_is_asked_anew(machine: Machine, kept: str) -> None:
    clients.find(machine.home)
    (machine.home / clients.KEPT).write_text(kept)
    assert [each.version for each in clients.find(machine.home)] == [(20, 10, 24)]
    assert json.loads((machine.home / clients.KEPT).read_text())["v"] == clients.VERSION


def test_forgotten_or_never_kept_it_is_asked_each_time(machine: Machine) -> None:
    clients.find(machine.home)
    clients.forget(machine.home)
    clients.find(machine.home)
    clients.find(None)
    clients.forget(None)
    assert machine.started == 6
