"""How long a function takes on this machine: AWS SAM CLI, a bare container with AWS's emulator, and ours, in turns, medians.

TOWPATH_BENCH_TURNS sets another number of turns. The rival is installed into a virtual environment of its own when first needed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import rival
from support.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURNS = int(os.environ.get("TOWPATH_BENCH_TURNS", "5"))
ROOT = Path(__file__).parents[2]
TOWPATH = str(Path(sys.executable).parent / "towpath")
TEMPLATE = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Timeout: 10
      Events: {Get: {Type: Api, Properties: {Path: /x, Method: get}}}
    Metadata: {Dockerfile: Dockerfile, DockerContext: fn, DockerTag: v1}
"""
CLIENTS, REQUESTS = 20, 4000

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass
class Application:
    """A function that does nothing, built by both."""

    folder: Path
    image: str
    sam: dict[str, str]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    base = subprocess.run([ROOT / "scripts/base-image"], check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path_factory.mktemp("local")
    (folder / "fn").mkdir()
    (folder / "fn" / "Dockerfile").write_text(f'FROM {base}\nCOPY app.py ./\nCMD ["app.handler"]\n')
    code = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'x'}\n"
    (folder / "fn" / "app.py").write_text(f"# {uuid.uuid4().hex}\n{code}")
    (folder / "template.yaml").write_text(TEMPLATE)
    made = subprocess.run([TOWPATH, "build", "--json"], cwd=folder, check=True, capture_output=True, text=True).stdout
    image = json.loads(made)["stages"]["build"]["facts"]["functions"]["Fn"]["config"]
    variables = rival.variables(folder / "home")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # with them it asks AWS for ten seconds who it is
        del variables[name]
    subprocess.run([rival.program(), "build"], cwd=folder, env=variables, check=True, capture_output=True)
    yield Application(folder, image, variables)
    subprocess.run([TOWPATH, "prune", "--images", "--keep", "0"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["docker", "rmi", "-f", "fn:v1", "fn:rapid-x86_64"], check=False, capture_output=True)


def ours(application: Application) -> None:
    _run([TOWPATH, "local", "invoke", "Fn"], application.folder, dict(os.environ))


def sam(application: Application) -> None:
    _run([str(rival.program()), "local", "invoke", "Fn"], application.folder, application.sam)


def _run(argv: list[str], folder: Path, variables: dict[str, str]) -> None:
    told = folder / "told"
    with told.open("wb") as file:
        subprocess.run(argv, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    assert '"statusCode": 200' in told.read_text(), told.read_text()[-2000:]


@contextlib.contextmanager
def bare(application: Application) -> Iterator[Callable[[], None]]:
    """`docker run` with AWS's emulator put beside the image's program, to the first answer; its removal is not counted."""
    [emulator] = rival.program().parents[1].glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64")
    port, name = free_port(), f"towpath-bench-{uuid.uuid4().hex[:8]}"
    argv = ["docker", "run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:8080", "-v", f"{emulator}:/rie:ro"]
    argv += ["--entrypoint", "/rie", application.image, "/usr/bin/python3", "-m", "awslambdaric", "app.handler"]

    def run() -> None:
        subprocess.run(argv, check=True, capture_output=True)
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.2)  # a first packet may be lost
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.connect()
                connection.sock.settimeout(10)
                connection.request("POST", "/2015-03-31/functions/function/invocations", b"{}")
                assert b'"statusCode": 200' in connection.getresponse().read()
                return
            time.sleep(0.005)

    yield run
    subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


def _timed(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _cpu_s(act: Callable[[], None]) -> float:
    """The processor's time that a command takes, which other work on this machine changes little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    act()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_invoke(application: Application) -> None:
    taken: dict[str, list[float]] = {"towpath local invoke": [], "sam local invoke": [], "a bare container": []}
    for _ in range(TURNS):
        taken["towpath local invoke"].append(_timed(lambda: ours(application)))
        taken["sam local invoke"].append(_timed(lambda: sam(application)))
        with bare(application) as run:
            taken["a bare container"].append(_timed(run))
    print(f"\nlocal invoke, at a load of {os.getloadavg()[0]:.1f}")
    raw = statistics.median(taken["a bare container"])
    for name, times in taken.items():
        median_s = statistics.median(times)
        print(f"  {name:<22} first {times[0]:5.2f} s, median {median_s:5.2f} s, bare {median_s - raw:+.2f} s")
    print(
        f"  the command's processor time: {_cpu_s(lambda: ours(application)):.2f} s, sam {_cpu_s(lambda: sam(application)):.2f} s"
    )


@contextlib.contextmanager
def served(argv: list[str], application: Application, variables: dict[str, str]) -> Iterator[int]:
    port = free_port()
    with (application.folder / "served.log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "--port", str(port)], cwd=application.folder, env=variables, stdout=log, stderr=log
        )
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        assert process.poll() is None, (application.folder / "served.log").read_text()
        time.sleep(0.05)
    yield port
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def _requests(port: int, number: int) -> list[float]:
    """Ask one after the other on one connection, and give the times."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    for _ in range(number):
        begun = time.perf_counter()
        connection.request("GET", "/x")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"x")
        times.append(time.perf_counter() - begun)
    connection.close()
    return times


def test_start_api(application: Application) -> None:
    print("\nstart-api")
    with served([str(rival.program()), "local", "start-api"], application, application.sam) as port:
        times = _requests(port, TURNS + 1)
        print(
            f"  sam local start-api      first {times[0]:5.2f} s, median {statistics.median(times[1:]) * 1000:7.1f} ms"
        )
    with served([TOWPATH, "local", "start-api"], application, dict(os.environ)) as port:
        first, *times = _requests(port, 501)
        times.sort()
        told = f"median {statistics.median(times) * 1000:7.1f} ms, 99 % {times[495] * 1000:.1f} ms"
        print(f"  towpath local start-api  first {first:5.2f} s, {told}")
        for turn in ("while containers start", "warm"):
            begun = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as clients:
                list(clients.map(lambda _: _requests(port, REQUESTS // CLIENTS), range(CLIENTS)))
            rate = REQUESTS / (time.perf_counter() - begun)
            print(f"  {CLIENTS} clients, {turn}: {rate:.0f} requests a second, no error")
