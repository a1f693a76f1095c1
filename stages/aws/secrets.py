"""Read one secret: a parameter of SSM's Parameter Store, or a secret of Secrets Manager. No message holds any of a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from stages.aws.retry import as_stage_error, code
from stages.contract import StageError

if TYPE_CHECKING:
    from stages.aws.session import Session

_MISSING = ("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException")


def read(session: Session, place: Literal["ssm", "secrets-manager"], name: str, key: str | None) -> bytes:
    """Give the value; `key` is one of a secret that is a JSON object. Raises StageError: not there, not allowed, no such key."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    target = session.target
    where = f"account {target.account}, {target.region}"
    try:
        value = _parameter(session, name) if place == "ssm" else _secret(session, name)
    except ClientError as error:
        if code(error) in _MISSING:
            hint = f"Make it, or correct the name, the environment ({target.environment}) or its region."
            raise StageError(f"there is no {_WORDS[place]} {name} in {where}", hint=hint) from None
        raise as_stage_error(error, f"reading the {_WORDS[place]} {name} in {where}") from None
    except BotoCoreError as error:
        raise as_stage_error(error, f"reading the {_WORDS[place]} {name} in {where}") from None
    except (ResponseParserError, KeyError, ValueError):  # what these say may hold the answer
        text = f"AWS's answer cannot be understood, while reading the {_WORDS[place]} {name} in {where}"
        raise StageError(text, hint="Try again; a proxy may have changed it.", cls="retryable") from None
    return value if key is None else _member(value, name, key)


_WORDS = {"ssm": "parameter", "secrets-manager": "secret"}


def _parameter(session: Session, name: str) -> bytes:
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html."""
    return session.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"].encode()


def _secret(session: Session, name: str) -> bytes:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html."""
    answer = session.secrets_manager.get_secret_value(SecretId=name)
    binary: bytes | None = answer.get("SecretBinary")  # it has one or the other
    return answer["SecretString"].encode() if binary is None else binary


def _member(value: bytes, name: str, key: str) -> bytes:
    try:
        document = json.loads(value)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        hint = "Remove `key` from the secret in the definition, to take it as a whole."
        raise StageError(f"the secret {name} is no JSON object, so it has no key {key!r}", hint=hint)
    member = document.get(key)
    if member is None:
        raise StageError(f"the secret {name} has no key {key!r}", hint="Correct `key` of the secret in the definition.")
    return member.encode() if isinstance(member, str) else json.dumps(member, ensure_ascii=False).encode()
