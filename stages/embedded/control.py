"""Start, stop and look at the daemon."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.contract import StageError
from stages.embedded import distribution, venv
from stages.embedded.home import Running, home

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.embedded.home import Home

PORT = 4717
"""Taken unless it is taken: below the range that systems give to outgoing connections, and nobody's by registration."""

PORT_VARIABLE = "TOWPATH_EMBEDDED_PORT"
HEALTH_PATH = "/_towpath/health"
_START_S = 60.0
_STOP_S = 40.0
_PID_S = 20.0
"""For a Python to start, on a machine that is very busy."""
_LOG_BYTES = 10_000_000
_VARIABLES = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_TLS_VERIFY",
              "DOCKER_CERT_PATH", "DOCKER_CONFIG", "TOWPATH_FUNCTION_NETWORK")  # fmt: skip


@dataclass(frozen=True)
class Status:
    """Whether the daemon runs, and where."""

    state: Literal["running", "starting", "stopped"]
    home: str
    log: str
    endpoint_url: str | None = None
    pid: int | None = None
    outdated: bool = False

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}


def status(_progress: Callable[[str], None] = print) -> Status:
    """What is so now."""
    here = home()
    if not here.alive():
        return Status("stopped", str(here.path), str(here.log))
    running = here.read()
    if running is None:
        return Status("starting", str(here.path), str(here.log))
    outdated = running.source != source()
    return Status("running", str(here.path), str(here.log), running.endpoint_url, running.pid, outdated)


def start(progress: Callable[[str], None] = print) -> Status:
    """Make sure that it runs and answers. Raises StageError."""
    here = home()
    here.make()
    distribution.program()  # say early what is missing
    with here.starting_or_stopping():
        python = venv.interpreter(progress)  # within, so that a `stop` waits for what is under way
        if here.alive():
            _wait(here, None)
        else:
            _launch(here, python)
    return status()


def stop(progress: Callable[[str], None] = print) -> Status:
    """Stop it, with its registry and the containers of its functions; its state stays. Raises StageError.

    A start that is under way is waited for; a daemon whose start was interrupted is ended like any other.
    """
    here = home()
    if not here.path.exists():
        return status()
    with here.starting_or_stopping(lambda: progress("Another start or stop is under way; waiting for it.")):
        _end(here)
        return status()


def source() -> str:
    """A digest of the code that a daemon runs, to tell one that was started from older code."""
    digest = hashlib.sha256()
    stages = Path(__file__).parent.parent
    for file in sorted([*stages.glob("embedded/*"), *stages.glob("runtime/*.py"), *stages.glob("aws/names.py")]):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _launch(here: Home, python: Path) -> None:
    ports = _ports(here)
    lock = here.claim()
    try:
        daemon = _spawn(here, python, lock, ports)
    finally:
        os.close(lock)  # the daemon has it now
    _wait(here, daemon)


def _spawn(here: Home, python: Path, lock: int, ports: list[int]) -> subprocess.Popen[bytes]:
    here.forget()
    if here.log.exists() and here.log.stat().st_size > _LOG_BYTES:
        here.log.replace(here.log.with_suffix(".log.1"))
    with here.log.open("ab") as log:
        boot = Path(__file__).with_name("boot.py")
        return subprocess.Popen(
            [str(python), "-I", "-u", str(boot), str(here.path), source(), str(lock), *map(str, ports)],
            pass_fds=[lock],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=here.path,
            env={key: os.environ[key] for key in _VARIABLES if key in os.environ},
            start_new_session=True,  # it outlives whoever started it, and is not ended with their process group
        )


def _ports(here: Home) -> list[int]:
    """Which ports to try: the one asked for; else the last one, so that addresses stay true, the default one, any."""
    asked = os.environ.get(PORT_VARIABLE)
    if asked:
        if not (asked.isdecimal() and 0 < int(asked) < 65536):
            raise StageError(f"{PORT_VARIABLE} is {asked!r}, which is no port", hint="Set a number from 1 to 65535.")
        return [int(asked)]
    last = here.read()
    return [*([last.port] if last else []), PORT, 0]


def _wait(here: Home, daemon: subprocess.Popen[bytes] | None) -> None:
    """Wait until the daemon answers, or say why it does not."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        running = here.read()
        if running and _answers(running):
            return
        if daemon is not None and daemon.poll() is not None:
            raise StageError(f"the embedded AWS did not start:\n{_tail(here)}", hint=f"All it said is in {here.log}.")
        time.sleep(0.05)
    raise StageError(
        f"the embedded AWS does not answer:\n{_tail(here)}",
        hint=f"See {here.log}. End it with `towpath embedded stop`, then start it again.",
    )


def _answers(running: Running) -> bool:
    request = urllib.request.Request(running.endpoint_url + HEALTH_PATH)  # noqa: S310 - it is http, ours
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, ValueError), opener.open(request, timeout=5) as response:
        return bool(json.load(response).get("pid") == running.pid)
    return False


def _tail(here: Home) -> str:
    with contextlib.suppress(OSError), here.log.open("rb") as log:
        log.seek(max(0, here.log.stat().st_size - 4000))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])
    return "(it has no log)"


def _end(here: Home) -> None:
    pid = _pid(here)
    if pid is not None:
        for sign, wait_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            if _ended(here, wait_s):
                break
        else:
            raise StageError(f"process {pid}, the embedded AWS, does not end", hint=f"See {here.log}.")
    _remove_containers(here)


def _pid(here: Home) -> int | None:
    """The daemon's process, None if there is none. One that has just been started says it within moments."""
    deadline = time.monotonic() + _PID_S
    while here.alive():
        running = here.read()
        pid = here.pid() or (running.pid if running else None)  # a daemon of older code said it there alone
        if pid is not None:
            return pid
        if time.monotonic() > deadline:
            raise StageError(
                f"an embedded AWS is being started in {here.path}, and does not say which process it is",
                hint=f"See {here.log}, and try again.",
            )
        time.sleep(0.02)
    return None


def _ended(here: Home, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while here.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _remove_containers(here: Home) -> None:
    """Those of a daemon that was killed; one that was stopped has none left."""
    from stages.images import direct
    from stages.runtime.pool import remove_leftovers

    with contextlib.suppress(StageError, direct.Refused, OSError):  # without an engine there are no containers
        remove_leftovers(direct.connect(), here.labels)
