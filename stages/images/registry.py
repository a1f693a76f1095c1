"""A client for one repository of an OCI registry: look, upload what is missing, read.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import urllib3

from stages.contract import StageError
from stages.images.refusals import RegistryError, refused, retried

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from stages.contract import Json
    from stages.images.layout import LayoutImage

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""Manifests of one image. Lambda takes no others."""
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_BYTES = 4 << 20
"""Registries take no larger ones."""
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 120
SENT_AT_ONCE_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Login:
    """A user's name and password, or an ECR token, which is used the same way."""

    user: str
    password: str


@dataclass(frozen=True)
class Manifest:
    """A manifest as a registry serves it, and the digest of just those bytes."""

    content: bytes
    type: str

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def config(self) -> str | None:
        """The digest of the image's config, or None if this is the manifest of something else, such as an index."""
        try:
            config = json.loads(self.content)["config"]["digest"]
        except (ValueError, KeyError, TypeError):
            return None
        return config if isinstance(config, str) else None


@dataclass(frozen=True)
class Repository:
    """Where a repository's API is (`https://host/v2/name`), how to log in, and the connections to use."""

    url: str
    http: urllib3.PoolManager
    login: Login | None = None


def connections(url: str, number: int) -> urllib3.PoolManager:
    """Connections for `number` threads to the host of `url`, through the proxy the environment names for it."""
    options: Any = {
        "maxsize": number,
        "block": True,
        "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        "retries": False,
        "blocksize": SENT_AT_ONCE_BYTES,
    }
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or _is_loopback(parts.hostname or "") or urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager(**options)
    auth = urlsplit(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=f"{auth.username}:{auth.password}") if auth.username else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def manifest(repository: Repository, reference: str) -> Manifest | None:
    """The manifest of a tag or digest, or None if there is none. Raises RegistryError.

    Its digest is checked if the reference is one, or if the registry names one.
    """
    accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
    response = retried(
        lambda: _call(repository, "GET", f"/manifests/{reference}", (200, 404), headers={"Accept": accept})
    )
    if response.status == 404:
        return None
    found = Manifest(response.data, str(response.headers.get("Content-Type", "")).partition(";")[0].strip())
    said = reference if reference.startswith("sha256:") else response.headers.get("Docker-Content-Digest")
    if said not in {None, found.digest}:
        raise StageError(f"the registry served {found.digest} where it said {said}", cls="mismatch")
    return found


def blob(repository: Repository, digest: str, size_bytes: int) -> Generator[bytes, None, None]:
    """The bytes of a blob, as they come; the last ones only once all are what the digest says.

    A registry may send us elsewhere for them (ECR does, to S3); it is asked without our login. Raises RegistryError, and
    StageError of class `mismatch` for other bytes.
    """
    response, url = retried(lambda: _open_blob(repository, f"{repository.url}/blobs/{digest}"))
    found, received, held = hashlib.sha256(), 0, b""
    try:
        for chunk in response.stream(CHUNK_BYTES, decode_content=False):
            found.update(chunk)
            received += len(chunk)
            if received > size_bytes:
                break
            if held:
                yield held
            held = chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), f"GET {url.partition('?')[0]}") from error
    finally:
        response.close()
        response.release_conn()
    if received != size_bytes or f"sha256:{found.hexdigest()}" != digest:
        raise StageError(f"the registry served something else as the blob {digest}", cls="mismatch")
    yield held


def _open_blob(repository: Repository, url: str) -> tuple[urllib3.BaseHTTPResponse, str]:
    for _ in range(MOST_REDIRECTS):
        response = _request(repository, "GET", url)
        if response.status == 200:
            return response, url
        content = _content(response)
        location = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
        if not location:
            said = _said(content) or f"HTTP status {response.status}"
            raise refused(said, f"GET {url.partition('?')[0]}", response.status)
        url = urljoin(url, location)
    raise refused("too many redirects", f"GET {url.partition('?')[0]}")


def push(repository: Repository, image: LayoutImage, tag: str) -> str:
    """Upload what the repository lacks of an image, tag it, and return the digest of its manifest. Raises RegistryError."""
    for blob in image.blobs:
        if not _has_blob(repository, blob.digest):
            retried(partial(_upload, repository, blob.digest, image.path(blob), blob.size))
    kind = json.loads(image.manifest)["mediaType"]
    headers = {"Content-Type": kind}
    retried(lambda: _call(repository, "PUT", f"/manifests/{tag}", (201,), headers=headers, body=image.manifest))
    return Manifest(image.manifest, kind).digest


def _has_blob(repository: Repository, digest: str) -> bool:
    response = retried(lambda: _call(repository, "HEAD", f"/blobs/{digest}", (200, 307, 404)))
    return response.status != 404


def _upload(repository: Repository, digest: str, path: Path, size_bytes: int) -> None:
    """Upload a blob in one stream. An upload that broke is begun anew."""
    begun = _call(repository, "POST", "/blobs/uploads/", (202,))
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
    with path.open("rb") as file:
        sent = _call(repository, "PATCH", _location(begun), (202, 204), headers=headers, body=file)
    location = _location(sent)
    separator = "&" if "?" in location else "?"
    _call(repository, "PUT", f"{location}{separator}digest={digest}", (201,))


def _location(answer: _Answer) -> str:
    location = answer.headers.get("Location")
    if not location:
        raise RegistryError("the registry does not say where to upload to", hint=None, cls="terminal", again=False)
    return urljoin(answer.url, location)


@dataclass(frozen=True)
class _Answer:
    url: str
    status: int
    headers: urllib3.HTTPHeaderDict
    data: bytes


def _call(
    repository: Repository,
    method: str,
    where: str,
    expected: tuple[int, ...],
    *,
    headers: dict[str, str] | None = None,
    body: Any = None,
) -> _Answer:
    """One request. `where` is below the repository, or a full address the registry gave, which may be another host's:
    that one is not shown our login."""
    url = where if "://" in where else repository.url + where
    doing = f"{method} {url.partition('?')[0]}"  # behind the `?` there may be a token
    try:
        response = _request(repository, method, url, headers=headers, body=body)
        content = _content(response)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), doing) from error
    if response.status not in expected:
        raise refused(_said(content) or f"HTTP status {response.status}", doing, response.status)
    return _Answer(url, response.status, response.headers, content)


def _request(
    repository: Repository, method: str, url: str, *, headers: dict[str, str] | None = None, body: Any = None
) -> urllib3.BaseHTTPResponse:
    """Send one request and give the answer unread. Another host than the repository's is not shown our login."""
    own = urlsplit(url)[:2] == urlsplit(repository.url)[:2]
    login = repository.login if own else None
    auth = urllib3.make_headers(basic_auth=f"{login.user}:{login.password}") if login else {}
    try:
        return repository.http.request(
            method, url, headers={**(headers or {}), **auth}, body=body, redirect=False, preload_content=False
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), f"{method} {url.partition('?')[0]}") from error


def _content(response: urllib3.BaseHTTPResponse) -> bytes:
    content = response.read(MANIFEST_BYTES + 1)
    if len(content) > MANIFEST_BYTES:
        response.close()
        raise StageError(f"the registry answered with more than {MANIFEST_BYTES:,} bytes")
    response.release_conn()
    return content


def _said(content: bytes) -> str:
    """The errors of an answer's body, as the specification has them; else its first line."""
    try:
        errors: list[Json] = json.loads(content)["errors"]
        return "; ".join(f"{each.get('code', '')}: {each.get('message', '')}".strip(": ") for each in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return content.decode(errors="replace").strip().partition("\n")[0][:300]
