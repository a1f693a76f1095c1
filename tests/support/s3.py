"""S3 for tests: the one of the embedded AWS by itself, in a process of its own, and a proxy before it that makes faults.

It keeps to `If-None-Match`, versions, Object Lock and checksums as S3 does, but answers one request at a time, so nothing ever
conflicts: 409, 503 and expired tokens, lost answers and look-alikes that ignore a header are the proxy's work.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

import boto3
from support.machine import free_port

from stages.embedded import venv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVE = """
import asyncio, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app
config = Config()
config.bind = ["127.0.0.1:" + sys.argv[1]]
asyncio.run(serve(app.app, config))
"""
REGION = "eu-west-1"
_buckets = itertools.count(1)


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the variables by which any AWS tool reaches it."""

    name: str
    port: int

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "111122223333",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    @property
    def client(self) -> Any:
        """A client that is none of ours: what an administrator, or an attacker, uses."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="111122223333",
            aws_secret_access_key="any",
            region_name=REGION,
        )

    def through(self, port: int) -> Bucket:
        """The same bucket, reached by another port."""
        return Bucket(self.name, port)


@contextlib.contextmanager
def server(folder: Path, **more: str) -> Iterator[int]:
    """Run it, with `more` variables, and give its port."""
    port = free_port()
    variables = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-engine",
        "TMPDIR": str(folder),
        "LOG_LEVEL": "ERROR",
        **more,
    }
    with (folder / "s3.log").open("wb") as log:
        argv = [str(venv.interpreter(print)), "-c", SERVE, str(port)]
        process = subprocess.Popen(
            argv, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait(port, process, folder / "s3.log")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def make_bucket(port: int, *, versions: bool = False, lock: bool = False) -> Bucket:
    """Make a bucket that no other test has."""
    bucket = Bucket(f"records-{next(_buckets)}", port)
    place = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    bucket.client.create_bucket(Bucket=bucket.name, **place, ObjectLockEnabledForBucket=lock)
    if versions and not lock:
        bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.02)


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def writes(self) -> bool:
        return self.method not in ("GET", "HEAD")

    @property
    def conditional(self) -> bool:
        return self.headers.get("if-none-match") == "*"


@dataclass
class Fault:
    """What happens to requests that `matches`, after `skip` of them, `times` times.

    `lose`: it is done, and the answer never comes. `cut`: half of the answer comes. `refuse`: nothing is done, and S3 says `code`.
    `strip`: it is done as if `If-None-Match` had not been asked for. `drop`: it never arrives. `then` is called before whoever asked
    could notice.
    """

    does: Literal["lose", "cut", "refuse", "strip", "drop"]
    matches: Callable[[Asked], bool]
    times: float = 1
    skip: int = 0
    status: int = 503
    code: str = "SlowDown"
    then: Callable[[], None] = lambda: None
    struck: int = 0


@dataclass
class Faults:
    """A proxy before S3, in threads of this process. `asked` is what came by."""

    to: int
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, does: Any, matches: Callable[[Asked], bool], **more: Any) -> Fault:
        fault = Fault(does, matches, **more)
        self.faults.append(fault)
        return fault

    def choose(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.asked.append(asked)
            for fault in self.faults:
                if not fault.matches(asked):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.struck < fault.times:
                    fault.struck += 1
                    return fault
        return None


@contextlib.contextmanager
def faults(to: int) -> Iterator[Faults]:
    """Run a proxy to a port."""
    made = Faults(to)
    proxy = _Proxy(("127.0.0.1", 0), type("Handler", (_Handler,), {"made": made}))
    made.port = proxy.server_address[1]
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or whose answer was cut, is none."""


_HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "date", "server"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    made: Faults

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self._serve()
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        fault = self.made.choose(Asked(self.command, self.path, headers, body))
        does = fault.does if fault else None
        if does == "refuse" and fault:
            text = f"<Error><Code>{fault.code}</Code><Message>told to by a test</Message></Error>".encode()
            self._answer(fault.status, {"Content-Type": "application/xml"}, text)
            return
        if does != "drop":
            passed = {name: value for name, value in headers.items() if name not in _HOP}
            if does == "strip":
                passed.pop("if-none-match", None)
            answer, data = self._forward(passed, body)
            if does != "lose":
                self._answer(answer.status, dict(answer.getheaders()), data, cut=does == "cut")
        if fault:
            fault.then()
        self.close_connection |= does in ("drop", "lose", "cut")

    def _forward(self, headers: dict[str, str], body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.made.to, timeout=60)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            return answer, answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        passed = {name.lower(): value for name, value in headers.items() if name.lower() not in _HOP}
        passed["date"] = headers.get("date") or headers.get("Date") or self.date_time_string()
        if self.command != "HEAD":
            passed["content-length"] = str(len(data))
        self.send_response_only(status)
        for name, value in passed.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
