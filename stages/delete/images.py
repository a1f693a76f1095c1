"""Which images only a stack used, and deleting them. What cannot be known not to be used stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stages.aws import retry
from stages.contract import StageError
from stages.delete import standing
from stages.log import log
from stages.template import references

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stages.aws.session import Session

IMAGES_A_CALL = 100
"""BatchDeleteImage's limit."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of images, by their URIs (`repository@sha256:...`): those that go, and of those that stay why."""

    deleted: list[str]
    kept: dict[str, str]


@dataclass(frozen=True)
class Place:
    """An image in a repository of the account and region: equal images elsewhere are others."""

    repository: str
    digest: str


def judge(session: Session, used: Iterable[str], own: Iterable[str], keep: Iterable[str]) -> Verdict:
    """Say of each image that a stack used whether anything else does.

    `own` are the physical names of the stack's functions, `keep` images that deployments elsewhere are known to use. Asked are all functions
    of the account in the region, with all their versions, and the policies of the repositories.
    """
    wanted = sorted({uri for uri in used if uri})
    here = {uri: at for uri in wanted if (at := _place(session, uri))}
    kept = {uri: "it is in no repository of this account and region" for uri in wanted if uri not in here}
    elsewhere = {at: "another stack runs it, or may go back to it" for uri in keep if (at := _place(session, uri))}
    elsewhere |= _used_by_others(session, frozenset(own)) if here else {}
    shared = {name: why for name in sorted({at.repository for at in here.values()}) if (why := _shared(session, name))}
    for uri, at in here.items():
        why = elsewhere.get(at) or shared.get(at.repository)
        if why:
            kept[uri] = why
    return Verdict([uri for uri in here if uri not in kept], dict(sorted(kept.items())))


def _place(session: Session, uri: str) -> Place | None:
    """Where an image is, if that is a repository of the target's own account and region."""
    try:
        found = references.parse(uri)
    except ValueError:
        return None
    host = references.ecr_host(found.host) if found.host and found.digest else None
    own = host and (host.account, host.region) == (session.target.account, session.target.region)
    return Place(found.name, str(found.digest)) if own else None


def _used_by_others(session: Session, own: frozenset[str]) -> dict[Place, str]:
    """The images that other functions run, in any version, each with one of them."""
    doing = "looking for functions that use the same images"
    others: list[str] = []
    with retry.explained(doing):
        for page in session.lambda_.get_paginator("list_functions").paginate(FunctionVersion="ALL"):
            others += [
                each["FunctionArn"]
                for each in page["Functions"]
                if each.get("PackageType") == "Image" and each["FunctionName"] not in own
            ]
    found = zip(others, standing.running(session, others), strict=True)
    places = [(arn, _place(session, image)) for arn, image in found if image]
    return {at: f"the function {arn.partition(':function:')[2]} uses it" for arn, at in places if at}


def _shared(session: Session, repository: str) -> str | None:
    """Why others may use a repository of whom we see nothing; None if its policy lets in nobody of another account."""
    doing = f"reading the policy of the repository {repository}"
    with retry.explained(doing):
        try:
            answer = retry.call(lambda: session.ecr.get_repository_policy(repositoryName=repository), doing=doing)
        except ClientError as error:
            if retry.code(error) in ("RepositoryPolicyNotFoundException", "RepositoryNotFoundException"):
                return None
            raise
    ours = session.target.account
    others = sorted(each for each in _principals(json.loads(answer["policyText"])) if ours not in each)
    return f"its repository is open to {', '.join(others)}" if others else None


def _principals(policy: Mapping[str, Any]) -> Iterable[str]:
    """Whom a policy lets in, services left out: those act for functions, which are asked."""
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement.get("Effect") != "Allow":
            continue
        principal = statement.get("Principal", {})
        named = principal.get("AWS", []) if isinstance(principal, dict) else principal
        yield from [named] if isinstance(named, str) else named


def delete(session: Session, uris: list[str]) -> None:
    """Delete images by digest, with all their tags. Raises StageError that names those which are left."""
    by_repository: dict[str, list[str]] = {}
    for uri in uris:
        if at := _place(session, uri):
            by_repository.setdefault(at.repository, []).append(at.digest)
    left: list[str] = []
    for name, digests in by_repository.items():
        for start in range(0, len(digests), IMAGES_A_CALL):
            left += _delete(session, name, digests[start : start + IMAGES_A_CALL])
    if left:
        raise StageError("the stack is deleted, and these images are left:\n  " + "\n  ".join(left))


def _delete(session: Session, repository: str, digests: list[str]) -> list[str]:
    doing = f"deleting {len(digests)} images of the repository {repository}"
    ids: Any = [{"imageDigest": digest} for digest in digests]
    with retry.explained(doing):
        try:
            answer: Any = retry.call(
                lambda: session.ecr.batch_delete_image(repositoryName=repository, imageIds=ids), doing=doing
            )
        except ClientError as error:
            if retry.code(error) == "RepositoryNotFoundException":
                return []
            raise
    gone = {each["imageDigest"] for each in answer.get("imageIds", [])}
    for digest in sorted(gone):
        log(f"deleted the image {repository}@{digest}")
    failures = [each for each in answer.get("failures", []) if each.get("failureCode") != "ImageNotFound"]
    return [f"{repository}@{each['imageId'].get('imageDigest')}: {each.get('failureReason')}" for each in failures]
