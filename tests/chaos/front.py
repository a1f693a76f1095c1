"""Stands between the stages and what they call, and knows every call: HTTP to the embedded AWS, its registry and endpoints,
and to the engine's socket. Told to, it ends the caller before a call is passed on, amid its answer, or after the answer has come
and before it is handed on.

Calls have names that are the same in every run, such as `cloudformation ExecuteChangeSet` or `engine POST /build`, and a
number if there is more than one of a name.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

When = Literal["before", "amid", "after"]
CHUNK_BYTES = 1 << 16
DIES_WITHIN_S = 10.0
_LAST_CHUNK = b"0\r\n\r\n"
_TLS = b"\x16"
"""The first byte of a handshake, RFC 8446, 5.1."""


@dataclass
class Call:
    """One call. `status` is None until the answer has come; `pieces` says whether that came in several."""

    name: str
    by_engine: bool
    status: int | None = None
    pieces: int = 0

    @property
    def accepted(self) -> bool:
        return self.status is not None and self.status < 300


@dataclass
class Calls:
    """What was called so far, by all fronts that share it, and the call at which the caller ends.

    What calls on behalf of the caller does not end with it: the engine, and with `lives_on` the stage's process too.
    """

    made: list[Call] = field(default_factory=list)
    fault: tuple[When, str] | None = None
    end: Callable[[], None] = lambda: None
    lives_on: bool = False
    _count: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Forget what was called."""
        with self._lock:
            self.made, self.fault = [], None
            self._count.clear()

    def ends(self, when: When, call: Call) -> bool:
        """Whether who makes this call ends here."""
        return self.strikes(when, call) and not (call.by_engine or self.lives_on)

    def begin(self, name: str, *, by_engine: bool) -> Call:
        with self._lock:
            self._count[name] += 1
            call = Call(name if self._count[name] == 1 else f"{name} #{self._count[name]}", by_engine)
            self.made.append(call)
            return call

    def strikes(self, when: When, call: Call) -> bool:
        """End the caller if it is to end here."""
        if self.fault != (when, call.name):
            return False
        self.fault = None
        self.end()
        return True

    def accepted(self, name: str) -> list[Call]:
        """The calls of a name that were answered with success."""
        return [call for call in self.made if call.accepted and call.name.partition(" #")[0] == name]


class _Message:
    """A request or response: its head as it came, and how its body is framed."""

    def __init__(self, stream: BufferedReader) -> None:
        lines = []
        while line := stream.readline(1 << 16):
            lines.append(line)
            if line in (b"\r\n", b"\n"):
                break
        self.head = b"".join(lines)
        self.start = lines[0].decode("latin-1").split(None, 2) if len(lines) > 1 else []
        pairs = [line.decode("latin-1").partition(":") for line in lines[1:]]
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.open_ended = False
        self._stream = stream

    @property
    def is_last(self) -> bool:
        """Whether who asks expects the connection to end with the answer."""
        return "HTTP/1.0" in self.start[-1] or self.headers.get("connection", "").lower() == "close"

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        given = self.headers.get("content-length")
        return int(given) if given is not None else None

    def pieces(self, *, to_the_end: bool) -> Iterator[bytes]:
        """The body as it stands on the wire, as it comes."""
        if self.chunked:
            yield from self._chunks()
        elif self.length is not None:
            left = self.length
            while left and (data := self._stream.read1(min(left, CHUNK_BYTES))):
                left -= len(data)
                yield data
        elif to_the_end:
            while data := self._stream.read1(CHUNK_BYTES):
                yield data

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self._stream.readline()
            if not size:
                return
            length = int(size.split(b";")[0], 16)
            data = self._stream.read(length + 2) if length else self._trailer()
            yield size + data
            if not length:
                return

    def _trailer(self) -> bytes:
        lines = []
        while line := self._stream.readline():
            lines.append(line)
            if line in (b"\r\n", b"\n"):
                break
        return b"".join(lines)


