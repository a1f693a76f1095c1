"""The registry API with ECR's behaviour: `/v2/<account>/<region>/<repository>/...`.

Small things are answered here, by asking ECR: whether a repository is there, what a tag means, whether it may be moved.
Layers pass by: an upload is begun here and its Location leads straight to distribution's registry, and a download is
redirected there, as ECR redirects to S3. So no layer goes through this process.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
https://docs.aws.amazon.com/AmazonECR/latest/userguide/registries.html
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from stages.embedded import ecr
from stages.embedded.distribution import Reply

if TYPE_CHECKING:
    from stages.embedded.distribution import Distribution

MANIFEST_BYTES = 4 * 1024 * 1024
"""As ECR and distribution take them."""

_PATH = re.compile(
    r"/v2/(?P<account>\d{12})/(?P<region>[a-z]{2}[a-z0-9-]+)/(?P<repository>[a-z0-9][a-z0-9._/-]*)/"
    r"(?P<what>manifests|blobs/uploads|blobs|tags|referrers)/(?P<reference>[^/]*)"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Call:
    """A request to the registry."""

    method: str
    path: str
    query: str
    authorization: str
    media_type: str
    body: bytes


@dataclass(frozen=True)
class _Asked:
    call: Call
    place: ecr.Place
    name: str
    reference: str
    registry: Distribution


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def is_for_us(path: str) -> bool:
    """Whether a path is of the registry's API, ours or ministack's own; `/v2/` is shared with API Gateway's and SES's."""
    if path in ("/v2", "/v2/", "/v2/_catalog") or _PATH.fullmatch(path):
        return True
    return path.startswith("/v2/") and ("/blobs/" in path or "/manifests/" in path or path.endswith("/tags/list"))


async def answer(call: Call, registry: Distribution) -> Reply:
    """Answer one request."""
    try:
        _authorize(call)
        if call.path in ("/v2", "/v2/"):
            return Reply(200, {"content-type": "application/json"}, b"{}")
        match = _PATH.fullmatch(call.path)
        if match is None:
            raise _refuse(404, "NAME_UNKNOWN", "repositories here are named <account>/<region>/<repository>")
        asked = _Asked(
            call, ecr.Place(match["account"], match["region"]), match["repository"], match["reference"], registry
        )
        _require_repository(asked)
        return await _ANSWERS[match["what"]](asked)
    except _Refused as refused:
        return refused.reply


async def _manifests(asked: _Asked) -> Reply:
    if asked.call.method == "PUT":
        return await _put_manifest(asked)
    found = ecr.image(asked.place, asked.name, asked.reference)
    if asked.call.method not in ("GET", "HEAD"):
        raise _unsupported(asked)
    if found is None:
        raise _refuse(404, "MANIFEST_UNKNOWN", f"Requested image not found: {asked.name}, {asked.reference}")
    return Reply(200, {"content-type": found.media_type, "docker-content-digest": found.digest}, found.manifest)


async def _blobs(asked: _Asked) -> Reply:
    method, path = asked.call.method, asked.call.path
    if method == "GET" and _DIGEST.fullmatch(asked.reference):
        return Reply(307, {"location": asked.registry.url + path})
    if method == "HEAD":
        return await asyncio.to_thread(asked.registry.ask, "HEAD", path)
    raise _unsupported(asked)


async def _uploads(asked: _Asked) -> Reply:
    """Begin an upload. A blob may be mounted from a repository of the same registry; from elsewhere it is uploaded."""
    call, place = asked.call, asked.place
    if call.method != "POST" or asked.reference:
        raise _unsupported(asked)
    query = parse_qs(call.query)
    source = query.get("from", [""])[0]
    target = call.path
    if source.startswith(f"{place.account}/{place.region}/"):
        target += "?" + urlencode({"mount": query.get("mount", [""])[0], "from": source})
    return await asyncio.to_thread(asked.registry.ask, "POST", target)


async def _tags(asked: _Asked) -> Reply:
    if asked.call.method != "GET" or asked.reference != "list":
        raise _unsupported(asked)
    query = parse_qs(asked.call.query)
    last, limit = query.get("last", [""])[0], query.get("n", ["1000"])[0]
    found = [tag for tag in ecr.tags(asked.place, asked.name) if tag > last]
    page = found[: int(limit)] if limit.isdecimal() else found
    headers = {"content-type": "application/json"}
    if page and len(page) < len(found):
        headers["link"] = f'<{asked.call.path}?{urlencode({"n": limit, "last": page[-1]})}>; rel="next"'
    full_name = f"{asked.place.account}/{asked.place.region}/{asked.name}"
    return Reply(200, headers, json.dumps({"name": full_name, "tags": page}).encode())


async def _referrers(asked: _Asked) -> Reply:
    raise _refuse(404, "NOT_FOUND", f"{asked.call.path}: the referrers API is not served")


_ANSWERS = {
    "manifests": _manifests,
    "blobs": _blobs,
    "blobs/uploads": _uploads,
    "tags": _tags,
    "referrers": _referrers,
}


def _authorize(call: Call) -> None:
    if call.authorization == f"Basic {ecr.token()}":
        return
    reply = _error(401, "UNAUTHORIZED", "no basic auth credentials: log in with what GetAuthorizationToken gives")
    reply.headers["www-authenticate"] = 'Basic realm="towpath embedded",service="ecr.amazonaws.com"'
    raise _Refused(reply)


def _require_repository(asked: _Asked) -> None:
    try:
        ecr.repository(asked.place, asked.name)
    except ecr.EcrError as error:
        message = (
            f"The repository with name '{asked.name}' does not exist in the registry with id '{asked.place.account}'"
        )
        raise _refuse(404, "NAME_UNKNOWN", message) from error


async def _put_manifest(asked: _Asked) -> Reply:
    call, reference = asked.call, asked.reference
    digest = "sha256:" + hashlib.sha256(call.body).hexdigest()
    if len(call.body) > MANIFEST_BYTES:
        raise _refuse(413, "MANIFEST_INVALID", f"a manifest has at most {MANIFEST_BYTES} bytes")
    if reference.startswith("sha256:") and reference != digest:
        raise _refuse(400, "DIGEST_INVALID", f"the manifest's digest is {digest}, not {reference}")
    tag = None if reference.startswith("sha256:") else reference
    location = call.path.removesuffix(reference) + digest
    if not _is_there(asked, tag, digest):
        _refuse_moving(asked, tag)
        kept = await asyncio.to_thread(asked.registry.ask, "PUT", location, call.body, call.media_type)
        if kept.status != 201:
            return kept
        _put_image(asked, tag, digest)
    return Reply(201, {"location": location, "docker-content-digest": digest})


def _is_there(asked: _Asked, tag: str | None, digest: str) -> bool:
    found = ecr.image(asked.place, asked.name, tag or digest)
    return found is not None and found.digest == digest


def _refuse_moving(asked: _Asked, tag: str | None) -> None:
    if tag is None or ecr.repository(asked.place, asked.name)["imageTagMutability"] != "IMMUTABLE":
        return
    if ecr.image(asked.place, asked.name, tag) is not None:
        message = (
            f"The image tag '{tag}' already exists in the '{asked.name}' repository and cannot be overwritten "
            "because the tag is immutable."
        )
        raise _refuse(400, "TAG_INVALID", message)


def _put_image(asked: _Asked, tag: str | None, digest: str) -> None:
    """Tell ECR, which decides between pushes that race for a tag."""
    parameters = {"imageTag": tag} if tag else {}
    try:
        ecr.ask(
            asked.place,
            "PutImage",
            repositoryName=asked.name,
            imageManifest=asked.call.body.decode(),
            imageManifestMediaType=asked.call.media_type,
            imageDigest=digest,
            **parameters,
        )
    except (UnicodeDecodeError, ecr.EcrError) as error:
        if _is_there(asked, tag, digest):  # another push of the same was faster
            return
        _refuse_moving(asked, tag)
        raise _refuse(400, "MANIFEST_INVALID", str(error)) from error


def _unsupported(asked: _Asked) -> _Refused:
    message = f"{asked.call.method} {asked.call.path} is not served here; to delete images, call ECR's API"
    return _refuse(405, "UNSUPPORTED", message)


def _refuse(status: int, code: str, message: str) -> _Refused:
    return _Refused(_error(status, code, message))


def _error(status: int, code: str, message: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, {"content-type": "application/json"}, body)
