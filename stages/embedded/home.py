"""Where the daemon keeps its state, and whether it runs.

`$TOWPATH_EMBEDDED_HOME`, by default `$XDG_STATE_HOME/towpath/embedded`; one daemon for each. A running daemon holds a
lock on `daemon.lock`; the kernel lets go of it whatever way the daemon ends, so a stale file or a reused process id
cannot deceive.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "TOWPATH_EMBEDDED_HOME"
VERSION = 1


@dataclass(frozen=True)
class Running:
    """What a daemon says of itself in daemon.json, once it answers."""

    pid: int
    port: int
    registry_url: str
    source: str

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Home:
    """One daemon's directory."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "daemon.log"

    @property
    def labels(self) -> dict[str, str]:
        """What marks the containers of this home's functions."""
        return {"towpath.embedded": str(self.path)}

    @property
    def _running(self) -> Path:
        return self.path / "daemon.json"

    def make(self) -> None:
        """Make the directory, for this user only: it holds state of applications."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def write(self, running: Running) -> None:
        new = self._running.with_suffix(".new")
        new.write_text(json.dumps({"v": VERSION, **asdict(running)}) + "\n", encoding="utf-8")
        new.replace(self._running)

    def read(self) -> Running | None:
        """What the last daemon said; it may have ended. None if there was none, or it said nothing that we understand."""
        try:
            data = json.loads(self._running.read_bytes())
            return Running(data["pid"], data["port"], data["registry_url"], data["source"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """A daemon is about to start: what an earlier one said is no longer so, but for its port."""
        self._running.unlink(missing_ok=True)

    def alive(self) -> bool:
        """Whether a daemon runs, ready or not."""
        try:
            with (self.path / "daemon.lock").open("a") as file:
                return not _lock(file.fileno(), wait=False)
        except FileNotFoundError:
            return False

    def hold(self) -> None:
        """For the daemon: hold the lock that says that it lives, until the process ends. Raises StageError."""
        descriptor = os.open(self.path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor, wait=False):
            raise StageError(f"another daemon has {self.path}")

    @contextmanager
    def starting_or_stopping(self) -> Iterator[None]:
        """One start or stop at a time."""
        with (self.path / "control.lock").open("a") as file:
            _lock(file.fileno(), wait=True)
            yield


def home(environ: dict[str, str] | None = None) -> Home:
    """The home that the environment names."""
    variables = os.environ if environ is None else environ
    if named := variables.get(VARIABLE):
        return Home(Path(named).absolute())
    state = variables.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Home(Path(state).absolute() / "towpath" / "embedded")


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
