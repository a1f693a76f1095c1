"""What ministack's ECR knows. It decides which repositories, manifests and tags there are; the registry only keeps bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import ecr

_TARGET = "AmazonEC2ContainerRegistry_V20150921."


@dataclass(frozen=True)
class Place:
    """One registry: an account's, in a region."""

    account: str
    region: str


@dataclass(frozen=True)
class Image:
    """A manifest as ECR keeps it."""

    digest: str
    manifest: bytes
    media_type: str


class EcrError(Exception):
    """ECR refused. `code` is the exception's name in its API."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def ask(place: Place, action: str, **parameters: Any) -> dict[str, Any]:
    """Call an action of ECR's API, as if by a request of the account to the region. Raises EcrError."""
    headers = {"x-amz-target": _TARGET + action}
    with request_scope(place.account, place.region):
        call = ecr.handle_request("POST", "/", headers, json.dumps(parameters).encode(), {})
        try:
            call.send(None)  # it is a coroutine by form only: it never waits, so that this is safe from every thread
        except StopIteration as done:
            status, _, body = done.value
        else:
            raise RuntimeError("ministack's ECR waits for something")
    answer: dict[str, Any] = json.loads(body)
    if status != 200:
        raise EcrError(str(answer.get("__type", "")).rpartition("#")[2], str(answer.get("message", answer)))
    return answer


def repository(place: Place, name: str) -> dict[str, Any]:
    """The repository's description. Raises EcrError."""
    described: dict[str, Any] = ask(place, "DescribeRepositories", repositoryNames=[name])["repositories"][0]
    return described


def image(place: Place, name: str, reference: str) -> Image | None:
    """The image by tag or digest, or None. Raises EcrError if there is no such repository."""
    key = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    for found in ask(place, "BatchGetImage", repositoryName=name, imageIds=[{key: reference}])["images"]:
        manifest = found["imageManifest"].encode()
        return Image(found["imageId"]["imageDigest"], manifest, found["imageManifestMediaType"])
    return None


def tags(place: Place, name: str) -> list[str]:
    """All tags in the repository, sorted. Raises EcrError if there is no such repository."""
    details = ask(place, "DescribeImages", repositoryName=name)["imageDetails"]
    return sorted(tag for each in details for tag in each["imageTags"])


def token() -> str:
    """What a client sends as its basic authorization: GetAuthorizationToken's answer, the same for all."""
    place = Place("000000000000", "us-east-1")
    return str(ask(place, "GetAuthorizationToken")["authorizationData"][0]["authorizationToken"])
