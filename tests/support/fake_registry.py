"""A registry over real HTTP that fails on purpose: it refuses, hangs up in the middle of a layer, wants fresh logins."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

OCI = "application/vnd.oci.image.manifest.v1+json"
Reply = tuple[int, dict[str, str], bytes]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Server(ThreadingHTTPServer):
    """`answers[method, path]` are given first, one a request, before it behaves; status 0 hangs up without an answer.

    `cuts` are how many bytes of an upload's body are read before it hangs up, one a request with a body. With `resumable` it
    keeps what it has read, else it knows nothing of the upload afterwards.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[tuple[str, str], list[Reply]] = defaultdict(list)
        self.cuts: list[int] = []
        self.resumable = True
        self.seen: list[tuple[str, str, str | None]] = []
        self.queries: list[str] = []
        self.received = 0
        self.wants: str | None = None
        self.challenge = 'Basic realm="test"'
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.upload_host = ""
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def methods(self) -> list[str]:
        return [method for method, _, _ in self.seen]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        path, _, query = self.path.partition("?")
        server, authorization = self.server, self.headers.get("Authorization")
        with server.lock:
            server.seen.append((self.command, path, authorization))
            server.queries.append(query)
            faults = server.answers[self.command, path]
            fault = faults.pop(0) if faults else None
        if fault is None and server.wants and authorization != server.wants and path != "/token":
            fault = (401, {"WWW-Authenticate": server.challenge}, b"")
        body = self._body(path)
        if body is None:
            self.close_connection = True
            return
        status, headers, content = fault or self._behave(path, query, body)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _do  # noqa: N815 - names of http.server

    def _body(self, path: str) -> bytes | None:
        length = int(self.headers.get("Content-Length") or 0)
        if not (path.startswith("/upload/") and length and self.server.cuts):
            data = self.rfile.read(length)
            self.server.received += len(data)
            return data
        data = self.rfile.read(self.server.cuts.pop(0))
        self.server.received += len(data)
        if self.server.resumable:
            self.server.uploads[path] += data
        else:
            del self.server.uploads[path]
        return None

    def _behave(self, path: str, query: str, body: bytes) -> Reply:
        if path == "/token":
            return 200, {}, b'{"token": "good"}'
        if self.command == "POST":
            return self._begin(query)
        if path.startswith("/upload/"):
            return self._upload(path, query, body)
        last = path.rpartition("/")[2]
        if self.command == "PUT":
            self.server.manifests[last] = body
            return 201, {}, b""
        return self._serve((self.server.manifests if "/manifests/" in path else self.server.blobs).get(last))

    def _serve(self, found: bytes | None) -> Reply:
        if found is None:
            return 404, {}, b""
        if wanted := self.headers.get("Range"):
            return 206, {}, found[int(wanted.removeprefix("bytes=").rstrip("-")) :]
        return 200, {"Content-Type": OCI}, found

    def _begin(self, query: str) -> Reply:
        asked = parse_qs(query)
        if asked.get("mount", [""])[0] in self.server.blobs and asked.get("from"):
            return 201, {}, b""
        path = f"/upload/{len(self.server.seen)}"
        self.server.uploads[path] = b""
        return 202, {"Location": f"{self.server.upload_host}{path}?state=a"}, b""

    def _upload(self, path: str, query: str, body: bytes) -> Reply:
        server = self.server
        if path not in server.uploads:
            return 404, {}, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "blob upload unknown"}]}'
        has = len(server.uploads[path])
        ranged = self.headers.get("Content-Range")
        if ranged and int(ranged.partition("-")[0]) != has:
            return 416, {}, b""
        server.uploads[path] += body
        has = len(server.uploads[path])
        headers = {"Location": f"{server.upload_host}{path}?state=b", "Range": f"0-{max(0, has - 1)}"}
        if self.command != "PUT":
            return (204 if self.command == "GET" else 202), headers, b""
        content, said = server.uploads.pop(path), parse_qs(query)["digest"][0]
        if digest(content) != said:
            return 400, {}, b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
        server.blobs[said] = content
        return 201, {}, b""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server() as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
