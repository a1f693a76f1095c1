from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stages.contract import StageError
from stages.embedded import __main__ as cli
from stages.embedded import control
from stages.embedded.home import Home, Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TOWPATH_EMBEDDED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOWPATH_EMBEDDED_PORT", raising=False)
    return Home(tmp_path / "home")


def test_ports_the_last_one_first_so_that_addresses_stay_true(here: Home) -> None:
    here.make()
    assert control._ports(here) == [control.PORT, 0]
    here.write(Running(1, 5005, "http://127.0.0.1:1", "abc"))
    assert control._ports(here) == [5005, control.PORT, 0]


def test_a_port_that_was_asked_for_is_the_only_one(here: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_EMBEDDED_PORT", "5006")
    assert control._ports(here) == [5006]


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "4717 "])
def test_a_port_that_is_none_is_refused(here: Home, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOWPATH_EMBEDDED_PORT", text)
    with pytest.raises(StageError, match="no port"):
        control._ports(here)


def test_status_and_stop_of_what_never_ran(here: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "stopped"
    assert "endpoint_url" not in status
    assert cli.main(["stop"]) == 0
    assert capsys.readouterr().out == "The embedded AWS is stopped.\n"
    assert not here.path.exists()


def test_a_missing_registry_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["start"]) == 1
    assert "sudo apt-get install docker-registry" in capsys.readouterr().err
    assert cli.main(["start", "--json"]) == 1
    error = json.loads(capsys.readouterr().err)
    assert error["code"] == 1
    assert "apt-get" in error["hint"]


@pytest.mark.parametrize("command", ["start", "stop", "status"])
@pytest.mark.parametrize("under", [False, True])
def test_a_home_that_is_a_file_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, *, under: bool
) -> None:
    file = tmp_path / "file"
    file.touch()
    if under and command == "stop":
        return  # nothing is there
    monkeypatch.setenv("TOWPATH_EMBEDDED_HOME", str(file / "home" if under else file))
    monkeypatch.setattr("stages.embedded.distribution.program", lambda: "registry")
    assert cli.main([command]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {file}")
    assert first.endswith(("not a directory", "file exists"))
    assert "Set TOWPATH_EMBEDDED_HOME to a directory" in second


def test_a_home_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TOWPATH_EMBEDDED_HOME", "/proc/x")
    assert cli.main(["start", "--json"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "/proc/x cannot be the embedded AWS's home: no such file or directory"


@pytest.mark.parametrize("arguments", [["--json"], ["strat", "--json"], ["--json", "status", "--loud"]])
def test_wrong_usage_is_one_json_object_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["code"] == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(StageError("no"), 1), (PermissionError(13, "Permission denied"), 1), (KeyboardInterrupt(), 130)],
)
def test_progress_is_not_mixed_into_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def start(progress: Callable[[str], None]) -> None:
        progress("making it")
        raise error

    monkeypatch.setitem(cli._COMMANDS, "start", start)
    assert cli.main(["start", "--json"]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["code"] == code
    assert cli.main(["start", "--json", "--progress"]) == code
    assert capsys.readouterr().err.startswith("making it\n{")
