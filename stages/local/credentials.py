"""What functions that run here find of AWS: credentials, a region, and where AWS answers."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from stages.contract import StageError

_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def credentials(profile: str | None) -> dict[str, str]:
    """The credentials of a profile, or those in our own environment; without either, ones that AWS will not take.

    On Lambda there always are some, so that an SDK which finds none would look elsewhere, and wait. Raises StageError.
    """
    if profile:
        return _of_profile(profile)
    found = {name: os.environ[name] for name in _NAMES if os.environ.get(name)}
    return found if _NAMES[0] in found else {_NAMES[0]: "none-given", _NAMES[1]: "none-given"}


def _of_profile(profile: str) -> dict[str, str]:
    import boto3  # late, as it takes a third of a second
    from botocore.exceptions import BotoCoreError

    try:
        found = boto3.Session(profile_name=profile).get_credentials()
        if found is None:
            raise StageError(f"the profile {profile} has no credentials", hint=f"aws sso login --profile {profile}?")
        frozen = found.get_frozen_credentials()
    except BotoCoreError as error:
        raise StageError(f"the credentials of the profile {profile} cannot be had: {error}", cls="invalid") from error
    values = (frozen.access_key, frozen.secret_key, frozen.token)
    return {name: str(value) for name, value in zip(_NAMES, values, strict=True) if value}


def region(asked: str | None) -> str:
    """The region that was asked for, or that of our own environment."""
    return asked or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def endpoint() -> str | None:
    """`host:port` of an AWS on this machine's loopback that $AWS_ENDPOINT_URL names: functions are led to it."""
    url = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or "")
    return url.netloc if url.hostname in _LOOPBACK and url.scheme == "http" else None