class Front:
    """Listens in place of `upstream`, which is a port of the loopback or a socket's path."""

    def __init__(self, calls: Calls, upstream: int | str, path: Path | None = None) -> None:
        self.calls = calls
        self.upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen(64)
        self.address = f"unix://{path}" if path else f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                down, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(down,), daemon=True).start()

    def _serve(self, down: socket.socket) -> None:
        with (
            down,
            suppress(OSError, ValueError),
            self._connect() as up,
            down.makefile("rb") as asked,
            up.makefile("rb") as said,
        ):
            while self._exchange(down, up, asked, said):
                pass

    def _connect(self) -> socket.socket:
        if isinstance(self.upstream, int):
            return socket.create_connection(("127.0.0.1", self.upstream))
        up = socket.socket(socket.AF_UNIX)
        up.connect(self.upstream)
        return up

    def _exchange(self, down: socket.socket, up: socket.socket, asked: BufferedReader, said: BufferedReader) -> bool:
        """Pass on one request and its answer; False if the connection is done with."""
        if asked.peek(1)[:1] == _TLS:  # the engine tries that first, and now knows better
            down.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return False
        request = _Message(asked)
        if not request.start:
            return False
        body = request.pieces(to_the_end=False)
        whole = b"" if request.chunked or (request.length or 0) > CHUNK_BYTES * 16 else b"".join(body)
        by_engine = request.headers.get("user-agent", "").startswith("docker/")
        call = self.calls.begin(name_of(request.start, request.headers, whole), by_engine=by_engine)
        if self.calls.ends("before", call):
            return _gone(down)
        up.sendall(request.head + whole)
        for piece in body:
            up.sendall(piece)
        answer = _Message(said)
        while answer.start and answer.start[1] == "100":
            down.sendall(answer.head)
            answer = _Message(said)
        if not answer.start:
            return False
        call.status = int(answer.start[1])
        if call.status == 101:
            threading.Thread(target=_pass_on, args=(asked, up), daemon=True).start()
            answer.open_ended = True
            down.sendall(answer.head)
            answer.head = b""
        goes_on = self._answer(down, answer, call, head=request.start[0] == "HEAD")
        return goes_on and not request.is_last

    def _answer(self, down: socket.socket, answer: _Message, call: Call, *, head: bool) -> bool:
        """Hand on an answer, but its end only once nothing is to happen after the call.

        A stream is handed on as it comes: its caller may have to answer before there is more.
        """
        empty = head or call.status in (204, 304)
        streams = answer.open_ended or (answer.chunked and not empty)
        held = answer.head
        if streams:
            down.sendall(held)
            held = b""
        for piece in () if empty else answer.pieces(to_the_end=True):
            call.pieces += 1
            if call.pieces == 2 and self.calls.ends("amid", call):
                return _gone(down)
            down.sendall(held)
            held = piece
            if streams and piece != _LAST_CHUNK:
                down.sendall(held)
                held = b""
        if self.calls.ends("after", call):
            return _gone(down)
        down.sendall(held)
        framed = empty or answer.chunked or answer.length is not None
        return framed and answer.headers.get("connection", "").lower() != "close"


def _pass_on(asked: BufferedReader, up: socket.socket) -> None:
    """What the caller says on a connection that is no longer HTTP, as BuildKit's sessions."""
    with suppress(OSError, ValueError):
        while data := asked.read1(CHUNK_BYTES):
            up.sendall(data)
        up.shutdown(socket.SHUT_WR)


def _gone(down: socket.socket) -> bool:
    """Wait until the caller is dead: it must not see its connection break."""
    deadline = time.monotonic() + DIES_WITHIN_S
    while time.monotonic() < deadline:
        readable, _, _ = select.select([down], [], [], 0.2)
        with suppress(ConnectionError):
            if not readable or down.recv(1, socket.MSG_PEEK):
                continue
        break
    return False


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|\b[0-9a-f]{64}\b")
_UPLOAD = re.compile(r"/uploads/[^/]+")
_IMAGE = re.compile(r"^/images/(?!get$).+?(?=/(json|push|tag)$|$)")
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/(?P<service>[^/]+)/")


def name_of(start: list[str], headers: dict[str, str], body: bytes) -> str:
    """What a call is, the same in every run."""
    method, target = start[0], urlsplit(start[1])
    path = _DIGEST.sub("DIGEST", unquote(target.path))
    if path.startswith("/v2/"):
        return f"registry {method} {_UPLOAD.sub('/uploads/UPLOAD', re.sub(r'/[0-9]{12}/', '/', path))}"
    if path.startswith("/_api/"):
        return f"endpoint {method} /{path.split('/', 5)[-1]}"
    scope = _SCOPE.search(headers.get("authorization", ""))
    if scope is None:
        return f"engine {method} {_IMAGE.sub('/images/IMAGE', re.sub(r'^/v[0-9]+[.][0-9]+', '', path))}"
    service = scope["service"]
    if action := headers.get("x-amz-target"):
        return f"{service} {action.rpartition('.')[2]}"
    if action := (parse_qs(body.decode("latin-1")).get("Action") or [""])[0]:
        return f"{service} {action}"
    return f"{service} {method} {re.sub(r'-[0-9A-Za-z]{8,}(?=/|$)', '-ID', path)}"
