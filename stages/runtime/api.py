"""AWS's Lambda Runtime API, version 2018-06-01, over HTTP for one container.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. Standard library only. One server, on a port of its own,
for each container: the paths of the API name no function, so the port has to. Where there is an AWS for functions to
call (`aws`), the same port passes their calls on to it, for containers reach nothing else of this machine.
"""

from __future__ import annotations

import http.client
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from stages.runtime.bodies import BodyHandler
from stages.runtime.exchange import Answer
from stages.runtime.model import LIMITS, error_payload

if TYPE_CHECKING:
    from stages.runtime.exchange import Exchange

_ROOT = "/2018-06-01/runtime/"
_CALL_BYTES = 64 * 1024 * 1024
_CALL_S = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te", "upgrade"})


class RuntimeApi(ThreadingHTTPServer):
    """Serves one exchange on `host` until closed. `only` is the one address that may call, once it is known.

    `aws` is `host:port` of an AWS that is not the real one, or None.
    """

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, exchange: Exchange, host: str, aws: str | None = None) -> None:
        super().__init__((host, 0), _Handler)
        self.exchange = exchange
        self.aws = aws
        self._caller: str | None = None
        self._caller_known = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.2,), daemon=True, name="runtime-api").start()

    @property
    def address(self) -> str:
        """`host:port`, as AWS_LAMBDA_RUNTIME_API wants it."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    def only(self, caller: str) -> None:
        """Answer this address alone; until it is known, requests wait."""
        self._caller = caller
        self._caller_known.set()

    def admits(self, caller: str) -> bool:
        return self._caller_known.wait(10) and caller == self._caller

    def close(self) -> None:
        self._caller_known.set()
        self.exchange.lost()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A container that ends breaks its connections: nothing to say about."""


class _Handler(BodyHandler):
    server: RuntimeApi

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        if not self.path.startswith(_ROOT):
            self._pass_on()
        elif self._admitted():
            self._give_work()

    def do_POST(self) -> None:  # noqa: N802 - as above
        if not self.path.startswith(_ROOT):
            self._pass_on()
        elif self._admitted():
            self._take(self.path.removeprefix(_ROOT).split("/"), self.body(LIMITS.payload_bytes))

    def _give_work(self) -> None:
        given = self.server.exchange.next() if self.path == f"{_ROOT}invocation/next" else None
        if given is None:
            self.close_connection = True
            self._unknown()
            return
        invocation, deadline = given
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        if invocation.client_context:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        self._send(200, invocation.payload, headers)

    def _take(self, parts: list[str], body: bytes | None) -> None:
        if parts == ["init", "error"]:
            self.server.exchange.fail_init(body or self._unsaid("Runtime.InitError"))
            self._accepted()
        elif len(parts) == 3 and parts[0] == "invocation" and parts[2] in ("response", "error"):
            self._take_answer(parts[1], parts[2], body)
        else:
            self._unknown()

    def _take_answer(self, request_id: str, name: str, body: bytes | None) -> None:
        if body is None:
            self.server.exchange.answer(request_id, Answer("too-large"))
            message = f"Exceeded maximum allowed payload size ({LIMITS.payload_bytes} bytes)."
            self._send(413, error_payload("RequestEntityTooLarge", message))
        elif self.server.exchange.answer(
            request_id, Answer("response", body) if name == "response" else Answer("error", body or self._unsaid())
        ):
            self._accepted()
        else:
            self._send(400, error_payload("InvalidRequestID", "Invalid request ID"))

    def _unsaid(self, error_type: str = "Unhandled") -> bytes:
        """The error of a runtime that says no more of it than its type, if that."""
        return error_payload(self.headers.get("Lambda-Runtime-Function-Error-Type") or error_type, "")

    def _pass_on(self) -> None:
        """Let the function call the AWS that there is."""
        if not self._admitted():
            return
        body = self.body(_CALL_BYTES)
        if self.server.aws is None or body is None:
            self._unknown()
            return
        connection = http.client.HTTPConnection(self.server.aws, timeout=_CALL_S)
        try:
            own = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, own)
            response = connection.getresponse()
            dropped = _HOP_BY_HOP - {"content-length"} if self.command == "HEAD" else _HOP_BY_HOP
            headers = {name: value for name, value in response.getheaders() if name.lower() not in dropped}
            self._send(response.status, response.read(), headers)
        except OSError as error:
            self._send(502, error_payload("BadGateway", str(error)))
        finally:
            connection.close()

    do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _pass_on  # noqa: N815 - http.server's names

    def _admitted(self) -> bool:
        if self.server.admits(self.client_address[0]):
            return True
        self.close_connection = True
        self._send(403, error_payload("Forbidden", "this port is another container's"))
        return False

    def _accepted(self) -> None:
        self._send(202, b'{"status":"OK"}')

    def _unknown(self) -> None:
        self._send(404, error_payload("NotFound", f"{self.command} {self.path} is not served here"))

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        if self.command != "HEAD":  # whose answer has the length of what GET would give
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing: the function's log is the container's."""
