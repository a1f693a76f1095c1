"""What `towpath deploy` and `towpath delete` are told, by SAM's names: on the command line, in SAM's configuration, or not at all."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.cli import sam
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ON_FAILURE = ("ROLLBACK", "DELETE", "DO_NOTHING")


@dataclass(frozen=True)
class Settings:
    """The options of a deployment, by SAM's names. None: nobody said it."""

    stack_name: str | None = None
    region: str | None = None
    profile: str | None = None
    aws: str | None = None
    template_file: str | None = None
    parameter_overrides: dict[str, str] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    notification_arns: list[str] = field(default_factory=list)
    s3_bucket: str | None = None
    s3_prefix: str | None = None
    kms_key_id: str | None = None
    resolve_s3: bool | None = None
    image_repository: str | None = None
    image_repositories: dict[str, str] = field(default_factory=dict)
    resolve_image_repos: bool | None = None
    confirm_changeset: bool | None = None
    no_execute_changeset: bool | None = None
    fail_on_empty_changeset: bool | None = None
    disable_rollback: bool | None = None
    on_failure: str | None = None


_READERS: dict[str, sam.Reader] = {
    "str | None": sam.text,
    "bool | None": sam.boolean,
    "list[str]": sam.words,
    "dict[str, str]": samconfig.pairs,
}


def _choice(value: Any, option: str) -> str:
    if value not in ON_FAILURE:
        raise UsageError(f"{option} is one of {', '.join(ON_FAILURE)}, not {value!r}")
    return str(value)


DEPLOY = sam.Options(
    "deploy",
    read={
        **{each.name: _READERS[str(each.type)] for each in dataclasses.fields(Settings)},
        "on_failure": _choice,
    },
    not_needed={
        **sam.UPLOADED,
        "express": "a deployment is over when all of it is",
        "max_wait_duration": "a stage has a time limit of its own",
    },
    refused=sam.UNSIGNED,
    unread=frozenset({"guided"}),
)
region = click.option("--region", metavar="REGION", help="The region; the AWS configuration's if not said.")


def read(project: Path, given: Mapping[str, Any], *, quiet: bool) -> Settings:
    """Give what the command line says, with `config_file` and `config_env`, else what the configuration does. Raises UsageError."""
    said = sam.said(DEPLOY, project, given, quiet=quiet)
    return Settings(**{name: value for name, value in said.items() if name in DEPLOY.read})


def refuse_malformed(settings: Settings) -> None:
    """Raise UsageError for what is none of what it is to be: told before anything is built, and not by AWS afterwards."""
    from typing import get_args

    from stages.contract import ROLE_ARN, TOPIC_ARN, Capability

    if settings.region:
        named_region(settings.region)
    if settings.role_arn and not re.match(ROLE_ARN, settings.role_arn):
        hint = "It is one like arn:aws:iam::123456789012:role/cloudformation."
        raise UsageError(f"--role-arn: {settings.role_arn!r} is no ARN of a role", hint=hint)
    for each in settings.notification_arns:
        if not re.match(TOPIC_ARN, each):
            hint = "It is one like arn:aws:sns:eu-central-1:123456789012:deployments."
            raise UsageError(f"--notification-arns: {each!r} is no ARN of a topic", hint=hint)
    known = get_args(Capability)
    for each in settings.capabilities:
        if each not in known:
            raise UsageError(f"--capabilities: there is no {each!r}", hint=f"There are: {', '.join(known)}.")


def named_region(name: str) -> str:
    """The name of a region, if it looks like one. Raises UsageError."""
    from stages.contract import REGION

    if not re.match(REGION, name):
        raise UsageError(f"--region {name!r} is no name of a region", hint="It is one like eu-central-1.")
    return name


def save(file: Path, environment: str, settings: Settings) -> None:
    """Write settings into a configuration, as SAM does and reads them. Raises UsageError."""
    told = {
        "stack_name": settings.stack_name,
        "resolve_s3": settings.resolve_s3 or None,
        "s3_bucket": settings.s3_bucket,
        "s3_prefix": settings.s3_prefix,
        "region": settings.region,
        "profile": settings.profile,
        "confirm_changeset": settings.confirm_changeset or None,
        "capabilities": " ".join(settings.capabilities) or None,
        "disable_rollback": settings.disable_rollback or None,
        "parameter_overrides": samconfig.text_of(settings.parameter_overrides)
        if settings.parameter_overrides
        else None,
        "image_repository": settings.image_repository,
        "image_repositories": [f"{name}={uri}" for name, uri in settings.image_repositories.items()] or None,
        "resolve_image_repos": settings.resolve_image_repos or None,
    }
    tables: dict[str, dict[str, Any]] = {"deploy": told, samconfig.EVERY_COMMAND: {"region": settings.region}}
    if settings.aws:
        tables[sam.OURS] = {"aws": settings.aws}
    samconfig.write(file, environment, tables)


def application_of(stack: str) -> str:
    """The name under which a stack's repositories are made: the stack's own, or one like it that ECR takes."""
    import hashlib

    name = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    return name if name == stack else f"{name}-{hashlib.sha256(stack.encode()).hexdigest()[:8]}"
