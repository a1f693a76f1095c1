"""The `process` executor: each stage a process group of its own on this machine, in a sandbox where one can be had.

What it always gives: its own session and process group, ended as a whole; closed standard input; only the variables it is
handed; limits on time, the size of files and how many are open; and, where `setpriv` is there, an end when the runner dies. A sandbox
hides files, processes and the network beside, see `bubblewrap`; nothing in it survives its end.

Each job holds a lock on its work directory through an inherited descriptor, and has the directory's name in a variable. So a
later runner can tell whether a job is still alive, and end it, even where a child has left the process group or was
started by the job and outlived it, as long as it kept the descriptor or the variable: most programs close the one, few the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.executors import Ended, Job, Stream, bubblewrap, rlimits
from pipeline.executors.isolation import NONE
from pipeline.executors.lines import Lines
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.executors.bubblewrap import Bubblewrap
    from pipeline.executors.isolation import Isolation

LOCK = "lock"
PID = "pid"
MARK = "TOWPATH_WORK"
_READ_BYTES = 65_536


class ProcessExecutor:
    """See the module. `work` is the folder that holds the jobs' work directories, each named by its handle.

    `hidden` is what no job may see, whatever is in its sight.
    """

    name = "process"

    def __init__(self, work: Path, isolation: Isolation = NONE, hidden: tuple[Path, ...] = ()) -> None:
        self.mode = isolation.mode
        self._work = work
        self._sandbox = isolation.sandbox
        self._hidden = (work, *hidden)  # nor any other's work
        self._jobs: dict[str, _Running | Ended] = {}

    def submit(self, job: Job) -> None:
        if job.handle in self._jobs:
            return
        try:
            self._jobs[job.handle] = self._start(job)
        except OSError as error:
            text = f"{job.argv[0]} cannot be started: {error.strerror}"
            self._jobs[job.handle] = Ended(127, "not-started", text)

    def watch(self, handle: str, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        running = self._jobs[handle]
        if isinstance(running, _Running):
            running = self._jobs[handle] = running.watch(on_line, on_quiet)
        return running

    def cancel(self, handle: str) -> None:
        running = self._jobs.get(handle)
        if isinstance(running, _Running):
            running.canceled.set()

    def lost(self, handle: str) -> bool:
        return end_leftovers(self._work / handle)

    def _start(self, job: Job) -> _Running:
        around = _Sandboxed(self._sandbox, job, self._hidden) if self._sandbox else _Group(job)
        lock = os.open(job.work / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(
                around.argv(),
                cwd=job.folder,
                env={**job.variables, MARK: str(job.work)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(lock, *around.descriptors),
            )
        except BaseException:
            around.close()
            raise
        finally:
            os.close(lock)  # the job's own copy holds the lock from here on
            for each in around.descriptors:
                os.close(each)
        (job.work / PID).write_text(str(process.pid), encoding="ascii")
        return _Running(job, process, around)


class _Group:
    """A program as a process group: it is asked to end, and ended, as a whole. Descriptors are those that the program is to have."""

    descriptors: tuple[int, ...] = ()

    def __init__(self, job: Job) -> None:
        self._job = job

    def argv(self) -> list[str]:
        return [*_dies_with_us(), *rlimits.set_by_program(self._job.timeout_s), *self._job.argv]

    def ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        self._signal(process, signal.SIGTERM)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        self._signal(process, signal.SIGKILL)

    def ended(self, status: int, _last: str) -> Ended:
        end_leftovers(self._job.work)  # what has left the group must not outlive it either
        return Ended(status, "exited")

    def close(self) -> None:
        pass

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


class _Sandboxed:
    """A program in a sandbox: its first process, `init`, is asked to end it, and tells how it ended."""

    def __init__(self, sandbox: Bubblewrap, job: Job, hidden: tuple[Path, ...]) -> None:
        self._sandbox, self._job, self._hidden = sandbox, job, hidden
        self._control, theirs = (each.detach() for each in socket.socketpair())
        self._info, info = os.pipe()
        self._first: int | None = None
        self.descriptors = (theirs, info)

    def argv(self) -> list[str]:
        return self._sandbox.argv(self._job, self._hidden, *self.descriptors)

    def ask_to_end(self, _process: subprocess.Popen[bytes]) -> None:
        with suppress(OSError):  # it has ended meanwhile
            os.write(self._control, b"end\n")

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End its first process: the kernel then ends all others before bubblewrap learns of it."""
        if _has_exited(process):
            return
        if self._first is None:
            self._first = self._first_process(process.pid)
        with suppress(ProcessLookupError):
            os.kill(self._first or process.pid, signal.SIGKILL)

    def _first_process(self, outer: int) -> int | None:
        """Its number, once bubblewrap has told it; None if it is not there any more."""
        if not select.select([self._info], [], [], LIMITS.grace_s / 5)[0]:
            return None
        try:
            told: int = json.loads(os.read(self._info, 4096))["child-pid"]
            about = Path(f"/proc/{told}/stat").read_text(encoding="ascii", errors="replace")
        except (OSError, ValueError, KeyError):
            return None
        return told if int(about.rpartition(")")[2].split()[1]) == outer else None

    def ended(self, status: int, last: str) -> Ended:
        if _is_locked(self._job.work / LOCK):  # somebody has ended bubblewrap, and the rest is about to follow
            end_leftovers(self._job.work)
        said = _read_all(self._control).split()
        if not said:
            bubblewrap.forget(os.environ)
            text = f"the sandbox could not be made: {last or f'bubblewrap ended with {status}'}. See: towpath doctor"
            return Ended(127, "not-started", text)
        return Ended(int(said[-1]) if b"ended" in said else -signal.SIGKILL, "exited")

    def close(self) -> None:
        os.close(self._control)
        os.close(self._info)


