from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline.doctor import machine
from pipeline.signing import keys, signers

if TYPE_CHECKING:
    from pathlib import Path


def test_the_line_that_enrols_this_machines_key_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOWPATH_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert machine._key().state == "note"
    assert not list(tmp_path.iterdir())  # looking makes nothing
    keys.make(tmp_path / "towpath/runner.key")
    found = machine._key()
    public = keys.load(tmp_path / "towpath/runner.key").public
    assert public.fingerprint in found.found
    line = (found.repair or "").partition("--trust FILE: ")[2]
    assert signers.trust(line, "trust").key("builder", public.fingerprint)


def test_a_key_that_cannot_be_used_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_KEY", str(tmp_path / "none"))
    assert machine._key().state == "bad"
    keys.make(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    monkeypatch.setenv("TOWPATH_KEY", str(tmp_path / "key"))
    found = machine._key()
    assert found.state == "bad"
    assert found.repair == f"chmod 600 {tmp_path / 'key'}"


def test_it_tells_whether_stages_are_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine._isolation()
    assert (found.state, found.repair) == ("note", "sudo apt-get install bubblewrap")
    assert "A stage can read this user's files" in found.found
    monkeypatch.setenv("TOWPATH_ISOLATION", "maybe")
    assert machine._isolation().state == "bad"


def test_an_engine_that_does_not_answer_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    engine, disk = machine._engine(tmp_path)
    assert (engine.state, disk.state) == ("bad", "good")
    assert "tcp://127.0.0.1:1" in engine.found
    assert (engine.repair or "").startswith("unset DOCKER_HOST")


def test_what_builds_is_told() -> None:
    told = {
        "buildkit": False,
        "builder": "engine Docker 20, classic builder: no docker client here has the buildx plugin",
    }
    found = machine._buildkit(told)
    assert found.state == "note"
    assert "no docker client here has the buildx plugin" in found.found
    assert "docker-buildx" in (found.repair or "")
    told = {"buildkit": True, "builder": "engine Docker 28, BuildKit by /usr/bin/docker 28 (docker buildx 0.24)"}
    assert machine._buildkit(told).state == "good"


@pytest.mark.parametrize(
    ("config", "states"),
    [
        (None, ["good"]),
        ({}, ["good"]),
        ({"credsStore": "there"}, ["good"]),
        ({"credHelpers": {"a": "there", "b": "not-there"}}, ["bad", "good"]),
        ({"auths": {"ghcr.io": {"auth": "eA=="}, "x": {}}}, ["note"]),
        ("{", ["bad"]),
        ([], ["bad"]),
    ],
)
def test_credential_helpers_that_are_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: object, states: list[str]
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    helper = tmp_path / "docker-credential-there"
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine._helpers({"DOCKER_CONFIG": str(tmp_path)})
    assert sorted(each.state for each in found) == states
    assert all(each.repair for each in found if each.state != "good")


def test_a_runner_whose_key_does_not_count_is_told_how_to_enrol_it(tmp_path: Path) -> None:
    keys.make(tmp_path / "key")
    trust = tmp_path / "trust"
    variables = {"TOWPATH_KEY": str(tmp_path / "key"), "TOWPATH_TRUST": str(trust)}
    assert machine._trust({}) == []
    [found] = machine._trust(variables)
    assert (found.state, str(found.repair).partition(": ")[2]) == ("bad", "unset TOWPATH_TRUST")
    keys.make(tmp_path / "other")
    trust.write_text(f'builder namespaces="towpath" {keys.load(tmp_path / "other").public.line}\n')
    [found] = machine._trust(variables)
    assert found.state == "bad"
    subprocess.run(["sh", "-c", found.repair or "false"], check=True)  # the command does repair it
    assert machine._trust(variables)[0].state == "good"
    [found] = machine._trust({**variables, "TOWPATH_KEY": str(tmp_path / "gone")})
    assert "cannot have the runner's own" in found.found


def test_whoever_approves_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine._approver({}).state == "note"
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA\n")
    assert "id_ed25519.pub" in machine._approver({}).found
    monkeypatch.setenv("PATH", "")
    assert machine._approver({}).repair == "sudo apt-get install openssh-client"


def test_a_full_disk_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._disk("disk", tmp_path).state == "good"
    monkeypatch.setattr(machine, "_MIN_FREE_BYTES", 1 << 60)
    found = machine._disk("disk", tmp_path)
    assert (found.state, found.repair) == ("bad", "docker system prune")


def test_the_kernel_tells_of_its_clock() -> None:
    assert machine._clock().state in ("good", "note")
