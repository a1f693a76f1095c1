"""How long packaging 30 images takes: AWS SAM CLI, `docker push` eight at a time, and ours, in turns, medians of five.

Against a registry on this machine, and against the same one 40 ms away; with nothing changed since the last time, and with
every image new. The rival is installed into a virtual environment of its own when first needed, below ~/.cache.
"""

from __future__ import annotations

import base64
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.images.running import build_scratch, running_registry
from support import rival
from support.far_away import far_away

from stages.contract import Request, write
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker import APIClient

FUNCTIONS = 30
TURNS = 5
RTT_MS = 40
HEAD = 'AWSTemplateFormatVersion: "2010-09-09"\nTransform: AWS::Serverless-2016-10-31\nResources:\n'

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass
class Set:
    """The images of one contender, by function."""

    client: APIClient
    images: dict[str, str]

    def renew(self) -> None:
        """Make every image another one: a layer of its own on what they share."""
        remove(self.client, self.images)
        mark = uuid.uuid4().hex
        base = build_scratch(self.client, "shared " * 1000)
        with ThreadPoolExecutor(4) as pool:
            built = pool.map(lambda name: build_scratch(self.client, f"{name} {mark}", base), self.images)
            self.images = dict(zip(self.images, built, strict=True))


def remove(client: APIClient, images: dict[str, str]) -> None:
    there = [image for image in images.values() if image and engine.find(client, image)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda image: client.remove_image(image, force=True), there))


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@pytest.fixture
def new_set(client: APIClient) -> Iterator[Callable[[], Set]]:
    sets: list[Set] = []

    def make() -> Set:
        sets.append(Set(client, {f"Function{at:02}": "" for at in range(FUNCTIONS)}))
        sets[-1].renew()
        return sets[-1]

    yield make
    for each in sets:
        remove(client, each.images)


