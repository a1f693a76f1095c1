"""The client against a server that fails on purpose; against a real registry it is tested in the integration tests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError
from stages.images import refusals, registry
from stages.images.layout import Blob, LayoutImage
from stages.images.registry import Login, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYER = b"layer" * 1000
CONFIG = b"{}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Server(ThreadingHTTPServer):
    """A registry with faults: `answers[method, path]` are given first, one a request, before it behaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[tuple[str, str], list[tuple[int, dict[str, str], bytes]]] = defaultdict(list)
        self.seen: list[tuple[str, str, str | None]] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.upload = b""
        self.upload_host = ""

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, path, self.headers.get("Authorization")))
        faults = self.server.answers[self.command, path]
        status, headers, content = faults.pop(0) if faults else self._behave(path, query, body)
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

    def _behave(self, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server, last = self.server, path.rpartition("/")[2]
        if self.command == "POST":
            return 202, {"Location": f"{server.upload_host}/upload/1?state=a"}, b""
        if self.command == "PATCH":
            server.upload = body
            return 202, {"Location": f"{server.upload_host}/upload/1?state=b"}, b""
        if self.command == "PUT" and path.startswith("/upload/"):
            digest = dict(part.split("=") for part in query.split("&"))["digest"]
            server.blobs[digest] = server.upload
            return (201 if _digest(server.upload) == digest else 400), {}, b""
        if self.command == "PUT":
            server.manifests[last] = body
            return 201, {}, b""
        found = (server.manifests if "/manifests/" in path else server.blobs).get(last)
        return (404, {}, b"") if found is None else (200, {"Content-Type": registry.MANIFEST_TYPES[0]}, found)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def repository(server: Server) -> Iterator[Repository]:
    url = f"{server.address}/v2/app"
    http = registry.connections(url, 2)
    yield Repository(url, http, Login("AWS", "token"))
    http.clear()


@pytest.fixture
def image(tmp_path: Path) -> LayoutImage:
    folder = tmp_path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    blobs = [Blob(_digest(data), len(data), kind) for data, kind in ((CONFIG, "config"), (LAYER, "layer"))]
    for data in (CONFIG, LAYER):
        (folder / _digest(data).removeprefix("sha256:")).write_bytes(data)
    document = {
        "mediaType": registry.MANIFEST_TYPES[0],
        "config": blobs[0].descriptor,
        "layers": [blobs[1].descriptor],
    }
    return LayoutImage(tmp_path, json.dumps(document).encode(), blobs)


def _methods(server: Server) -> list[str]:
    return [method for method, _, _ in server.seen]


def test_only_what_is_missing_is_uploaded(server: Server, repository: Repository, image: LayoutImage) -> None:
    server.blobs[_digest(LAYER)] = LAYER
    digest = registry.push(repository, image, "v1")
    assert server.blobs[_digest(CONFIG)] == CONFIG
    assert server.manifests["v1"] == image.manifest
    assert digest == _digest(image.manifest)
    assert _methods(server) == ["HEAD", "POST", "PATCH", "PUT", "HEAD", "PUT"]


def test_an_upload_that_breaks_in_the_middle_is_begun_anew(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    server.answers["PATCH", "/upload/1"] += [(0, {}, b""), (503, {}, b"busy"), (500, {}, b"")]
    registry.push(repository, image, "v1")
    assert server.blobs == {_digest(CONFIG): CONFIG, _digest(LAYER): LAYER}


def test_a_refusal_is_told_at_once_in_the_registrys_words(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    said = json.dumps({"errors": [{"code": "DENIED", "message": "not authorized to perform ecr:PutImage"}]}).encode()
    server.answers["PUT", "/v2/app/manifests/v1"] += [(403, {}, said)] * 9
    with pytest.raises(StageError, match="DENIED: not authorized to perform ecr:PutImage") as caught:
        registry.push(repository, image, "v1")
    assert caught.value.cls == "terminal"
    assert len(server.answers["PUT", "/v2/app/manifests/v1"]) == 8  # not tried again


def test_tries_end(server: Server, repository: Repository) -> None:
    server.answers["GET", "/v2/app/manifests/v1"] += [(429, {}, b"")] * 99
    with pytest.raises(StageError) as caught:
        registry.manifest(repository, "v1")
    assert caught.value.cls == "retryable"
    assert len(server.seen) == refusals.ATTEMPTS


def test_a_login_is_not_shown_to_another_host(server: Server, repository: Repository, image: LayoutImage) -> None:
    server.upload_host = f"http://localhost:{server.server_port}"  # the same server by another name is another host
    registry.push(repository, image, "v1")
    shown = {(path.startswith("/upload/"), authorization is not None) for _, path, authorization in server.seen}
    assert shown == {(True, False), (False, True)}


def test_a_redirect_is_not_followed(server: Server, repository: Repository) -> None:
    server.answers["GET", "/v2/app/manifests/v1"] += [(307, {"Location": f"{server.address}/elsewhere"}, b"")]
    with pytest.raises(StageError, match="HTTP status 307"):
        registry.manifest(repository, "v1")


@pytest.mark.parametrize("said", [{}, {"Docker-Content-Digest": "sha256:" + "0" * 64}])
def test_bytes_that_are_not_the_digest_are_refused(
    server: Server, repository: Repository, said: dict[str, str]
) -> None:
    reference = "v1" if said else "sha256:" + "0" * 64
    server.answers["GET", f"/v2/app/manifests/{reference}"] += [(200, said, b"other")]
    with pytest.raises(StageError, match="the registry served") as caught:
        registry.manifest(repository, reference)
    assert caught.value.cls == "mismatch"


def test_an_endless_answer_is_cut(server: Server, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MANIFEST_BYTES", 1000)
    server.answers["GET", "/v2/app/manifests/v1"] += [(200, {}, b"x" * 1_000_000)]
    with pytest.raises(StageError, match="more than 1,000 bytes"):
        registry.manifest(repository, "v1")


def test_nobody_there_is_retryable_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with Server() as server:
        url = f"{server.address}/v2/app"
    http = registry.connections(url, 1)
    with pytest.raises(StageError, match="refused") as caught:
        registry.manifest(Repository(url, http), "v1")
    http.clear()
    assert caught.value.cls == "retryable"
    assert "Nothing answers at the registry's address" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "config"),
    [(b"{}", None), (b"[]", None), (b"x", None), (b'{"config": 1}', None), (b'{"config": {"digest": "d"}}', "d")],
)
def test_the_config_of_a_manifest(content: bytes, config: str | None) -> None:
    assert registry.Manifest(content, "").config == config


@pytest.mark.parametrize(
    ("url", "environment", "proxied"),
    [
        ("https://ecr.example/v2/a", {}, False),
        ("https://ecr.example/v2/a", {"https_proxy": "http://user:p@proxy.example:3128"}, True),
        ("https://ecr.example/v2/a", {"https_proxy": "http://proxy.example:3128", "no_proxy": "ecr.example"}, False),
        ("http://127.0.0.1:5000/v2/a", {"http_proxy": "http://proxy.example:3128"}, False),
    ],
)
def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], *, proxied: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pool: Any = registry.connections(url, 1)
    assert (pool.proxy is not None) == proxied


# Blobs


def test_a_blob_is_read_and_proven(server: Server, repository: Repository) -> None:
    data = bytes(range(256)) * 10_000
    server.blobs[_digest(data)] = data
    assert b"".join(registry.blob(repository, _digest(data), len(data))) == data


def test_a_blob_elsewhere_is_asked_for_without_our_login(server: Server, repository: Repository) -> None:
    """As ECR does it: the other address, with a token in it, is S3's."""
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,))
        thread.start()
        digest = _digest(LAYER)
        other.blobs[digest] = LAYER
        server.answers["GET", f"/v2/app/blobs/{digest}"] = [(307, {"Location": f"{other.address}/x/{digest}?t=1"}, b"")]
        assert b"".join(registry.blob(repository, digest, len(LAYER))) == LAYER
        other.shutdown()
        thread.join()
    assert other.seen == [("GET", f"/x/{digest}", None)]
    assert server.seen[0][2] is not None


