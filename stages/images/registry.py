"""A client for one repository of an OCI registry: look, read, write manifests. `stages.images.uploads` writes blobs.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import urllib3

from stages.connections import pool
from stages.contract import StageError
from stages.images.logins import Auth
from stages.images.refusals import ATTEMPTS, RegistryError, refused, retried

if TYPE_CHECKING:
    from collections.abc import Generator

    from stages.contract import Json

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
    auth: Auth = field(default_factory=Auth)

    @property
    def origin(self) -> str:
        """The registry's address, without the repository."""
        return self.url.partition("/v2/")[0]

    @property
    def name(self) -> str:
        """The repository's name as its registry knows it."""
        return self.url.partition("/v2/")[2]


def connections(url: str, number: int) -> urllib3.PoolManager:
    """Connections for `number` threads to the host of `url`, with the authorities that the engine trusts for it, if it has its own.

    https://docs.docker.com/engine/security/certificates/
    """
    own = Path("/etc/docker/certs.d") / urlsplit(url).netloc / "ca.crt"
    return pool(
        url,
        str(own) if own.is_file() else None,
        maxsize=number,
        block=True,
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        retries=False,
        blocksize=SENT_AT_ONCE_BYTES,
    )


def manifest(repository: Repository, reference: str) -> Manifest | None:
    """The manifest of a tag or digest, or None if there is none. Raises RegistryError.

    Its digest is checked if the reference is one, or if the registry names one.
    """
    accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
    response = retried(
        lambda: call(repository, "GET", f"/manifests/{reference}", (200, 404), headers={"Accept": accept})
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
    found, received, held = hashlib.sha256(), 0, b""
    with contextlib.closing(blob_from(repository, digest, 0)) as chunks:
        for chunk in chunks:
            found.update(chunk)
            received += len(chunk)
            if received > size_bytes:
                break
            if held:
                yield held
            held = chunk
    if received != size_bytes or f"sha256:{found.hexdigest()}" != digest:
        raise StageError(f"the registry served something else as the blob {digest}", cls="mismatch")
    yield held


def blob_from(repository: Repository, digest: str, offset: int) -> Generator[bytes, None, None]:
    """The bytes of a blob from an offset on, as they come and unproven. Raises RegistryError."""
    response, url = retried(lambda: _open_blob(repository, f"{repository.url}/blobs/{digest}", offset))
    skip = offset if response.status == 200 else 0  # it does not serve parts, so what we have already is passed over
    try:
        for chunk in response.stream(CHUNK_BYTES, decode_content=False):
            if skip < len(chunk):
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), _doing("GET", url)) from error
    finally:
        response.close()
        response.release_conn()


def _open_blob(repository: Repository, url: str, offset: int) -> tuple[urllib3.BaseHTTPResponse, str]:
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    for _ in range(MOST_REDIRECTS):
        response, auth = _request(repository, "GET", url, headers=headers)
        if response.status in (200, 206):
            return response, url
        content = _content(response)
        location = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
        if not location:
            raise _refusal(repository, response, auth, content, _doing("GET", url))
        url = urljoin(url, location)
    raise refused("too many redirects", _doing("GET", url))


def put_manifest(repository: Repository, manifest: Manifest, reference: str) -> None:
    """Store a manifest under a tag or its digest; all that it names must be there. Raises RegistryError."""
    headers = {"Content-Type": manifest.type}
    retried(lambda: call(repository, "PUT", f"/manifests/{reference}", (201,), headers=headers, body=manifest.content))


def has_blob(repository: Repository, digest: str) -> bool:
    """Whether a repository has a blob. Raises RegistryError."""
    return retried(lambda: call(repository, "HEAD", f"/blobs/{digest}", (200, 307, 404))).status != 404


@dataclass(frozen=True)
class Answer:
    url: str
    status: int
    headers: urllib3.HTTPHeaderDict
    data: bytes


def call(
    repository: Repository,
    method: str,
    where: str,
    expected: tuple[int, ...],
    *,
    headers: dict[str, str] | None = None,
    body: Any = None,
) -> Answer:
    """One request. `where` is below the repository, or a full address the registry gave, which may be another host's:
    that one is not shown our login. Raises RegistryError."""
    url = where if "://" in where else repository.url + where
    response, auth = _request(repository, method, url, headers=headers, body=body)
    try:
        content = _content(response)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), _doing(method, url)) from error
    if response.status not in expected:
        raise _refusal(repository, response, auth, content, _doing(method, url))
    return Answer(url, response.status, response.headers, content)


def _doing(method: str, url: str) -> str:
    return f"{method} {url.partition('?')[0]}"  # behind the `?` there may be a token


def _request(
    repository: Repository, method: str, url: str, *, headers: dict[str, str] | None = None, body: Any = None
) -> tuple[urllib3.BaseHTTPResponse, dict[str, str] | None]:
    """Send one request; gives the answer unread, and the headers by which we said who we are: None to another host than
    the repository's, which is not told."""
    own = urlsplit(url)[:2] == urlsplit(repository.url)[:2]
    auth = repository.auth.headers() if own else None
    try:
        response = repository.http.request(
            method, url, headers={**(headers or {}), **(auth or {})}, body=body, redirect=False, preload_content=False
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise refused(str(error), _doing(method, url)) from error
    return response, auth


def _refusal(
    repository: Repository,
    response: urllib3.BaseHTTPResponse,
    auth: dict[str, str] | None,
    content: bytes,
    doing: str,
) -> RegistryError:
    """The error for an answer. Where a login is no longer good, it is renewed, so that another try may succeed."""
    said = _said(content) or f"HTTP status {response.status}"
    error = refused(said, doing, response.status, _after_s(response.headers.get("Retry-After")))
    challenge = response.headers.get("WWW-Authenticate", "")
    if error.login and auth is not None and repository.auth.refresh(auth, challenge, repository.http):
        error.attempts = ATTEMPTS
    return error


def _after_s(said: str | None) -> float:
    """How long `Retry-After` asks to wait: seconds, or a date."""
    if not said:
        return 0.0
    if said.strip().isdecimal():
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    return max(0.0, (at - dt.datetime.now(at.tzinfo)).total_seconds())


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
