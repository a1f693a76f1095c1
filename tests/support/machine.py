"""A machine as a user sees it: a project folder, environment variables, and the command `towpath`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOWPATH = str(Path(sys.executable).parent / "towpath")


@dataclass
class Machine:
    """`variables` go on top of this process's own."""

    project: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [TOWPATH, *arguments],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def towpath(self, *arguments: str, code: int = 0, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command and expect this exit code."""
        with self.popen(*arguments) as process:
            out, err = process.communicate(timeout=timeout_s)
        assert process.returncode == code, (
            f"towpath {' '.join(arguments)}: exit code {process.returncode}\n{err}\n{out}"
        )
        assert "Traceback" not in err + out
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json and give what it prints."""
        return json.loads(self.towpath(*arguments, "--json", code=code).stdout)


def copy_example(project: Path, accounts: str, *, own_registry: bool) -> None:
    """Copy the example pipeline with its application.

    `accounts` begins the ids of its accounts, so that it is apart from others. Without a registry of its own it shares
    that of the others, and pushes in a moment what they have pushed already.
    """
    project.mkdir(parents=True)
    for name in ("pipeline.yaml", "pipeline.d", "examples"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    environments = project / "pipeline.d/environments.yaml"
    changing = r'(account: ")\d{4}' if own_registry else r'(account: ")(?!1111)\d{4}'
    text, count = re.subn(changing, rf"\g<1>{accounts}", environments.read_text())
    assert count >= 2
    environments.write_text(text)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "The example"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)


def free_port() -> int:
    """Give a port on the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def second_engine() -> Iterator[str]:
    """Run another Docker Engine with a data root of its own and give its DOCKER_HOST."""
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        roots = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        argv = ["dockerd", "-H", host, *roots, "--bridge", "none", "--iptables=false"]
        log = (folder / "log").open("wb")
        with log, subprocess.Popen(argv, stdout=log, stderr=log) as engine:
            try:
                _wait_for_engine(host, engine, folder / "log")
                yield host
            finally:
                engine.terminate()


def _wait_for_engine(host: str, engine: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False).returncode:
        assert engine.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
