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

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOWPATH = str(Path(sys.executable).parent / "towpath")


@dataclass
class Machine:
    """`variables` go on top of this process's own; `inside` is what puts a command on this machine."""

    project: Path
    variables: dict[str, str] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*self.inside, TOWPATH, *arguments],
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

    def get(self, url: str) -> Any:
        """Give the JSON that a URL answers on this machine."""
        code = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=20).read().decode())"
        argv = [*self.inside, sys.executable, "-c", code, url]
        return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

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
def second_machine(project: Path, *, own_aws: bool = True) -> Iterator[Machine]:
    """Give a machine with a network of its own, loopback included, a Docker Engine of its own and an embedded AWS of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a network and a Docker Engine")
    with tempfile.TemporaryDirectory(prefix="machine-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)  # short: a socket's path has at most 104 characters
        host = f"unix://{folder}/docker.sock"
        roots = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        argv = ["unshare", "--net", sys.executable, "-c", _LOOPBACK_UP, "dockerd", "-H", host, *roots]
        variables = {"DOCKER_HOST": host, "TOWPATH_EMBEDDED_HOME": f"{folder}/embedded"}
        log = (folder / "log").open("wb")
        with log, subprocess.Popen(argv, stdout=log, stderr=log) as engine:
            try:
                _wait_for_engine(host, engine, folder / "log")
                machine = Machine(project, variables, ["nsenter", f"--net=/proc/{engine.pid}/ns/net", "--"])
                try:
                    yield machine
                finally:
                    if own_aws:
                        machine.towpath("embedded", "stop")
            finally:
                engine.terminate()


_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
up = struct.pack("16sh14x", b"lo", 1 | 64)  # IFF_UP | IFF_RUNNING, see netdevice(7)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, up)  # SIOCSIFFLAGS
os.execvp(sys.argv[1], sys.argv[1:])
"""


def _wait_for_engine(host: str, engine: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False).returncode:
        assert engine.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