def _read_all(descriptor: int) -> bytes:
    """What was written to a socket whose other end is closed, or about to be."""
    chunks = b""
    with suppress(ConnectionResetError):
        while select.select([descriptor], [], [], LIMITS.grace_s)[0] and (chunk := os.read(descriptor, 4096)):
            chunks += chunk
    return chunks


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Tell without reaping: until it is reaped, its process group's number cannot be given to another."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class _Running:
    """A started job."""

    def __init__(self, job: Job, process: subprocess.Popen[bytes], around: _Group | _Sandboxed) -> None:
        self.job = job
        self.process = process
        self._around = around
        self._last = ""
        self._exit = os.pidfd_open(process.pid)
        """Readable once the process has ended, reaped or not."""
        self.canceled = threading.Event()
        self.deadline = time.monotonic() + job.timeout_s

    def watch(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        try:
            reason = self._read(on_line, on_quiet)
        except BaseException:
            self._around.end(self.process)  # nobody would watch it any longer
            raise
        self._around.end(self.process)  # what the stage left behind must not outlive it
        ended = self._around.ended(self.process.wait(), self._last)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        os.close(self._exit)
        self._around.close()
        if reason == "timed-out":
            return Ended(ended.status, "timed-out", f"it ran longer than {self.job.timeout_s:g} s")
        return Ended(ended.status, "canceled") if reason == "canceled" else ended

    def _read(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> str:
        """Pass on lines until the process has ended, or is ended because of `deadline` or `cancel`."""
        assert self.process.stdout and self.process.stderr  # noqa: S101, PT018 - both are pipes, see _start

        def on_any(stream: Stream, line: bytes) -> None:
            self._last = line.decode(errors="replace") if stream == "stderr" else self._last
            on_line(stream, line)

        lines = {
            self.process.stdout.fileno(): Lines("stdout", on_any),
            self.process.stderr.fileno(): Lines("stderr", on_any),
        }
        reason, kill_at = "exited", None
        while True:
            done = _has_exited(self.process)
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
                self._around.ask_to_end(self.process)
                kill_at = now + LIMITS.grace_s
            elif kill_at is not None and now >= kill_at:
                self._around.end(self.process)
        for each in lines.values():
            each.finish()
        return reason


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
