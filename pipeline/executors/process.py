"""The `process` executor: each stage a process group of its own on this machine.

What it gives: its own session and process group, ended as a whole; closed standard input; only the variables it is
handed; a time limit; and, where `setpriv` is there, an end when the runner dies. What it does not give yet: it hides no
files, no network and no other processes.

Each job holds a lock on its work directory through an inherited descriptor, and has the directory's name in a variable. So a
later runner can tell whether a job is still alive, and end it, even where a child has left the process group or was
started by the job and outlived it, as long as it kept the descriptor or the variable: most programs close the one, few the other.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.executors import Ended, Job, Stream
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = "lock"
PID = "pid"
MARK = "TOWPATH_WORK"
_READ_BYTES = 65_536


class ProcessExecutor:
    """See the module. `work` is the folder that holds the jobs' work directories, each named by its handle."""

    name = "process"

    def __init__(self, work: Path) -> None:
        self._work = work
        self._jobs: dict[str, _Running | Ended] = {}

    def submit(self, job: Job) -> None:
        if job.handle in self._jobs:
            return
        try:
            self._jobs[job.handle] = _start(job)
        except OSError as error:
            text = f"{job.argv[0]} cannot be started: {error.strerror}"
            self._jobs[job.handle] = Ended(127, "not-started", text)

    def watch(self, handle: str, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        running = self._jobs[handle]
        return running if isinstance(running, Ended) else running.watch(on_line, on_quiet)

    def cancel(self, handle: str) -> None:
        running = self._jobs.get(handle)
        if isinstance(running, _Running):
            running.canceled.set()

    def lost(self, handle: str) -> bool:
        return end_leftovers(self._work / handle)


class _Running:
    """A started job."""

    def __init__(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        self.job = job
        self.process = process
        self._exit = os.pidfd_open(process.pid)
        """Readable once the process has ended, reaped or not."""
        self.canceled = threading.Event()
        self.deadline = time.monotonic() + job.timeout_s

    def watch(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        try:
            reason = self._read(on_line, on_quiet)
        except BaseException:
            self._end_group(signal.SIGKILL)  # nobody would watch it any longer
            raise
        self._end_group(signal.SIGKILL)  # what the stage left behind must not outlive it,
        status = self.process.wait()
        end_leftovers(self.job.work)  # nor what has left its process group
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        os.close(self._exit)
        if reason == "timed-out":
            return Ended(status, "timed-out", f"it ran longer than {self.job.timeout_s:g} s")
        return Ended(status, "canceled" if reason == "canceled" else "exited")

    def _read(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> str:
        """Pass on lines until the process has ended, or is ended because of `deadline` or `cancel`."""
        assert self.process.stdout and self.process.stderr  # noqa: S101, PT018 - both are pipes, see _start
        lines = {
            self.process.stdout.fileno(): _Lines("stdout", on_line),
            self.process.stderr.fileno(): _Lines("stderr", on_line),
        }
        reason, kill_at = "exited", None
        while True:
            done = self._has_exited()
            ready, _, _ = select.select([*lines, self._exit], [], [], 0.1)
            for descriptor in lines.keys() & set(ready):
                if not lines[descriptor].feed(os.read(descriptor, _READ_BYTES)):
                    lines.pop(descriptor).finish()
            if done and ready == [self._exit]:
                break
            on_quiet()
            now = time.monotonic()
            if kill_at is None and (self.canceled.is_set() or now >= self.deadline):
                reason = "canceled" if self.canceled.is_set() else "timed-out"
                self._end_group(signal.SIGTERM)
                kill_at = now + LIMITS.grace_s
            elif kill_at is not None and now >= kill_at:
                self._end_group(signal.SIGKILL)
        for each in lines.values():
            each.finish()
        return reason

    def _has_exited(self) -> bool:
        """Tell without reaping: until it is reaped, its process group's number cannot be given to another."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _end_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class _Lines:
    """Cut a stream of bytes into lines."""

    def __init__(self, stream: Stream, on_line: Callable[[Stream, bytes], None]) -> None:
        self._stream: Stream = stream
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> bool:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._pass_on(line)
        while len(self._rest) > LIMITS.log_line_bytes:
            self._on_line(self._stream, self._rest[: LIMITS.log_line_bytes])
            self._rest = self._rest[LIMITS.log_line_bytes :]
        return bool(chunk)

    def finish(self) -> None:
        if self._rest:
            self._pass_on(self._rest)
        self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LIMITS.log_line_bytes):
            self._on_line(self._stream, line[start : start + LIMITS.log_line_bytes].rstrip(b"\r"))


def _start(job: Job) -> _Running:
    lock = os.open(job.work / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [*_dies_with_us(), *job.argv],
            cwd=job.folder,
            env={**job.variables, MARK: str(job.work)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(lock,),
        )
    finally:
        os.close(lock)  # the job's own copy holds the lock from here on
    (job.work / PID).write_text(str(process.pid), encoding="ascii")
    return _Running(job, process)


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def end_leftovers(work: Path) -> bool:
    """End what is left of a job in this work directory; True once nothing of it lives."""
    deadline = time.monotonic() + LIMITS.grace_s
    while True:
        locked = _is_locked(work / LOCK)
        left = _members(work, locked=locked)
        if not left and not locked:
            return True
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _members(work: Path, *, locked: bool) -> list[int]:
    """Give the processes, other than ourselves, that were handed the job's variables, and those that hold its lock."""
    mark = f"{MARK}={work}".encode()
    about = (work / LOCK).stat() if locked else None
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
            if marked or (about and _has_open(entry, about) and not _is_being_started(entry)):
                found.append(int(entry.name))
    return found


def _is_being_started(process: Path) -> bool:
    """Tell whether it is another job's program that has not begun: until then it is a copy of us, with all that we have open."""
    parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
    return int(parent) == os.getpid()


def _has_open(process: Path, about: os.stat_result) -> bool:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(descriptor.stat(), about):
                return True
    return False
