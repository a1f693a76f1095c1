"""The `container` executor: each stage a container of its own, of an image that its digest names.

Its root is read-only, it has no capability and gets none, and its user is never root. It sees its work directory and its `Sight`, at the
same places as on this machine; its memory, processes and open files are limited; and it has no network unless it is in sight.
The container is named by its job's handle, so that whoever comes later can ask after it.

The engine must be this machine's: what a container sees are this machine's files.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.executors import Ended, Job, bubblewrap, rlimits
from pipeline.executors.lines import Lines
from pipeline.executors.mounts import NOTHING, Mount, place
from stages.contract import StageError
from stages.images import engine
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from docker import APIClient

    from pipeline.executors import Stream

MARK = "container"
"""In a work directory: the job is, or was about to be, a container."""
GUARD = Path(__file__).with_name("guard.py")
NOBODY = 65_534
"""Who runs it where we are root."""
_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}


class ContainerExecutor:
    """See the module. `work` is the folder that holds the jobs' work directories; `hidden` is what no job may see."""

    name = "container"
    mode = "container"

    def __init__(self, work: Path, hidden: tuple[Path, ...] = ()) -> None:
        self._work, self._hidden = work, (work, *hidden)
        self._jobs: dict[str, _Running | Ended] = {}

    def submit(self, job: Job) -> None:
        from docker.errors import DockerException

        if job.handle in self._jobs:
            return
        try:
            self._jobs[job.handle] = _start(job, self._hidden)
        except (StageError, DockerException, OSError) as error:
            explained = getattr(error, "explanation", None) or error
            self._jobs[job.handle] = Ended(125, "not-started", f"the container cannot be started: {explained}")

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
        if not (self._work / handle / MARK).exists():
            return True
        from docker.errors import DockerException

        try:
            with engine.connect() as client:
                _remove(client, handle)
        except (StageError, DockerException):
            return False  # nobody knows
        return True


def _start(job: Job, hidden: Iterable[Path]) -> _Running:
    (job.work / MARK).touch()
    bubblewrap.prepare(job)
    client = engine.connect()
    guard = _guard(job.handle)
    try:
        _let_write(job)
        made: Any = client.create_container(**options(client, job, hidden))
        attach: Any = client.attach_socket
        output = attach(made["Id"], {"stdout": 1, "stderr": 1, "stream": 1})
        client.start(made["Id"])
    except BaseException:
        _end(guard)
        client.close()
        raise
    return _Running(job, client, output, guard)


def options(client: APIClient, job: Job, hidden: Iterable[Path]) -> dict[str, Any]:
    """How to create the container, in docker-py's words."""
    from docker.types import LogConfig, Ulimit

    limits = rlimits.of(job.timeout_s)
    host: Any = client.create_host_config
    return {
        "image": job.image,
        "name": job.handle,
        "entrypoint": job.argv[:1],
        "command": job.argv[1:],
        "working_dir": str(job.folder),
        "environment": dict(job.variables),
        "user": _user(),
        "labels": {"towpath": "stage", "towpath.work": str(job.work)},
        "stdin_open": False,
        "host_config": host(
            mounts=[_mount(each) for each in place(_mounts(job, hidden))],
            network_mode="bridge" if job.sight.network else "none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            init=True,
            mem_limit=LIMITS.container_memory_bytes,
            memswap_limit=LIMITS.container_memory_bytes,
            pids_limit=LIMITS.stage_processes,
            ulimits=[Ulimit(name=name.lower(), soft=value, hard=value) for name, value in limits.items()],
            log_config=LogConfig(type="none"),
        ),
    }


def _user() -> str:
    return f"{os.geteuid()}:{os.getegid()}" if os.geteuid() else f"{NOBODY}:{NOBODY}"


def _let_write(job: Job) -> None:
    """Whoever runs it owns the folders that are for writing."""
    if os.geteuid() == 0:
        for name in ("outputs", "tmp"):
            with suppress(FileNotFoundError):
                os.chown(job.work / name, NOBODY, NOBODY)


