from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import sandboxes

from pipeline.executors import Ended, Job, Sight
from pipeline.executors.isolation import Isolation
from pipeline.executors.process import LOCK, ProcessExecutor, end_leftovers
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pipeline.executors import Stream

PATH = {"PATH": os.environ["PATH"]}


class Runner:
    """One executor and the lines its jobs wrote."""

    def __init__(self, folder: Path, mode: str = "none") -> None:
        self.folder = folder
        self.executor = ProcessExecutor(folder, sandboxes.isolation(mode))
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


@pytest.fixture(params=["none", "bubblewrap"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Runner:
    return Runner(tmp_path, request.param)


@pytest.fixture
def plain(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture
def inside(tmp_path: Path) -> Runner:
    return Runner(tmp_path, "bubblewrap")


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


def test_the_time_limit_ends_the_whole_group(plain: Runner) -> None:
    started = time.monotonic()
    ended = plain.run("sleep 60 & echo $!; sleep 60", timeout_s=0.3)
    assert (ended.reason, ended.status) == ("timed-out", -signal.SIGTERM)
    assert time.monotonic() - started < LIMITS.grace_s
    assert wait_until_dead(int(plain.lines[0][1]))


def test_cancelling_lets_a_stage_tidy_up(runner: Runner) -> None:
    runner.submit("trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    threading.Timer(0.5, lambda: runner.executor.cancel("h")).start()
    assert runner.watch() == Ended(3, "canceled")
    assert ("stdout", b"tidied") in runner.lines


def test_a_stage_that_does_not_listen_is_killed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.executors.process.LIMITS", replace(LIMITS, grace_s=0.3))
    runner.submit("trap '' TERM; while :; do sleep 0.05; done")
    threading.Timer(0.3, lambda: runner.executor.cancel("h")).start()
    assert runner.watch() == Ended(-signal.SIGKILL, "canceled")


def test_what_a_stage_leaves_behind_is_ended(plain: Runner) -> None:
    started = time.monotonic()
    assert plain.run("sleep 60 & echo $!").status == 0
    assert time.monotonic() - started < 5
    assert wait_until_dead(int(plain.lines[0][1]))


def test_a_child_that_left_the_group_is_ended_too(plain: Runner) -> None:
    assert plain.run("setsid sleep 60 & echo $!").status == 0
    assert wait_until_dead(int(plain.lines[0][1]))


def test_submitting_again_does_nothing(runner: Runner) -> None:
    runner.submit("echo once >> count")
    runner.submit("echo once >> count")
    runner.watch()
    assert (runner.folder / "h/count").read_text() == "once\n"


@pytest.mark.parametrize("status", [0, 1, 137, 143, 255])
def test_an_exit_code_is_no_signal(runner: Runner, status: int) -> None:
    assert runner.run(f"exit {status}") == Ended(status, "exited")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_a_signal_is_no_exit_code(runner: Runner, number: int) -> None:
    assert runner.run(f"kill -{int(number)} $$") == Ended(-number, "exited")


def test_limits_are_set(runner: Runner) -> None:
    runner.run("ulimit -c; ulimit -n; ulimit -t; ulimit -f", timeout_s=30)
    core, files, cpu_s, file_kib = (int(line) for _, line in runner.lines)
    assert (core, files, file_kib) == (0, LIMITS.stage_open_files, LIMITS.stage_file_bytes // 1024)
    assert 30 < cpu_s <= 36 * (os.cpu_count() or 1)


def test_a_file_that_is_too_large_ends_its_writer(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.executors.rlimits.LIMITS", replace(LIMITS, stage_file_bytes=100_000))
    assert runner.run("exec head -c 200000 /dev/zero > big").status == -signal.SIGXFSZ
    assert (runner.folder / "h/big").stat().st_size == 100_000


@pytest.mark.parametrize(
    "start", ["sleep {}", "setsid sleep {}", "setsid env -i /bin/sleep {}", "setsid setsid sleep {} 9>&-"]
)
def test_nothing_in_a_sandbox_outlives_its_program(inside: Runner, start: str) -> None:
    seconds = f"60.{secrets.randbelow(10**9)}"
    assert inside.run(f"{start.format(seconds)} & sleep 0.1; grep -c . /proc/self/status >/dev/null").status == 0
    assert sandboxes.running(seconds) == []


def test_the_time_limit_ends_the_whole_sandbox(inside: Runner) -> None:
    seconds, started = f"60.{secrets.randbelow(10**9)}", time.monotonic()
    ended = inside.run(f"setsid sleep {seconds} & sleep {seconds}", timeout_s=0.5)
    assert (ended.reason, ended.status) == ("timed-out", -signal.SIGTERM)
    assert time.monotonic() - started < LIMITS.grace_s
    assert sandboxes.running(seconds) == []


def test_a_sandbox_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "h").mkdir()
    isolated = Isolation(replace(sandboxes.found(), flags=("--no-such-flag",)))
    executor = ProcessExecutor(tmp_path, isolated)
    executor.submit(Job("h", ["true"], tmp_path / "h", tmp_path / "h", PATH))
    ended = executor.watch("h", lambda *_: None, lambda: None)
    assert ended.reason == "not-started"
    assert "--no-such-flag" in str(ended.message)


def test_a_sandbox_whose_outside_is_killed_ends_as_a_whole(inside: Runner) -> None:
    seconds = f"60.{secrets.randbelow(10**9)}"
    inside.submit(f"setsid sleep {seconds} & trap '' TERM; sleep {seconds}")
    deadline = time.monotonic() + 5
    while len(sandboxes.running(seconds)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int((inside.folder / "h/pid").read_text()), signal.SIGKILL)
    assert inside.watch() == Ended(-signal.SIGKILL, "exited")
    assert sandboxes.running(seconds) == []


def test_a_home_and_others_work_are_hidden_in_what_is_seen(
    inside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home/.ssh", "other/outputs", "tools"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/.ssh/key").write_text("a key")
    (tmp_path / "tools/tool").write_text("a tool")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    script = f"cat {tmp_path}/tools/tool; echo; ls -A {tmp_path}/home {tmp_path}/other; cat {tmp_path}/home/.ssh/key"
    inside.executor = ProcessExecutor(tmp_path, sandboxes.isolation("bubblewrap"), hidden=(tmp_path / "other",))
    for read in ((tmp_path / "tools",), (tmp_path.parent,)):
        sight = Sight(read=(*read, tmp_path / "tools"))
        handle = f"h{len(read[0].parts)}"
        (tmp_path / handle / "tmp").mkdir(parents=True)
        inside.executor.submit(
            Job(handle, ["/bin/sh", "-c", script], tmp_path / handle, tmp_path / handle, PATH, 30, sight)
        )
        inside.lines.clear()
        assert inside.executor.watch(handle, lambda *line: inside.lines.append(line), lambda: None).status != 0
        said = b"\n".join(line for stream, line in inside.lines if stream == "stdout")
        assert b"a tool" in said
        assert b"a key" not in said
        assert b"outputs" not in said


RUNNER = """
import os, sys
from pathlib import Path
from pipeline.executors import Job
from pipeline.executors.isolation import choose
from pipeline.executors.process import ProcessExecutor
work = Path(sys.argv[1])
executor = ProcessExecutor(work.parent, choose(sys.argv[3], os.environ))
executor.submit(Job(work.name, ["/bin/bash", "-c", sys.argv[2]], work, work, {"PATH": "/usr/bin:/bin"}, 60))
executor.watch(work.name, lambda stream, line: print(line.decode(), flush=True), lambda: None)
"""


def test_a_killed_runner_takes_its_stage_along(tmp_path: Path) -> None:
    work = tmp_path / "h"
    work.mkdir()
    argv = [sys.executable, "-c", RUNNER, str(work), "echo $$; while :; do sleep 0.05; done", "none"]
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
    argv.append("none")
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


def test_a_killed_runner_takes_its_sandbox_along(tmp_path: Path) -> None:
    sandboxes.found()
    work = tmp_path / "h"
    work.mkdir()
    seconds = f"60.{secrets.randbelow(10**9)}"
    script = f"trap '' TERM; setsid env -i /bin/sleep {seconds} & echo ready; while :; do sleep {seconds}; done"
    argv = [sys.executable, "-c", RUNNER, str(work), script, "required"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        assert runner.stdout.readline() == "ready\n"
        runner.kill()
    assert end_leftovers(work)
    deadline = time.monotonic() + 2
    while sandboxes.running(seconds) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sandboxes.running(seconds) == []
