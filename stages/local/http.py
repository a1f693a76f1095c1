"""A small HTTP server: a thread for each connection, requests and responses as plain values. Standard library only."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from stages.contract import StageError
from stages.runtime.bodies import BodyHandler

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES = 10 * 1024 * 1024
"""Of a request: what API Gateway takes, and more than Lambda does."""
_OWN = frozenset({"connection", "content-length", "transfer-encoding", "date", "keep-alive"})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Request:
    """A request as it came. `path` and `query` are undecoded, `body` is None if it is larger than is taken."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    caller: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"
    at: float = field(default_factory=time.time)

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def decoded_path(self) -> str:
        return unquote(self.path)


@dataclass(frozen=True)
class Response:
    """What is answered. Its length is told by the server."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Reply: TypeAlias = "Callable[[Response], None]"
Answerer: TypeAlias = "Callable[[Request, Reply], None]"
"""Answers a request by calling the reply once; what it does afterwards keeps nobody waiting but the next on this connection."""


class Server(ThreadingHTTPServer):
    """Serves until closed. Raises StageError if the port cannot be had."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, answer: Answerer) -> None:
        self.answer = answer
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise StageError(f"cannot listen on {host}:{port}: {error.strerror}", hint=_remedy(error)) from error
        except OverflowError as error:
            hint = "Every API has a port of its own, one after the other: begin lower with --port."
            raise StageError(f"cannot listen on {host}:{port}: ports end at 65535", hint=hint) from error
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="http").start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes breaks its connection: nothing to say about."""


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "Choose another with --port, 0 for a free one, or end the program that has it."
    return "Choose another with --port, and with --host an address of this machine."


class _Handler(BodyHandler):
    server: Server
    timeout = 300  # of a connection that says nothing

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whichever method
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        self._replied = False
        try:
            body = self.body(BODY_BYTES)
        except ValueError:
            self.close_connection = True
            self._reply(Response(400, body=b"the length of the body makes no sense\n"))
            return
        request = Request(
            self.command,
            path,
            query,
            tuple(self.headers.items()),
            body,
            self.client_address[0],
            self.request_version,
        )
        try:
            self.server.answer(request, self._reply)
        except Exception:
            if not self._replied:
                self.close_connection = True
                self._reply(Response(500, body=b"a fault of Towpath's own: see its output\n"))
            raise

    def _reply(self, response: Response) -> None:
        self._replied = True
        lines = [f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {_one_line(value)}" for name, value in response.headers if name.lower() not in _OWN]
        if response.status >= 200 and response.status not in (204, 304):
            lines.append(f"Content-Length: {len(response.body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        body = b"" if self.command == "HEAD" or response.status in (204, 304) else response.body
        self.wfile.write(head + body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing: who answers does."""


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
