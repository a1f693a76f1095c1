"""The Runtime API over real HTTP, with the test as the runtime."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from stages.runtime.api import RuntimeApi
from stages.runtime.exchange import Answer, Exchange, Invocation
from stages.runtime.model import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

NEXT = "/2018-06-01/runtime/invocation/next"
ARN = "arn:aws:lambda:eu-west-1:111122223333:function:hello"


class Runtime:
    """A runtime as it would be in a container, on one connection."""

    def __init__(self, api: RuntimeApi) -> None:
        self.connection = http.client.HTTPConnection(api.address, timeout=5)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, str], bytes]:
        self.connection.request(method, path, body, **more)
        response = self.connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def api(exchange: Exchange) -> Iterator[RuntimeApi]:
    api = RuntimeApi(exchange, "127.0.0.1")
    api.only("127.0.0.1")
    yield api
    api.close()


@pytest.fixture
def runtime(api: RuntimeApi) -> Iterator[Runtime]:
    with closing(Runtime(api)) as runtime:
        yield runtime


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_an_invocation_end_to_end(runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor) -> None:
    ending = threads.submit(exchange.invoke, Invocation("r1", b'{"a":1}', 5, ARN, "Root=1-2"), 5)
    status, headers, body = runtime.call("GET", NEXT)
    assert (status, body) == (200, b'{"a":1}')
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "r1"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == ARN
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1-2"
    assert int(headers["Lambda-Runtime-Deadline-Ms"]) == pytest.approx((time.time() + 5) * 1000, abs=1500)
    assert runtime.call("POST", "/2018-06-01/runtime/invocation/r1/response", b'{"b":2}')[0] == 202
    assert ending.result(5) == Answer("response", b'{"b":2}')


def test_a_chunked_answer_as_go_sends_it(runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor) -> None:
    ending = threads.submit(exchange.invoke, Invocation("r1", b"", 5, ARN), 5)
    runtime.call("GET", NEXT)
    pieces = iter([b'{"b":', b"2}"])
    status, _, _ = runtime.call("POST", "/2018-06-01/runtime/invocation/r1/response", pieces, encode_chunked=True)
    assert status == 202
    assert ending.result(5).body == b'{"b":2}'
    assert runtime.call("GET", "/nowhere")[0] == 404  # the connection is at a request's boundary


def test_errors_of_handler_and_initialisation(
    runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor
) -> None:
    ending = threads.submit(exchange.invoke, Invocation("r1", b"", 5, ARN), 5)
    runtime.call("GET", NEXT)
    runtime.call("POST", "/2018-06-01/runtime/invocation/r1/error", b'{"errorType":"E"}')
    assert ending.result(5) == Answer("error", b'{"errorType":"E"}')
    assert runtime.call("POST", "/2018-06-01/runtime/init/error", b'{"errorType":"I"}')[0] == 202
    assert exchange.invoke(Invocation("r2", b"", 5, ARN), 5) == Answer("init-error", b'{"errorType":"I"}')


@pytest.mark.parametrize(
    ("headers", "error_type"),
    [({"Lambda-Runtime-Function-Error-Type": "Own.Error"}, "Own.Error"), ({}, "Unhandled")],
)
def test_an_error_without_a_body(
    runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor, headers: dict[str, str], error_type: str
) -> None:
    ending = threads.submit(exchange.invoke, Invocation("r1", b"", 5, ARN), 5)
    runtime.call("GET", NEXT)
    runtime.call("POST", "/2018-06-01/runtime/invocation/r1/error", b"", headers=headers)
    answer = ending.result(5)
    assert (answer.ending, json.loads(answer.body)["errorType"]) == ("error", error_type)


def test_a_response_larger_than_lambda_takes(runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor) -> None:
    ending = threads.submit(exchange.invoke, Invocation("r1", b"", 5, ARN), 5)
    runtime.call("GET", NEXT)
    too_large = b"x" * (LIMITS.payload_bytes + 1)
    assert runtime.call("POST", "/2018-06-01/runtime/invocation/r1/response", too_large)[0] == 413
    assert ending.result(5) == Answer("too-large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/2018-06-01/runtime/else", 404),
        ("POST", "/2018-06-01/runtime/invocation/r1", 404),
        ("POST", "/2018-06-01/runtime/invocation/never/response", 400),
        ("GET", "/2020-01-01/extension/register", 404),
        ("PUT", "/bucket/key", 404),
    ],
)
def test_what_is_not_served(runtime: Runtime, method: str, path: str, status: int) -> None:
    answered, _, body = runtime.call(method, path)
    assert answered == status
    assert json.loads(body)["errorType"]


def test_another_container_is_refused(exchange: Exchange) -> None:
    """A neighbour on the same network must not take a function's events."""
    api = RuntimeApi(exchange, "127.0.0.1")
    try:
        api.only("172.19.0.7")
        with closing(Runtime(api)) as stranger:
            assert stranger.call("GET", NEXT)[0] == 403
        assert exchange.asked_at is None
    finally:
        api.close()


def test_answers_are_not_delayed_by_the_network(
    runtime: Runtime, exchange: Exchange, threads: ThreadPoolExecutor
) -> None:
    """Unbuffered writes, Nagle's algorithm and delayed ACKs together cost 40 to 88 ms for each request, the quickest too."""
    took_s = []
    for number in range(10):
        begun = time.monotonic()
        ending = threads.submit(exchange.invoke, Invocation(f"r{number}", b"{}", 5, ARN), 5)
        runtime.call("GET", NEXT)
        runtime.call("POST", f"/2018-06-01/runtime/invocation/r{number}/response", b"{}")
        ending.result(5)
        took_s.append(time.monotonic() - begun)
    assert min(took_s) < 0.03


class _Aws(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", self.headers["Authorization"])
        self.end_headers()
        self.wfile.write(self.path.encode() + b" " + body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1234")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


def test_other_calls_are_passed_on_to_the_aws_that_there_is(exchange: Exchange) -> None:
    aws = HTTPServer(("127.0.0.1", 0), _Aws)
    Thread(target=aws.serve_forever, daemon=True).start()
    api = RuntimeApi(exchange, "127.0.0.1", f"127.0.0.1:{aws.server_address[1]}")
    api.only("127.0.0.1")
    try:
        with closing(Runtime(api)) as runtime:
            status, headers, body = runtime.call("PUT", "/bucket/key?a=b", b"data", headers={"Authorization": "signed"})
            assert (status, headers["ETag"], body) == (200, "signed", b"/bucket/key?a=b data")
            assert runtime.call("HEAD", "/bucket/key")[1]["Content-Length"] == "1234"
    finally:
        api.close()
        aws.shutdown()
        aws.server_close()
