"""Credentials of one role, for some time: from those of a machine or a profile, or from a token that a CI system signed.

Who asks is the runner, so that a stage is handed what it may use and never what that was asked for with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stages.aws import retry
from stages.aws.session import READ_TIMEOUT_S, client_config
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Credentials:
    """Credentials of a role until `expires_at`. They are never written anywhere."""

    role: str
    key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: datetime

    def left_s(self, now: datetime | None = None) -> float:
        """For how many seconds they can still be used."""
        return (self.expires_at - (now or datetime.now(UTC))).total_seconds()


def by_role(role: str, region: str, profile: str | None, *, session: str, tags: Mapping[str, str]) -> Credentials:
    """Assume a role with the credentials of the surroundings, or of a profile. Raises StageError.

    `session` and `tags` say in CloudTrail whose doing it is.
    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    import boto3

    with retry.explained(f"assuming the role {role}"):
        client = boto3.Session(profile_name=profile, region_name=region).client("sts", config=_config())
        told: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
        try:
            return _of(role, client.assume_role(RoleArn=role, RoleSessionName=session, Tags=told))
        except ClientError as error:
            if retry.meaning(error) != "denied":
                raise
            hint = f"Its trust policy must let {_who(client)} do sts:AssumeRole and sts:TagSession; and so must that one's own policies."
            raise StageError(f"the role {role} cannot be assumed: {retry.text(error)}", hint=hint) from error


def by_token(role: str, region: str, token: str, *, session: str, claims: str) -> Credentials:
    """Assume a role with a token that a CI system signed. Raises StageError, which tells the token's `claims` and never the token.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    with retry.explained(f"assuming the role {role} with a token of the CI system"):
        config = _config().merge(Config(signature_version=UNSIGNED))
        client = boto3.Session(region_name=region).client("sts", config=config)
        try:
            answer = client.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=token)
        except ClientError as error:
            hint = f"The token says: {claims}. The role's trust policy must allow just that, and its account know the issuer."
            if retry.code(error) == "ExpiredTokenException":
                hint = "Begin the job again: its token was made for it, and cannot be had anew within it."
            elif retry.meaning(error) != "denied" and retry.code(error) != "InvalidIdentityToken":
                raise
            raise StageError(f"the role {role} cannot be assumed: {retry.text(error)}", hint=hint) from error
        return _of(role, answer)


def _of(role: str, answer: Any) -> Credentials:
    made = answer["Credentials"]
    expires_at = made["Expiration"].astimezone(UTC)
    return Credentials(role, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], expires_at)


def _config() -> Any:
    return client_config("sts", READ_TIMEOUT_S, embedded=False)


def _who(client: Any) -> str:
    try:
        return str(client.get_caller_identity()["Arn"])
    except Exception:  # noqa: BLE001 - it only makes a hint better
        return "us"
