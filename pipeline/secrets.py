"""Take the secrets of a stage at the moment it is about to begin. What is taken goes to the stage's process and to its Redactor, and
nowhere else: no file, argument, record or message ever holds it.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import StageFailed
from pipeline.redaction.forms import SHORTEST_BYTES, visible
from stages.contract import StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.plan import PlannedStage, SecretSource
    from stages.aws.session import Session


@dataclass(frozen=True)
class Places:
    """What secrets are taken from: the project, our variables, and AWS, where `endpoint` gives the embedded one's.

    `handle` is the attempt's, and says in AWS for whom they are read.
    """

    project: Path | None
    ours: Mapping[str, str]
    endpoint: Callable[[], str]
    handle: str


def take(stage: PlannedStage, places: Places, key: bytes) -> dict[str, bytes]:
    """Give the values of a stage's secrets by their names. Raises StageFailed."""
    return values(stage.secrets, places, key)


def values(sources: Mapping[str, SecretSource], places: Places, key: bytes) -> dict[str, bytes]:
    """Give the values by the secrets' names.

    `key` is the public half of the key that we seal with: the other half is never handed to a stage.
    Raises StageFailed that names each secret which cannot be had, and what to do about it.
    """
    sessions: dict[str, Session] = {}
    found: dict[str, bytes] = {}
    failures: list[StageFailed] = []
    for name, source in sources.items():
        try:
            if source.place == "variable":
                value = _of_variable(source, places.ours)
            elif source.place == "file":
                value = _of_file(source, places.project)
            else:
                value = _of_aws(source, sessions, places)
            found[name] = _usable(value, key)
        except StageFailed as error:
            failures.append(
                StageFailed(f"the secret {name} {error.message}", hint=error.hint and f"{name}: {error.hint}")
            )
    if failures:
        hints = [each.hint for each in failures if each.hint]
        raise StageFailed("\n".join(each.message for each in failures), hint="\n".join(hints) or None)
    return found


def unset(sources: Mapping[str, SecretSource], ours: Mapping[str, str]) -> list[str]:
    """Give the variables that secrets are to be taken from and that are not set."""
    return sorted(each.name for each in sources.values() if each.place == "variable" and each.name not in ours)


def _of_variable(source: SecretSource, ours: Mapping[str, str]) -> bytes:
    value = ours.get(source.name)
    if value is None:
        hint = "Set it for this command, where the stage runs."
        raise StageFailed(f"is the variable {source.name}, which is not set", hint=hint)
    return os.fsencode(value)


def _of_file(source: SecretSource, project: Path | None) -> bytes:
    """Read a file. One of a single line is given without its line break, one of several as it is."""
    path = Path(source.name) if project is None else project / source.name
    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.secret_bytes + 2)
    except OSError as error:
        raise StageFailed(
            f"is the file {source.name}, which cannot be read: {error.strerror or error}",
            hint="Put it there, or name another in the definition: absolute, or from the project's directory.",
        ) from None
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    return data if b"\n" in line else line


def _of_aws(source: SecretSource, sessions: dict[str, Session], places: Places) -> bytes:
    """Read from AWS. `sessions` are those that were opened before, by their environments' names."""
    if source.target is None:
        raise AssertionError(f"{source.place} {source.name} is read nowhere")
    from pipeline import credentials
    from stages.aws import secrets  # late: boto3 takes its time, and most stages have no secret there

    name = source.target.environment
    try:
        if name not in sessions:
            sessions[name] = credentials.connect(source, "secrets", places.handle, places.endpoint, places.ours)
        place: Literal["ssm", "secrets-manager"] = "ssm" if source.place == "ssm" else "secrets-manager"
        return secrets.read(sessions[name], place, source.name, source.key)
    except (StageError, StageFailed) as error:
        raise StageFailed(f"cannot be read: {error.message}", hint=error.hint) from None


def _usable(value: bytes, key: bytes) -> bytes:
    """Give a value that may and can be handed over, and kept out of logs. What it is, no message says."""
    if _is_private_half(value, key):
        raise StageFailed(
            "is the key that this runner seals records with", hint="Whoever has it can write any record. Use another."
        )
    if len(visible(value).strip()) < SHORTEST_BYTES:
        raise StageFailed(
            f"is shorter than {SHORTEST_BYTES} bytes: what is so short cannot be kept out of logs",
            hint="Use a longer value. What is no secret is better a variable of the stage.",
        )
    if len(value) > LIMITS.secret_bytes:
        raise StageFailed(
            f"is larger than {LIMITS.secret_bytes:,} bytes", hint="Hand over a key to it, and let the stage fetch it."
        )
    if b"\0" in value:
        raise StageFailed("holds a zero byte, which no variable can", hint="Keep it in base64.")
    return value


def _is_private_half(value: bytes, key: bytes) -> bool:
    """Tell whether a value is a private key of OpenSSH's format, which holds its public half in the clear (PROTOCOL.key)."""
    if b"PRIVATE KEY-----" not in value:
        return False
    body = b"".join(line for line in value.splitlines() if not line.startswith(b"-----"))
    try:
        return key in base64.b64decode(body)
    except ValueError:
        return False
