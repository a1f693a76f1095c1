"""What `towpath deploy` and `towpath delete` are told, by SAM's names: on the command line, in SAM's configuration, or not at all."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.samconfig import Config

ON_FAILURE = ("ROLLBACK", "DELETE", "DO_NOTHING")
_TABLE = "towpath"
"""A table of the configuration that no command of SAM reads: options that are ours alone."""


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


NOT_NEEDED = {
    "force_upload": "what is there already is known by its digest",
    "no_progressbar": "there is none where there is no terminal",
    "progressbar": "there is none where there is no terminal",
    "use_json": "the template stays as it is written",
    "max_wait_duration": "a stage has a time limit of its own",
    "metadata": "what is uploaded is known by its digest",
    "express": "a deployment is over when all of it is",
    "language_extensions": "loops are always read",
    "output": "for programs there is --json",
    "guided": "it is said on the command line",
    "debug": "all that a stage says is in its log",
    "save_params": "--guided saves what it asked for",
    "cached": "what did not change is never built again",
    "parallel": "images are built four at a time",
}
"""Options of SAM's that change nothing here, and why."""
_REFUSED = {"signing_profiles": "Towpath does not sign code; Lambda has no signatures for images"}


region = click.option("--region", metavar="REGION", help="The region; the AWS configuration's if not said.")
config_file = click.option(
    "--config-file", metavar="FILE", help="SAM's configuration. Default: samconfig.toml, .yaml or .json of the project."
)
config_env = click.option("--config-env", metavar="NAME", help="The environment in it. [default: default]")

_FLAGS = ("force_upload", "no_progressbar", "use_json", "express", "language_extensions", "debug", "save_params")
_VALUES = ("max_wait_duration", "metadata", "signing_profiles")


def not_needed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of SAM's that change nothing here: what scripts have been passing is told, and no error."""
    for name in (*_FLAGS, *_VALUES):
        option = click.option(
            flag(name),
            is_flag=name in _FLAGS,
            default=None,
            hidden=name != "force_upload",
            expose_value=False,
            callback=_is_not_needed,
            help=f"Not needed: {NOT_NEEDED.get(name)}.",
        )
        command = option(command)
    return command


def _is_not_needed(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    del context
    name = str(parameter.name)
    if value in (None, False):
        return
    if name in _REFUSED:
        raise UsageError(f"{flag(name)}: {_REFUSED[name]}", hint="Leave it out.")
    if "--json" not in sys.argv:  # then standard error is for one object alone
        click.echo(f"{flag(name)} is not needed: {NOT_NEEDED[name]}", err=True)


def _text(value: Any, option: str) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise UsageError(f"{option} must be a text")
    return str(value)


def _flag(value: Any, option: str) -> bool:
    known = {"true": True, "false": False}.get(str(value).lower())
    if known is None:
        raise UsageError(f"{option} must be true or false, not {value!r}")
    return known


def _words(value: Any, option: str) -> list[str]:
    del option
    return samconfig.words(value)


def _choice(value: Any, option: str) -> str:
    if value not in ON_FAILURE:
        raise UsageError(f"{option} is one of {', '.join(ON_FAILURE)}, not {value!r}")
    return str(value)


_READ: dict[str, Callable[[Any, str], Any]] = {
    **{each.name: _text for each in dataclasses.fields(Settings) if each.type == "str | None"},
    **{each.name: _flag for each in dataclasses.fields(Settings) if each.type == "bool | None"},
    **{each.name: _words for each in dataclasses.fields(Settings) if str(each.type).startswith("list")},
    **{each.name: samconfig.pairs for each in dataclasses.fields(Settings) if str(each.type).startswith("dict")},
    "on_failure": _choice,
}


def flag(name: str) -> str:
    """The option of a name, as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def merge(config: Config, given: Mapping[str, Any], note: Callable[[str], None]) -> Settings:
    """The settings: what the command line says, else what the configuration does. `note` is told what needs no telling.

    Raises UsageError for an option that nobody knows, and for a value that is none.
    """
    chosen = {}
    for name, value in config.values.items():
        key = {"template": "template_file"}.get(name, name)
        if _is_ours(name, key, config, note):
            try:
                chosen[key] = _READ[key](value, flag(key))
            except UsageError as error:
                raise UsageError(error.message, where=config.where(name), hint=error.hint) from error
    for name, value in given.items():
        if value not in (None, ()):
            chosen[name] = _READ[name](value, flag(name))
    if given.get("disable_rollback") is not None and given.get("on_failure") is None:
        chosen.pop("on_failure", None)  # one word for two things: the command line's is the last
    elif given.get("on_failure") is not None and given.get("disable_rollback") is None:
        chosen.pop("disable_rollback", None)
    return Settings(**chosen)


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


def _is_ours(name: str, key: str, config: Config, note: Callable[[str], None]) -> bool:
    """Whether an option of a configuration is one that is read; those for other commands in its common table are not."""
    where = config.where(name)
    if name in _REFUSED:
        raise UsageError(f"{name}: {_REFUSED[name]}", where=where, hint="Remove it from the configuration.")
    if name in config.own and name in NOT_NEEDED:
        note(f"{where}: {name} is not needed: {NOT_NEEDED[name]}")
    elif name in config.own and key not in _READ:
        raise UsageError(f"there is no option {name!r}", where=where, hint=_did_you_mean(name))
    return key in _READ


def _did_you_mean(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [*_READ, *NOT_NEEDED], n=1)
    return f"Did you mean {close[0]}?" if close else "See: towpath deploy --help"


def load(project: Path, file: str | None, environment: str | None, command: str = "deploy") -> Config:
    """The configuration that was named, or the project's own; an empty one if there is none. Raises UsageError.

    With a command's own table stands that of ours alone.
    """
    path = Path(file) if file else samconfig.find(project)
    if path is None:
        if environment:
            hint = f"Make it: towpath deploy --guided --config-env {environment}"
            raise UsageError(
                f"there is no {samconfig.DEFAULT_FILE} in {project}, and so no environment {environment!r}", hint=hint
            )
        return samconfig.Config()
    if file and not path.is_file():
        raise UsageError("there is no such configuration", where=file, hint="Make it: towpath deploy --guided")
    found, ours = (samconfig.read(path, environment, each) for each in (command, _TABLE))
    return dataclasses.replace(found, values={**ours.values, **found.values}, own=found.own | ours.own)


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
        tables[_TABLE] = {"aws": settings.aws}
    samconfig.write(file, environment, tables)


class SamCommand(click.Command):
    """A command whose lists are given as SAM takes them: all values after one option, or one after each."""

    LISTS = frozenset(
        {"--parameter-overrides", "--capabilities", "--tags", "--notification-arns", "--image-repositories"}
    )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, self.LISTS))


def spread(args: list[str], lists: frozenset[str], is_value: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Repeat the option of a list before each of its values, as click wants it; the first word that is none ends the list. Pure."""
    found: list[str] = []
    option = ""
    waiting = False
    for arg in args:
        name, equals, _ = arg.partition("=")
        if arg in lists or (equals and name in lists):
            option, waiting = name, not equals
            found.append(arg)
        elif arg.startswith("-"):
            option = ""
            found.append(arg)
        elif option and not waiting and is_value(arg):
            found += [option, arg]
        else:
            option, waiting = option if waiting else "", False
            found.append(arg)
    return found


def application_of(stack: str) -> str:
    """The name under which a stack's repositories are made: the stack's own, or one like it that ECR takes."""
    import hashlib

    name = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    return name if name == stack else f"{name}-{hashlib.sha256(stack.encode()).hexdigest()[:8]}"