def _mounts(job: Job, hidden: Iterable[Path]) -> Iterable[Mount]:
    """As in a sandbox, but the programs are the image's own."""
    return [each for each in bubblewrap.mounts(job, hidden, toolchain=()) if each.path != "/var/tmp"]  # noqa: S108 - images may lack it


def _mount(mount: Mount) -> Any:
    from docker.types import Mount as Given

    if mount.way == "hidden" and Path(mount.path).is_dir():
        return Given(mount.path, None, type="tmpfs", tmpfs_mode=0o555, tmpfs_size=4096)
    source = NOTHING if mount.way == "hidden" else mount.source or mount.path
    return Given(mount.path, source, type="bind", read_only=mount.way in ("read", "hidden"))


def _guard(name: str) -> subprocess.Popen[bytes] | None:
    """A process that removes the container if we die. An engine elsewhere has nobody to do that."""
    address = engine.host()
    if not address.startswith("unix://"):
        return None
    argv = [sys.executable, "-I", "-S", str(GUARD), address.removeprefix("unix://"), name]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True, env={})


def _end(guard: subprocess.Popen[bytes] | None) -> None:
    if guard and guard.stdin:
        guard.stdin.close()
        guard.wait()


def _remove(client: APIClient, handle: str) -> None:
    from docker.errors import NotFound

    remove: Any = client.remove_container
    with suppress(NotFound):
        remove(handle, force=True, v=True)


class _Running:
    """A started container."""

    def __init__(self, job: Job, client: APIClient, output: Any, guard: subprocess.Popen[bytes] | None) -> None:
        self.job, self.client, self.output, self.guard = job, client, output, guard
        self.canceled = threading.Event()
        self.deadline = time.monotonic() + job.timeout_s
        self._frames: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()

    def watch(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            reason = self._pass_on(on_line, on_quiet)
            status = int(self.client.wait(self.job.handle)["StatusCode"])
            if self._ran_out_of_memory():
                text = f"the container used more than its {LIMITS.container_memory_bytes // 1024**3} GiB of memory"
                on_line("stderr", text.encode())
        finally:
            _remove(self.client, self.job.handle)
            self.output._response.close()  # noqa: SLF001 - closing the connection itself leaves its socket open
            reader.join()
            self.client.close()
            _end(self.guard)
        if reason == "timed-out":
            return Ended(status, "timed-out", f"it ran longer than {self.job.timeout_s:g} s")
        return Ended(status, "canceled" if reason == "canceled" else "exited")

    def _read(self) -> None:
        from docker.utils import socket as multiplexed

        frames: Any = multiplexed
        with suppress(OSError, ValueError):  # it was closed meanwhile
            for frame in frames.frames_iter(self.output, tty=False):
                self._frames.put(frame)
        self._frames.put(None)

    def _pass_on(self, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> str:
        """Pass on lines until the container has ended, or is ended because of `deadline` or `cancel`."""
        lines = {number: Lines(stream, on_line) for number, stream in _STREAMS.items()}
        reason, kill_at = "exited", None
        while True:
            on_quiet()
            with suppress(queue.Empty):
                frame = self._frames.get(timeout=0.1)
                if frame is None:
                    break
                lines[frame[0]].feed(frame[1])
            now = time.monotonic()
            if kill_at is None and (self.canceled.is_set() or now >= self.deadline):
                reason = "canceled" if self.canceled.is_set() else "timed-out"
                self._signal("SIGTERM")
                kill_at = now + LIMITS.grace_s
            elif kill_at is not None and now >= kill_at:
                self._signal("SIGKILL")
                kill_at = now + LIMITS.grace_s
        for each in lines.values():
            each.finish()
        return reason

    def _signal(self, name: str) -> None:
        from docker.errors import APIError

        with suppress(APIError):  # it has ended meanwhile
            self.client.kill(self.job.handle, name)

    def _ran_out_of_memory(self) -> bool:
        state: dict[str, Any] = self.client.inspect_container(self.job.handle)["State"]
        return bool(state.get("OOMKilled"))