class Ecr(BaseHTTPRequestHandler):
    """ECR as far as the rival asks it: a token for whatever registry it is about to push to."""

    registry = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {
            "authorizationToken": base64.b64encode(b"AWS:x").decode(),
            "expiresAt": time.time() + 40_000,
            "proxyEndpoint": f"http://{self.registry}",
        }
        body = json.dumps({"authorizationData": [token]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def ecr(registry: str) -> Iterator[str]:
    handler = type("For", (Ecr,), {"registry": registry})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _run(argv: list[Any], **options: Any) -> float:
    started = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    taken = time.perf_counter() - started
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return taken


class Rival:
    """`sam package` of images that are in the engine."""

    def __init__(self, folder: Path, images: Set, registry: str, endpoint: str) -> None:
        self.images, self.repository, self.folder = images, f"{registry}/rival", folder
        self.variables = {**rival.variables(folder), "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": endpoint}

    def prepare(self) -> None:
        text = HEAD
        for name, image in self.images.images.items():
            self.images.client.tag(image, f"bench-{name.lower()}", "v1")
            text += f"  {name}:\n    Type: AWS::Serverless::Function\n"
            text += f"    Properties: {{PackageType: Image, ImageUri: 'bench-{name.lower()}:v1'}}\n"
        (self.folder / "template.yaml").write_text(text)

    def run(self) -> float:
        argv = [rival.program(), "package", "--template-file", "template.yaml", "--image-repository", self.repository]
        return _run([*argv, "--output-template-file", "packaged.yaml"], cwd=self.folder, env=self.variables)


class Raw:
    """`docker push`, eight at a time."""

    def __init__(self, images: Set, registry: str) -> None:
        self.images, self.repository = images, f"{registry}/raw"
        self.names: list[str] = []

    def prepare(self) -> None:
        self.names = []
        for name, image in self.images.images.items():
            tag = f"{name.lower()}-{image.removeprefix('sha256:')[:12]}"
            self.images.client.tag(image, self.repository, tag)
            self.names.append(f"{self.repository}:{tag}")

    def run(self) -> float:
        names = "\n".join(self.names)
        started = time.perf_counter()
        subprocess.run(
            ["xargs", "-P8", "-n1", "docker", "push", "--quiet"],
            input=names,
            text=True,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - started


class Ours:
    """The stage `package`, as the runner starts it."""

    def __init__(self, folder: Path, images: Set, registry: str) -> None:
        self.images, self.folder, self.repository = images, folder, f"{registry}/ours"

    def prepare(self) -> None:
        images = self.folder / "inputs" / "images"
        (images / "templates").mkdir(parents=True, exist_ok=True)
        text = HEAD
        functions = {}
        here = engine.engine_id(self.images.client)
        for name, image in self.images.images.items():
            text += f"  {name}:\n    Type: AWS::Serverless::Function\n    Properties: {{PackageType: Image}}\n"
            text += "    Metadata: {Dockerfile: Dockerfile, DockerContext: .}\n"
            functions[name] = {
                "stack": "",
                "path": ["Resources", name],
                "source": image,
                "config": image,
                "platform": "linux/amd64",
                "size": 1,
                "base": None,
                "carrier": {"type": "engine", "engine": here, "image": image},
            }
        (images / "templates" / "template.yaml").write_text(text)
        document = {"v": 2, "templates": {"": "template.yaml"}, "parameters": {}, "functions": functions}
        (images / "images.json").write_text(json.dumps(document))
        options = {"repository": self.repository}
        write(
            self.folder / "request.json",
            Request("package", "apply", "bench-package-1", options, {"images": "inputs/images"}),
        )

    def run(self) -> float:
        shutil.rmtree(self.folder / "outputs", ignore_errors=True)
        (self.folder / "outputs").mkdir()
        return _run([sys.executable, "-I", "-m", "stages", "package"], cwd=self.folder)


class Command:
    """`towpath package`: it builds as well, so only what it takes with nothing changed can be compared."""

    def __init__(self, folder: Path, client: APIClient, registry: str) -> None:
        self.folder, self.client, self.repository = folder, client, f"{registry}/command"
        text = HEAD
        for at in range(FUNCTIONS):
            context = folder / f"f{at}"
            context.mkdir()
            (context / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
            (context / "code").write_text(uuid.uuid4().hex)
            text += f"  F{at}:\n    Type: AWS::Serverless::Function\n    Properties: {{PackageType: Image}}\n"
            text += f"    Metadata: {{Dockerfile: Dockerfile, DockerContext: f{at}}}\n"
        (folder / "template.yaml").write_text(text)

    def run(self) -> float:
        program = Path(sys.executable).parent / "towpath"
        argv = [program, "package", "--image-repository", self.repository, "--output-template-file", "packaged.yaml"]
        return _run(argv, cwd=self.folder)

    def close(self) -> None:
        argv = [str(Path(sys.executable).parent / "towpath"), "status", "latest", "--json"]
        told = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        functions = json.loads(told)["stages"]["build"]["facts"]["functions"]
        remove(self.client, {name: each["config"] for name, each in functions.items()})


@pytest.mark.parametrize("rtt_ms", [0, RTT_MS])
def test_package(tmp_path: Path, client: APIClient, new_set: Callable[[], Set], rtt_ms: int) -> None:
    with ExitStack() as stack:
        (tmp_path / "registry").mkdir()
        host = stack.enter_context(running_registry(tmp_path / "registry"))
        if rtt_ms:
            host = f"127.0.0.1:{stack.enter_context(far_away(int(host.partition(':')[2]), rtt_ms))}"
        endpoint = stack.enter_context(ecr(host))
        for name in ("rival", "ours", "command"):
            (tmp_path / name).mkdir()
        contenders: dict[str, Rival | Raw | Ours] = {
            "sam package": Rival(tmp_path / "rival", new_set(), host, endpoint),
            "docker push -P8": Raw(new_set(), host),
            "towpath": Ours(tmp_path / "ours", new_set(), host),
        }
        command = Command(tmp_path / "command", client, host)
        stack.callback(command.close)
        command.run()
        again: dict[str, list[float]] = {name: [] for name in (*contenders, "towpath package")}
        changed: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(TURNS + 1):  # the first one brings what they share into each repository
            for name, each in contenders.items():
                each.images.renew()
                each.prepare()
                times = each.run(), each.run()
                if turn:
                    changed[name].append(times[0])
                    again[name].append(times[1])
            if turn:
                again["towpath package"].append(command.run())
    for what, taken in (("all changed", changed), ("again", again)):
        _print(f"{FUNCTIONS} images, {what}, {rtt_ms} ms away", taken)


def _print(title: str, taken: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    ours = statistics.median(taken["towpath"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"  {name:<16} {median:7.2f} s [{min(times):.2f}-{max(times):.2f}]  {median / ours:6.2f} x ours")
