"""Where the daemon keeps its state, and whether it runs.

`$TOWPATH_EMBEDDED_HOME`, by default `$XDG_STATE_HOME/towpath/embedded`; one daemon for each. A running daemon holds a
lock on `daemon.lock`; the kernel lets go of it whatever way the daemon ends, so a stale file or a reused process id
cannot deceive. Whoever starts a daemon takes the lock and hands it down, so there is no moment at which one is under way and
nobody sees it; the daemon then writes its process id into the file, before all else.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "TOWPATH_EMBEDDED_HOME"
VERSION = 1
_CLAIM_WITHIN_S = 2.0
"""Whoever looks at a lock has it for an instant."""


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
        with self._usable():
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
        """Whether a daemon runs, ready or not; also one that was started this instant. Raises StageError."""
        with self._usable():
            try:
                file = (self.path / "daemon.lock").open("rb")
            except FileNotFoundError:
                return False
        with file:
            return not _lock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)

    def claim(self) -> int:
        """Take the lock of a daemon that is about to be started: the descriptor to hand down to it. Raises StageError."""
        with self._usable():
            descriptor = os.open(self.path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _CLAIM_WITHIN_S
        while not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > until:
                os.close(descriptor)
                raise StageError(f"another daemon has {self.path}")
            time.sleep(0.01)
        os.ftruncate(descriptor, 0)  # an earlier daemon's process id is anybody's by now
        return descriptor

    @staticmethod
    def hold(descriptor: int) -> None:
        """For the daemon: keep the lock that was handed down until the process ends, and say whose it is."""
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def pid(self) -> int | None:
        """The process that holds the lock. It means nothing unless one is `alive`; None if it has not said so yet."""
        try:
            said = (self.path / "daemon.lock").read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
        return int(said) if said.endswith("\n") and said.strip().isdecimal() else None

    @contextmanager
    def starting_or_stopping(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """One start or stop at a time; `on_wait` is called if another is under way. Raises StageError."""
        with self._usable():
            file = (self.path / "control.lock").open("a")
        with file:
            if not _lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB):
                on_wait()
                _lock(file.fileno(), fcntl.LOCK_EX)
            yield

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Say clearly that the directory is none, or cannot be had."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StageError(
                f"{self.path} cannot be the embedded AWS's home: {reason}",
                hint=f"Set {VARIABLE} to a directory that you can make and write, or leave it unset.",
            ) from error


def home(environ: dict[str, str] | None = None) -> Home:
    """The home that the environment names."""
    variables = os.environ if environ is None else environ
    if named := variables.get(VARIABLE):
        return Home(Path(named).absolute())
    state = variables.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Home(Path(state).absolute() / "towpath" / "embedded")


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
