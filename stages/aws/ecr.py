"""Amazon ECR: make a repository if it is missing, and log in to the registry."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from stages.aws.retry import call, code, explained
from stages.contract import StageError
from stages.log import log

if TYPE_CHECKING:
    from stages.aws.session import Session
    from stages.contract import Target


def host(target: Target) -> str:
    """The host of the target's registry, as image names have it."""
    suffix = ".cn" if target.partition == "aws-cn" else ""
    return f"{target.account}.dkr.ecr.{target.region}.amazonaws.com{suffix}"


def ensure_repository(session: Session, name: str) -> None:
    """Make a repository that keeps its tags for ever and scans what is pushed, unless there is one of that name.

    One that is there is left as it is. Raises StageError.
    """
    from botocore.exceptions import ClientError

    ecr = session.ecr
    with explained(f"looking for the ECR repository {name}"):
        try:
            found = call(
                lambda: ecr.describe_repositories(repositoryNames=[name]), doing=f"looking for the repository {name}"
            )
        except ClientError as error:
            if code(error) != "RepositoryNotFoundException":
                raise
        else:
            _note_mutable(name, found["repositories"][0].get("imageTagMutability"))
            return
    with explained(f"making the ECR repository {name}"):
        try:
            ecr.create_repository(
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
            )
        except ClientError as error:
            if code(error) != "RepositoryAlreadyExistsException":  # somebody else made it meanwhile
                raise
            return
    log(f"made the repository {name}: tags immutable, scan on push")


def _note_mutable(name: str, mutability: str | None) -> None:
    if mutability == "MUTABLE":
        log(f"the repository {name} lets tags be moved; images are pinned by digest all the same", level="warning")


def login(session: Session) -> tuple[str, str]:
    """User and password for the registry of the session's account and region, good for twelve hours. Raises StageError."""
    with explained("asking ECR for a login"):
        answer = call(session.ecr.get_authorization_token, doing="asking ECR for a login")
    data = answer["authorizationData"]
    if not data:
        raise StageError("ECR gave no login", cls="retryable")
    user, _, password = base64.b64decode(data[0]["authorizationToken"]).decode().partition(":")
    return user, password
