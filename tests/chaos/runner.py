"""Commands that pass fault points, as the tests give them: run one, kill it at a point, see what it had passed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Done:
    """How a command ended, and which fault points it passed. `acknowledged` are the objects that it had written for good."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str
    points: list[str]
    acknowledged: list[str]

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    def __str__(self) -> str:
        return f"towpath {' '.join(self.argv)}: {self.status}\n{self.err}{self.out}"


@dataclass
class Runners:
    """Forks runners, one at a time."""

    folder: Path
    variables: dict[str, str]
    endpoint_url: str | None = None
    process: subprocess.Popen[str] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        argv = [sys.executable, str(Path(__file__).with_name("faults.py"))]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        with self.process:
            pass  # at the end of its input it ends

    def enrol(self) -> Path:
        """Give a file that enrols the key with which these runners seal and let pass."""
        argv = ["ssh-keygen", "-y", "-f", self.variables["TOWPATH_KEY"]]
        public = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        trust = self.folder / "trust"
        roles = [f'{role} namespaces="towpath" {" ".join(public.split()[:2])}\n' for role in ("builder", "gate")]
        trust.write_text("".join(roles))
        return trust

    def run(
        self,
        project: Path,
        *argv: str,
        kill_at: str | None = None,
        kill_after: int | None = None,
        orphans: bool = False,
        started: Callable[[int], None] = lambda _: None,
    ) -> Done:
        """Run a command to its end, at a point of this name or number if need be; `started` is told its process id."""
        self.count += 1
        files = {name: str(self.folder / f"{self.count}.{name}") for name in ("out", "err", "journal")}
        order: dict[str, Any] = {
            **files,
            "argv": argv,
            "folder": str(project),
            "variables": {**os.environ, **self.variables},
            "kill_at": kill_at,
            "kill_after": kill_after,
            "orphans": orphans,
            "endpoint_url": self.endpoint_url,
        }
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(order), file=self.process.stdin, flush=True)
        pid = json.loads(self.process.stdout.readline())["pid"]
        started(pid)
        late = threading.Timer(TIMEOUT_S, os.kill, (pid, signal.SIGTERM))
        late.start()
        status = json.loads(self.process.stdout.readline())["status"]
        late.cancel()
        out, err, journal = (Path(each).read_text() if Path(each).exists() else "" for each in files.values())
        for each in files.values():
            Path(each).unlink(missing_ok=True)
        passed = [json.loads(line) for line in journal.splitlines()]
        written = [each["key"] for each in passed if each.get("new")]
        return Done(argv, status, out, err, [each["point"] for each in passed], written)


def restore(snapshot: Path, project: Path) -> None:
    """Put a project back as it was, its record with it."""
    remove(project)
    shutil.copytree(snapshot, project, symlinks=True)


def remove(project: Path) -> None:
    """Remove a project, with read-only folders that a killed runner has left."""
    if project.exists():
        for folder, _, _ in os.walk(project):
            with suppress(OSError):
                Path(folder).chmod(0o700)
        shutil.rmtree(project)


def objects(project: Path) -> dict[str, bytes]:
    """Everything in a project's record, by key."""
    store = project / ".towpath/store"
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.parent.name != "aside"
    }
