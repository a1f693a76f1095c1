"""The engine's HTTP API, spoken directly, for who starts containers and cannot wait 100 ms until the client proper is loaded.

https://docs.docker.com/reference/api/engine/: versions 1.40 and later, and Podman's. A socket of this machine is asked by the standard library
alone; an engine that is reached in another way (`DOCKER_HOST`), by that client.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Protocol

from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import APIClient

_ATTACH = "attach?stream=1&stdout=1&stderr=1"
_FRAME_BYTES = 8  # of a frame's head: the stream, three zeros, and the length in network order
_SENT_S = 0.001


class Refused(Exception):
    """What an engine answers if it does not do it: the status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Attached(Protocol):
    """What a container writes from now to its end, in pieces, each with the stream: 1 is stdout, 2 stderr."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """An engine. Paths are those of its API without a version. May be used by any thread."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers, as JSON; None if that is nothing. Raises Refused, OSError."""

    def tell(self, method: str, path: str) -> None:
        """Ask for something whose answer is not waited for."""

    def attach(self, container: str) -> Attached:
        """Listen to a container, which need not have been started. Raises Refused, OSError."""

    def close(self) -> None: ...


def connect(connections: int = 10) -> Engine:
    """The engine of `DOCKER_HOST`, or of /var/run/docker.sock. Raises StageError if none answers.

    `connections` is how many threads use it at the same time.
    """
    address = engine.host()
    if not address.startswith("unix://") or os.environ.get("DOCKER_TLS_VERIFY"):
        return _ByClient(engine.connect(connections))
    engine.knock()
    return _BySocket(address.removeprefix("unix://"))


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=engine.TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _BySocket:
    """An engine at a socket of this machine."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with contextlib.closing(_Connection(self._path)) as connection:
            if path.endswith("/wait"):
                connection.timeout = None
            _send(connection, method, path, body)
            return _answer(connection.getresponse())

    def tell(self, method: str, path: str) -> None:
        with contextlib.closing(_Connection(self._path)) as connection:
            _send(connection, method, path)

    def attach(self, container: str) -> Attached:
        connection = _Connection(self._path)
        connection.timeout = None
        try:
            connection.request(
                "POST", f"/containers/{container}/{_ATTACH}", headers={"Connection": "Upgrade", "Upgrade": "tcp"}
            )
            sock = connection.sock
            response = connection.getresponse()  # which takes the socket away from the connection
            if response.status not in (101, 200):
                _answer(response)
            return _Frames(sock, response)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Nothing is kept open."""


def _send(connection: _Connection, method: str, path: str, body: Any = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})


def _answer(response: http.client.HTTPResponse) -> Any:
    data = response.read()
    if response.status >= 400:
        raise Refused(response.status, _message(data))
    return json.loads(data) if data.strip() else None


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode("utf-8", "replace").strip()


class _Frames:
    """The frames of an attached container, https://docs.docker.com/reference/api/engine/version/v1.40/#tag/Container/operation/ContainerAttach"""

    def __init__(self, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._sock = sock
        self._response = response
        self._file = response.fp

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while len(head := self._file.read(_FRAME_BYTES)) == _FRAME_BYTES:
            yield head[0], self._file.read(int.from_bytes(head[4:], "big"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # whoever reads is woken by it
        self._response.close()
        self._sock.close()


class _ByClient:
    """An engine that is reached in another way."""

    def __init__(self, client: APIClient) -> None:
        self._client = client

    def call(self, method: str, path: str, body: Any = None) -> Any:
        timeout = None if path.endswith("/wait") else engine.TIMEOUT_S
        response = self._client.request(method, self._client.base_url + path, json=body, timeout=timeout)
        if response.status_code >= 400:
            raise Refused(response.status_code, _message(response.content))
        return response.json() if response.content.strip() else None

    def tell(self, method: str, path: str) -> None:
        import requests

        with contextlib.suppress(requests.Timeout):
            self._client.request(method, self._client.base_url + path, timeout=_SENT_S)

    def attach(self, container: str) -> Attached:
        return _ClientFrames(self._client, container)

    def close(self) -> None:
        self._client.close()


class _ClientFrames:
    def __init__(self, client: APIClient, container: str) -> None:
        self._connection: Any = client.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1})

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        from docker.utils import socket as multiplexed

        frames: Any = multiplexed
        found: Iterator[tuple[int, bytes]] = frames.frames_iter(self._connection, tty=False)
        return found

    def close(self) -> None:
        self._connection._response.close()  # noqa: SLF001 - closing the connection itself leaves its socket open
