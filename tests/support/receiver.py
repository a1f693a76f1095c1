"""Somebody who is told: an HTTP server on this machine that keeps what it was sent, and answers as a test wants."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answers` are the statuses of the next requests, 200 once they are used up; `slow_s` is how long each takes; `answer` makes bodies."""

    port: int
    got: list[Got] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    slow_s: float = 0.0
    answer: Callable[[Got], Any] = lambda _: {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got = Got(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            made.got.append(got)
            time.sleep(made.slow_s)
            answer = json.dumps(made.answer(got)).encode()
            status = made.answers.pop(0) if made.answers else 200
            with contextlib.suppress(OSError):
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", f"{made.url}/elsewhere")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_GET = do_POST = _do  # noqa: N815 - the names that the server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Receiver(server.server_port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
