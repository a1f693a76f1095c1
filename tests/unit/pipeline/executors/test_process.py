from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.executors import Ended, Job
from pipeline.executors.process import LOCK, ProcessExecutor, end_leftovers
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pipeline.executors import Stream

PATH = {"PATH": os.environ["PATH"]}


class Runner:
    """One executor and the lines its jobs wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = ProcessExecutor(folder)
        self.lines: list[tuple[Stream, bytes]] = []

    def submit(self, script: str, timeout_s: float = 30) -> None:
        work = self.folder / "h"
        work.mkdir(exist_ok=True)
        self.executor.submit(Job("h", ["/bin/bash", "-c", script], work, work, PATH, timeout_s))

    def watch(self) -> Ended:
        return self.executor.watch("h", lambda stream, line: self.lines.append((stream, line)), lambda: None)

    def run(self, script: str, timeout_s: float = 30) -> Ended:
        self.submit(script, timeout_s)
        return self.watch()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_exit_code_and_both_streams(runner: Runner) -> None:
    assert runner.run("echo out; echo err >&2; exit 7") == Ended(7, "exited")
    assert sorted(runner.lines) == [("stderr", b"err"), ("stdout", b"out")]


def test_a_last_line_without_its_end_is_passed_on(runner: Runner) -> None:
    runner.run("printf 'a\\r\\nb\\n\\nlast'")
    assert [line for _, line in runner.lines] == [b"a", b"b", b"", b"last"]


def test_a_line_without_end_does_not_fill_the_memory(runner: Runner) -> None:
    runner.run(f"head -c {LIMITS.log_line_bytes * 3 + 5} /dev/zero | tr '\\0' x")
    assert max(len(line) for _, line in runner.lines) <= LIMITS.log_line_bytes
    assert sum(len(line) for _, line in runner.lines) == LIMITS.log_line_bytes * 3 + 5


def test_only_the_given_variables_and_no_input(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "x")
    runner.run("env | cut -d= -f1 | sort; read -r line && echo read")
    assert {line for _, line in runner.lines} <= {b"PATH", b"TOWPATH_WORK", b"PWD", b"SHLVL", b"_"}


def test_a_program_that_is_not_there(runner: Runner, tmp_path: Path) -> None:
    runner.executor.submit(Job("h", [str(tmp_path / "nope")], tmp_path, tmp_path, {}, 5))
    ended = runner.watch()
    assert ended.reason in ("not-started", "exited")
    assert ended.status == 127


def test_the_time_limit_ends_the_whole_group(runner: Runner) -> None:
    started = time.monotonic()
    ended = runner.run("sleep 60 & echo $!; sleep 60", timeout_s=0.3)
    assert (ended.reason, ended.status) == ("timed-out", -signal.SIGTERM)
    assert time.monotonic() - started < LIMITS.grace_s
    assert wait_until_dead(int(runner.lines[0][1]))


def test_cancelling_lets_a_stage_tidy_up(runner: Runner) -> None:
    runner.submit("trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    threading.Timer(0.5, lambda: runner.executor.cancel("h")).start()
    assert runner.watch() == Ended(3, "canceled")
    assert ("stdout", b"tidied") in runner.lines


def test_a_stage_that_does_not_listen_is_killed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.executors.process.LIMITS", type("L", (), {"grace_s": 0.3, "log_line_bytes": 1000}))
    runner.submit("trap '' TERM; while :; do sleep 0.05; done")
    threading.Timer(0.3, lambda: runner.executor.cancel("h")).start()
    assert runner.watch() == Ended(-signal.SIGKILL, "canceled")


def test_what_a_stage_leaves_behind_is_ended(runner: Runner) -> None:
    started = time.monotonic()
    assert runner.run("sleep 60 & echo $!").status == 0
    assert time.monotonic() - started < 5
    assert wait_until_dead(int(runner.lines[0][1]))


def test_a_child_that_left_the_group_is_ended_too(runner: Runner) -> None:
    assert runner.run("setsid sleep 60 & echo $!").status == 0
    assert wait_until_dead(int(runner.lines[0][1]))


def test_submitting_again_does_nothing(runner: Runner) -> None:
    runner.submit("echo once >> count")
    runner.submit("echo once >> count")
    runner.watch()
    assert (runner.folder / "h/count").read_text() == "once\n"


RUNNER = """
import sys
from pathlib import Path
from pipeline.executors import Job
from pipeline.executors.process import ProcessExecutor
work = Path(sys.argv[1])
executor = ProcessExecutor(work.parent)
executor.submit(Job(work.name, ["/bin/bash", "-c", sys.argv[2]], work, work, {"PATH": "/usr/bin:/bin"}, 60))
executor.watch(work.name, lambda stream, line: print(line.decode(), flush=True), lambda: None)
"""


def test_a_killed_runner_takes_its_stage_along(tmp_path: Path) -> None:
    work = tmp_path / "h"
    work.mkdir()
    argv = [sys.executable, "-c", RUNNER, str(work), "echo $$; while :; do sleep 0.05; done"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        pid = int(runner.stdout.readline())
        runner.kill()
    assert wait_until_dead(pid)


@pytest.mark.parametrize(
    "start",
    [
        "setsid sleep 60",
        f"setsid {sys.executable} -c 'import os, time; os.closerange(3, 99); time.sleep(60)'",
        "setsid env -i sleep 60",
    ],
    ids=["with-both", "without-the-descriptor", "without-the-variable"],
)
def test_what_outlived_a_killed_runner_is_found_and_ended(tmp_path: Path, start: str) -> None:
    work = tmp_path / "h"
    work.mkdir()
    argv = [sys.executable, "-c", RUNNER, str(work), f"{start} & sleep 0.3; echo $!; while :; do sleep 0.05; done"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        pid = int(runner.stdout.readline())
        runner.kill()
    assert is_alive(pid)
    assert end_leftovers(work)
    assert wait_until_dead(pid)


def test_a_program_that_is_just_being_started_is_nobodys_leftover(tmp_path: Path) -> None:
    """Catches stages that are killed because another one, started at the same moment, was not yet itself."""
    lock = os.open(tmp_path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    copy = os.fork()
    if not copy:
        time.sleep(0.3)
        os._exit(7)
    os.close(lock)
    assert end_leftovers(tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 7


def test_many_jobs_at_once_end_as_they_end(tmp_path: Path) -> None:
    executor = ProcessExecutor(tmp_path)

    def run(number: int) -> int:
        work = tmp_path / f"job-{number}"
        work.mkdir()
        executor.submit(Job(work.name, ["/bin/true"], work, work, {}, 20))
        return executor.watch(work.name, lambda *_: None, lambda: None).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(300))) == {0}
