"""The registry that keeps the images' bytes: distribution's, Debian's package docker-registry, as a child process."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.contract import StageError

if TYPE_CHECKING:
    from pathlib import Path

LOG = "registry.log"
_START_S = 10.0


@dataclass(frozen=True)
class Reply:
    """An HTTP response, whole: none of those that pass through here is large."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Distribution:
    """A running registry."""

    address: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def ask(self, method: str, target: str, body: bytes = b"", media_type: str | None = None) -> Reply:
        """Make one small request; it blocks."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, target, body, {"Content-Type": media_type} if media_type else {})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def program() -> str:
    """The registry's program. Raises StageError if it is not installed."""
    found = shutil.which("docker-registry") or shutil.which("registry")
    if found is None:
        raise StageError(
            "the embedded AWS keeps images in distribution's registry, which is not installed",
            hint="Install it: sudo apt-get install docker-registry",
        )
    return found


def start(home: Path) -> Distribution:
    """Start it on a free loopback port, with its data below `home`. Raises StageError."""
    reason = ""
    for _ in range(3):  # the port is free when looked for, and may be taken when used
        address = f"127.0.0.1:{_free_port()}"
        (home / "registry.json").write_text(configuration(home, address), encoding="utf-8")
        command = [program(), "serve", str(home / "registry.json")]
        if dies_with_us := shutil.which("setpriv"):  # util-linux: also when the daemon is killed
            command = [dies_with_us, "--pdeathsig", "TERM", *command]
        with (home / LOG).open("wb") as log:  # of its own: it calls every layer that it does not have yet an error
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={})
        registry = Distribution(address, process)
        if _answers(registry):
            return registry
        registry.stop()
        reason = f"it ended with {registry.process.returncode}"
    raise StageError(f"the registry ({program()}) does not start: {reason}", hint=f"{home / LOG} says more.")


def configuration(home: Path, address: str) -> str:
    """Distribution's configuration: YAML, of which JSON is a part."""
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(home / "registry")},
                "cache": {"blobdescriptor": "inmemory"},
                "maintenance": {"uploadpurging": {"enabled": True, "age": "24h", "interval": "24h", "dryrun": False}},
            },
            "http": {"addr": address, "secret": secrets.token_hex(16)},  # it signs uploads in progress
            "health": {"storagedriver": {"enabled": False}},
        }
    )


def _answers(registry: Distribution) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and registry.process.poll() is None:
        try:
            return registry.ask("GET", "/v2/").status == 200
        except OSError:
            time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
