"""Amazon ECR: what a repository holds, making one that is missing, and logging in to the registry."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from stages.aws.retry import call, code, explained, meaning
from stages.contract import StageError
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.aws.session import Session
    from stages.contract import Target

OWNER_TAG = "towpath:application"
"""Says for which application a repository was made."""
IMAGES_A_CALL = 100
"""BatchGetImage's limit."""
UNTAGGED_DAYS = 14
"""What nobody can name by a tag is what an interrupted push left."""


@dataclass(frozen=True)
class Manifest:
    """A manifest as ECR has it, proven to be of the digest that ECR gives it."""

    digest: str
    content: bytes
    type: str


@dataclass(frozen=True)
class Making:
    """How a repository that is missing is made. `owner` is the application that it is made for, if it is for one alone:
    a repository that is there must then not be another's. `kms_key` encrypts it; without one ECR's own key does."""

    owner: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    kms_key: str | None = None


def host(target: Target) -> str:
    """The host of the target's registry, as image names have it."""
    suffix = ".cn" if target.partition == "aws-cn" else ""
    return f"{target.account}.dkr.ecr.{target.region}.amazonaws.com{suffix}"


def manifests(
    session: Session, account: str, repository: str, tags: Iterable[str], types: Iterable[str]
) -> dict[str, Manifest] | None:
    """What a repository has under tags, a hundred a request; empty where there is no such repository.

    None if we may not ask (AccessDenied): the registry itself can be asked instead. Raises StageError.
    """
    from botocore.exceptions import ClientError

    wanted, found = sorted(set(tags)), {}
    doing = f"looking for images in the repository {repository}"
    where: Any = {"registryId": account, "repositoryName": repository, "acceptedMediaTypes": list(types)}
    with explained(doing):
        try:
            for start in range(0, len(wanted), IMAGES_A_CALL):
                ids: Any = [{"imageTag": tag} for tag in wanted[start : start + IMAGES_A_CALL]]
                ask = partial(session.ecr.batch_get_image, **where, imageIds=ids)
                found.update(_proven(call(ask, doing=doing)))
        except ClientError as error:
            if code(error) == "RepositoryNotFoundException":
                return {}
            if meaning(error) != "denied":
                raise
            return None
    return found


def _proven(answer: Any) -> dict[str, Manifest]:
    found = {}
    for each in answer["images"]:
        content, named = str(each["imageManifest"]).encode(), each["imageId"]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if digest != named["imageDigest"]:
            raise StageError(f"ECR gave {digest} where it said {named['imageDigest']}", cls="mismatch")
        kind = each.get("imageManifestMediaType") or json.loads(content).get("mediaType", "")
        found[named["imageTag"]] = Manifest(digest, content, kind)
    return found


def ensure_repository(session: Session, account: str, name: str, making: Making) -> None:
    """Make a repository unless there is one of that name; one that is there is left as it is.

    What is made keeps its tags for ever, scans what is pushed, and lets go only of images without a tag. Raises StageError.
    """
    found = _describe(session, account, name)
    if found is not None:
        _refuse_other_owner(session, found, making.owner)
        if found.get("imageTagMutability") == "MUTABLE":
            log(f"the repository {name} lets tags be moved; images are pinned by digest all the same", level="warning")
        return
    if account != session.target.account:
        raise StageError(
            f"there is no repository {name} in the account {account}",
            hint=f"Only repositories of the environment's own account, {session.target.account}, are made. "
            f"Make it there: aws ecr create-repository --repository-name {name} --image-tag-mutability IMMUTABLE",
        )
    _make(session, name, making)


def _describe(session: Session, account: str, name: str) -> Any:
    from botocore.exceptions import ClientError

    doing = f"looking for the ECR repository {name}"
    with explained(doing):
        try:
            found = call(
                lambda: session.ecr.describe_repositories(registryId=account, repositoryNames=[name]), doing=doing
            )
        except ClientError as error:
            if code(error) != "RepositoryNotFoundException":
                raise
            return None
    return found["repositories"][0]


def _refuse_other_owner(session: Session, repository: Any, owner: str | None) -> None:
    """Refuse a repository that was made for another application, where it should be this one's alone."""
    if owner is None:
        return
    name = repository["repositoryName"]
    with explained(f"reading the tags of the ECR repository {name}"):
        answer = call(
            lambda: session.ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"]),
            doing=f"reading the tags of the repository {name}",
        )
    other = next((tag["Value"] for tag in answer["tags"] if tag["Key"] == OWNER_TAG), owner)
    if other != owner:
        raise StageError(
            f"the repository {name} was made for the application {other!r}, and this is {owner!r}",
            hint="Two applications do not share repositories unless they say so: name another application, or name the "
            "repository yourself (`repositories`).",
        )


def _make(session: Session, name: str, making: Making) -> None:
    from botocore.exceptions import ClientError

    tags = making.tags | ({OWNER_TAG: making.owner} if making.owner else {})
    encryption = {"encryptionType": "KMS", "kmsKey": making.kms_key} if making.kms_key else {"encryptionType": "AES256"}
    with explained(f"making the ECR repository {name}"):
        try:
            session.ecr.create_repository(
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                encryptionConfiguration=cast("Any", encryption),
                tags=[{"Key": key, "Value": value} for key, value in sorted(tags.items())],
            )
        except ClientError as error:
            if code(error) != "RepositoryAlreadyExistsException":
                raise
            found = _describe(session, session.target.account, name)  # somebody else made it meanwhile
            _refuse_other_owner(session, found, making.owner)
            return
    log(f"made the repository {name}: tags immutable, scan on push, images without a tag for {UNTAGGED_DAYS} days")
    _let_go_of_untagged(session, name)


def _let_go_of_untagged(session: Session, name: str) -> None:
    """A lifecycle policy cannot know what a stack runs. Whatever we push has a tag, and tags never move here: so only what
    has none may go."""
    from botocore.exceptions import ClientError

    rule = {
        "rulePriority": 1,
        "description": "Left by interrupted pushes. What has a tag may run somewhere, or be rolled back to",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": UNTAGGED_DAYS,
        },
        "action": {"type": "expire"},
    }
    with explained(f"setting the lifecycle policy of the ECR repository {name}"):
        try:
            session.ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=json.dumps({"rules": [rule]}))
        except ClientError as error:
            if meaning(error) != "denied":
                raise
            log(f"not allowed to set the lifecycle policy of {name}; going on without", level="warning")


def login(session: Session) -> tuple[str, str]:
    """User and password for the registries of the session's region, good for twelve hours. Raises StageError."""
    with explained("asking ECR for a login"):
        answer = call(session.ecr.get_authorization_token, doing="asking ECR for a login")
    data = answer["authorizationData"]
    if not data:
        raise StageError("ECR gave no login", cls="retryable")
    user, _, password = base64.b64decode(data[0]["authorizationToken"]).decode().partition(":")
    return user, password