@pytest.mark.parametrize(
    "served", [b"", LAYER[:-1], LAYER + b"x", b"x" * len(LAYER)], ids=["none", "short", "long", "other"]
)
def test_other_bytes_are_refused(server: Server, repository: Repository, served: bytes) -> None:
    server.blobs[_digest(LAYER)] = served
    with pytest.raises(StageError, match="something else") as caught:
        list(registry.blob(repository, _digest(LAYER), len(LAYER)))
    assert caught.value.cls == "mismatch"


def test_a_fault_is_tried_again_and_a_blob_that_is_not_there_is_told(server: Server, repository: Repository) -> None:
    digest = _digest(LAYER)
    server.blobs[digest] = LAYER
    server.answers["GET", f"/v2/app/blobs/{digest}"] = [(503, {}, b""), (0, {}, b"")]
    assert b"".join(registry.blob(repository, digest, len(LAYER))) == LAYER
    with pytest.raises(StageError, match="404"):
        list(registry.blob(repository, _digest(b"other"), 1))


def test_going_round_in_circles_ends(server: Server, repository: Repository) -> None:
    digest = _digest(LAYER)
    path = f"/v2/app/blobs/{digest}"
    server.answers["GET", path] = [(307, {"Location": path}, b"")] * 100
    with pytest.raises(StageError, match="too many redirects"):
        list(registry.blob(repository, digest, 1))
