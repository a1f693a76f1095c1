"""A real embedded AWS with a home of its own, and accounts that no other test uses."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from support import functions

from stages.aws.names import engine_reference
from stages.contract import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

REGION = "eu-west-1"
COMMAND = [sys.executable, "-I", "-m", "stages.embedded"]


@dataclass(frozen=True)
class Daemon:
    """An embedded AWS, driven by its commands."""

    home: Path
    port: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TOWPATH_EMBEDDED_HOME": str(self.home), "TOWPATH_EMBEDDED_PORT": self.port}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run a command and do not wait for it."""
        nothing = subprocess.DEVNULL
        return subprocess.Popen([*COMMAND, *arguments], env=self.environment, stdout=nothing, stderr=nothing)

    def processes(self) -> list[str]:
        """The command lines of everything that runs for this home: the daemon, its registry."""
        found = []
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(each.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [line for line in found if f"{self.home}/" in line or f"{self.home} " in line]

    def json(self, command: str) -> dict[str, Any]:
        done = self.run(command, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@dataclass(frozen=True)
class Aws:
    """One account of it."""

    endpoint_url: str
    account: str
    region: str = REGION

    @property
    def access(self) -> Access:
        return Access(endpoint_url=self.endpoint_url)

    def client(self, service: str) -> Any:
        session = boto3.Session(
            aws_access_key_id=self.account, aws_secret_access_key="embedded", region_name=self.region
        )
        config = Config(retries={"total_max_attempts": 1})
        return session.client(service, endpoint_url=self.endpoint_url, config=config)  # type: ignore[call-overload]  # any

    def uri(self, repository: str, end: str = "") -> str:
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/{repository}{end}"

    def reference(self, repository: str, end: str = "") -> str:
        """What the engine is told."""
        return engine_reference(self.uri(repository, end), self.access)

    @property
    def login(self) -> dict[str, str]:
        [data] = self.client("ecr").get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        return {"username": user, "password": password}

    def push(self, engine: docker.DockerClient, image: str, repository: str, tag: str) -> str:
        """Push an image of the engine; its digest. Raises AssertionError with the registry's words."""
        reference = self.reference(repository)
        engine.images.get(image).tag(reference, tag)
        lines = list(engine.images.push(reference, tag, auth_config=self.login, stream=True, decode=True))
        engine.images.remove(f"{reference}:{tag}")
        assert not [line["error"] for line in lines if "error" in line], lines[-1]["error"]
        return next(str(line["aux"]["Digest"]) for line in lines if "aux" in line)


@pytest.fixture(scope="session")
def tiny_image(engine: docker.DockerClient) -> Iterator[str]:
    """An image of one small file, for what is only pushed and pulled."""
    tag = f"towpath-test-tiny:{uuid.uuid4().hex[:8]}"
    functions.build(engine, tag, "FROM scratch\nCOPY handler.py /\n", tag.encode())
    yield tag
    engine.images.remove(tag, force=True)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One daemon for all tests that do not stop it, as `start` describes it."""
    daemon = Daemon(tmp_path_factory.mktemp("embedded"))
    yield daemon.json("start")
    assert daemon.json("stop")["state"] == "stopped"


@pytest.fixture(scope="session")
def endpoint_url(running: dict[str, Any]) -> str:
    return str(running["endpoint_url"])


@pytest.fixture(scope="session")
def daemon_pid(running: dict[str, Any]) -> int:
    return int(running["pid"])


@pytest.fixture(scope="session")
def new_account() -> Callable[[], str]:
    numbers = itertools.count(500000000001)
    return lambda: str(next(numbers))


@pytest.fixture(scope="session")
def account(new_account: Callable[[], str]) -> Callable[[str], Aws]:
    """A new account at an endpoint."""
    return lambda endpoint_url: Aws(endpoint_url, new_account())


@pytest.fixture
def aws(endpoint_url: str, new_account: Callable[[], str]) -> Aws:
    return Aws(endpoint_url, new_account())


@pytest.fixture
def other_aws(endpoint_url: str, new_account: Callable[[], str]) -> Aws:
    return Aws(endpoint_url, new_account())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One that the test may start, stop and kill."""
    daemon = Daemon(tmp_path / "home")
    yield daemon
    daemon.run("stop")
