from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.contract import StageError
from stages.embedded.home import Home, Running, home

HOLDER = """
import sys
from pathlib import Path
from stages.embedded.home import Home
here = Home(Path(sys.argv[1]))
here.hold(here.claim())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.embedded.home._CLAIM_WITHIN_S", 0.1)


@pytest.fixture
def here(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_where_the_home_is() -> None:
    assert home({"TOWPATH_EMBEDDED_HOME": "/srv/aws"}).path == Path("/srv/aws")
    assert home({"XDG_STATE_HOME": "/srv/state"}).path == Path("/srv/state/towpath/embedded")
    assert home({}).path == Path.home() / ".local/state/towpath/embedded"


def test_a_daemon_that_was_killed_is_not_alive_whatever_it_left(here: Home) -> None:
    """A state file with a process id that was given to another process must not make it look alive."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", HOLDER, str(here.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"held\n"
        assert here.alive()
        assert here.pid() == daemon.pid
        with pytest.raises(StageError, match="another daemon"):
            here.claim()
        here.write(Running(1, 4717, "http://127.0.0.1:5000", "abc"))
        daemon.kill()
        daemon.wait()
    assert not here.alive()
    assert here.read() is not None


def test_nothing_there_is_not_alive(tmp_path: Path) -> None:
    assert not Home(tmp_path / "missing").alive()


def test_a_daemon_is_alive_from_the_moment_its_starter_lets_go(here: Home) -> None:
    """Else `stop` would see nothing while a Python starts, and the daemon would run on."""
    lock = here.claim()
    command = [sys.executable, "-I", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[lock]) as daemon:
        os.close(lock)
        assert here.alive()
        assert here.pid() is None
        daemon.communicate()
    assert not here.alive()


def test_the_process_id_of_an_earlier_daemon_is_not_a_later_ones(here: Home) -> None:
    """It may be anybody's by now, and `stop` would kill them."""
    (here.path / "daemon.lock").write_text("4711\n")
    os.close(here.claim())
    assert here.pid() is None


def test_who_looks_whether_it_lives_does_not_make_it_seem_so(here: Home) -> None:
    (here.path / "daemon.lock").touch()
    with (here.path / "daemon.lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not here.alive()


@pytest.mark.parametrize("text", ["", "12", "x\n", "-1\n", "\xff\n"])
def test_half_a_process_id_is_none(here: Home, text: str) -> None:
    (here.path / "daemon.lock").write_text(text)
    assert here.pid() is None


def test_what_a_daemon_says_is_read_back(here: Home) -> None:
    running = Running(12, 4717, "http://127.0.0.1:5000", "abc")
    here.write(running)
    assert here.read() == running
    assert running.endpoint_url == "http://127.0.0.1:4717"
    here.forget()
    assert here.read() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1}', "null"])
def test_a_file_that_is_not_ours_is_as_none(here: Home, text: str) -> None:
    (here.path / "daemon.json").write_text(text)
    assert here.read() is None
