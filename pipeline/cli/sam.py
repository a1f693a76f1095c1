"""What a command is told by AWS SAM CLI's names: on the command line, else in SAM's configuration. One way for all commands."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from pipeline import samconfig
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pipeline.samconfig import Config

    Reader: TypeAlias = Callable[[Any, str], Any]
    """Reads the value of an option, whose flag is told with a mistake. Raises UsageError."""

OURS = "towpath"
"""A table of the configuration that no command of SAM reads: options that are ours alone."""
_QUIETLY = frozenset({"cached", "parallel", "warm_containers", "aws"})
"""Passed over without a word: what SAM's `init` writes into every configuration, and what is ours and for other commands."""
_SAME = {"template": "template_file"}
"""SAM takes either name."""
_EITHER = (("disable_rollback", "on_failure"), ("resolve_image_repos", "image_repository"), ("resolve_s3", "s3_bucket"))
"""Two words for one thing: if the command line says one, the configuration's other does not count."""
NOT_NEEDED = {
    "beta_features": "there are none",
    "debug": "all that a stage says is in its log",
    "language_extensions": "loops are always read",
    "output": "for programs there is --json",
    "save_params": "`towpath deploy --guided` saves what it asked for",
}
"""Options that SAM's commands have in common, and that change nothing here, with the reason."""
UPLOADED = {
    "force_upload": "what is there already is known by its digest",
    "metadata": "what is uploaded is known by its digest",
    "no_progressbar": "there is none where there is no terminal",
    "progressbar": "there is none where there is no terminal",
    "use_json": "the template stays as it is written",
}
"""The same of those that upload."""
UNSIGNED = {"signing_profiles": "Towpath does not sign code; Lambda has no signatures for images"}
"""Refused by those that upload, with the reason."""
_WITH_VALUE = frozenset(
    {
        *("base_dir", "build_dir", "build_image", "cache_dir", "container_env_var", "container_env_var_file"),
        *("docker_network", "exclude", "hook_name", "manifest", "max_wait_duration", "metadata", "mount_with"),
        *("output", "profile", "region", "signing_profiles", "terraform_project_root_path"),
    }
)
"""Of what is not needed, or refused, what has a value on the command line; the rest are flags."""


@dataclass(frozen=True)
class Options:
    """SAM's options of a command, such as `local invoke`, by their names in a configuration.

    `read` are those that are taken; `not_needed` and `refused` are told with the reason, `unread` without one. Of the tables of
    the commands in `behind` the options are taken that they are mapped to, where the command's own does not say them.
    """

    command: str
    read: Mapping[str, Reader]
    not_needed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    behind: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return self.command.replace(" ", "_").replace("-", "_")


config_file = click.option(
    "--config-file", metavar="FILE", help="SAM's configuration. Default: samconfig.toml, .yaml or .json of the project."
)
config_env = click.option("--config-env", metavar="NAME", help="The environment in it. [default: default]")


def flag(name: str) -> str:
    """The option of a name, as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


# What is read


def text(value: Any, option: str) -> str:
    """Read a text; a number of a configuration is one."""
    if isinstance(value, (dict, list)) or value is None:
        raise UsageError(f"{option} must be a text")
    return str(value)


def boolean(value: Any, option: str) -> bool:
    """Read true or false, or a text that says it."""
    known = {"true": True, "false": False}.get(str(value).lower())
    if known is None:
        raise UsageError(f"{option} must be true or false, not {value!r}")
    return known


def port(value: Any, option: str) -> int:
    """Read the number of a port."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,5}", str(value)) or int(value) > 65_535:
        raise UsageError(f"{option} must be a number from 0 to 65,535, not {value!r}")
    return int(value)


def words(value: Any, option: str) -> list[str]:
    """Read a list: one, or a text divided by spaces."""
    del option
    return samconfig.words(value)


# The merge


def said(
    options: Options,
    project: Path,
    given: Mapping[str, Any],
    *,
    quiet: bool,
    leaving_out: Collection[str] = (),
) -> dict[str, Any]:
    """Give what a command is told, by SAM's names; what nobody said is not in it.

    `given` is the command line, with `config_file` and `config_env`; what is no option of SAM's stays as it is there.
    `leaving_out`: what the configuration says of these does not count. Raises UsageError.
    """
    config = load(options, project, given["config_file"], given["config_env"])
    values = {name: value for name, value in config.values.items() if _SAME.get(name, name) not in leaving_out}
    return merge(options, dataclasses.replace(config, values=values), given, _silent if quiet else _note)


def _note(message: str) -> None:
    click.echo(f"note: {message}", err=True)


def _silent(message: str) -> None:
    del message


def merge(options: Options, config: Config, given: Mapping[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """Give what the command line says, else what the configuration does. `note` is told what is passed over.

    Raises UsageError for an option that nobody knows, and for a value that is none.
    """
    chosen = {}
    for name, value in config.values.items():
        key = _SAME.get(name, name)
        if _is_read(options, name, config, note):
            try:
                chosen[key] = options.read[key](value, flag(key))
            except UsageError as error:
                raise UsageError(error.message, where=config.where(name), hint=error.hint) from error
    for pair in _EITHER:
        for one, other in (pair, pair[::-1]):
            if given.get(one) and not given.get(other):
                chosen.pop(other, None)
    for name, value in given.items():
        if value not in (None, ()):
            chosen[name] = options.read[name](value, flag(name)) if name in options.read else value
    return chosen


def _is_read(options: Options, name: str, config: Config, note: Callable[[str], None]) -> bool:
    """Whether an option of a configuration is one that is read; those for other commands in its common table are not."""
    known = _SAME.get(name, name) in options.read
    reasons = {**NOT_NEEDED, **options.not_needed}
    if name in options.refused:
        hint = "Remove it from the configuration."
        raise UsageError(f"{name}: {options.refused[name]}", where=config.where(name), hint=hint)
    if known or name in _QUIETLY or name not in config.own:
        return known
    if name not in reasons and name not in options.unread:
        hint = _did_you_mean(name, [*options.read, *reasons, *options.unread], options.command)
        raise UsageError(f"there is no option {name!r}", where=config.where(name), hint=hint)
    if config.values[name] is not False:
        why = f"is not needed: {reasons[name]}" if name in reasons else "is not read here"
        note(f"{config.where(name)}: {name} {why}")
    return False


def _did_you_mean(name: str, known: Collection[str], command: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"See: towpath {command} --help"


def load(options: Options, project: Path, file: str | None, environment: str | None) -> Config:
    """Give the configuration that was named, or the project's own; an empty one if there is none. Raises UsageError.

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
    found, ours = (samconfig.read(path, environment, each) for each in (options.table, OURS))
    layers = (
        {name: value for name, value in found.values.items() if name not in found.own},
        _own(ours),
        *(_own(samconfig.read(path, environment, table), taken) for table, taken in options.behind.items()),
        _own(found),
    )
    values: dict[str, Any] = {}
    for layer in layers:
        above = {name: value for name, value in layer.items() if not _is_of_sams_build(name, value)}
        named = {_SAME.get(name, name) for name in above}
        values = {name: value for name, value in values.items() if _SAME.get(name, name) not in named} | above
    return dataclasses.replace(found, values=values, own=found.own | ours.own)


def _own(config: Config, taken: Collection[str] | None = None) -> dict[str, Any]:
    """What a command's own table says; `taken`, if given, are those of its options that count."""
    return {
        name: value
        for name, value in config.values.items()
        if name in config.own and (taken is None or _SAME.get(name, name) in taken)
    }


def _is_of_sams_build(name: str, value: Any) -> bool:
    """Whether it is the template that `sam build` leaves, which has the paths of a build that nobody made here."""
    return _SAME.get(name, name) == "template_file" and samconfig.BUILT in Path(str(value)).parts


# The command line


class Command(click.Command):
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


def not_needed(options: Options) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of SAM's that change nothing here: what scripts have been passing is told, and no error."""
    reasons = {**NOT_NEEDED, **options.not_needed}

    def tell(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        del context
        name = str(parameter.name)
        if value in (None, False):
            return
        if name in options.refused:
            raise UsageError(f"{flag(name)}: {options.refused[name]}", hint="Leave it out.")
        if "--json" not in sys.argv:  # then standard error is for one object alone
            click.echo(f"{flag(name)} is not needed: {reasons[name]}", err=True)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in (*reasons, *options.refused):
            option = click.option(
                flag(name),
                is_flag=name not in _WITH_VALUE,
                default=None,
                hidden=name != "force_upload",
                expose_value=False,
                callback=tell,
                help=f"Not needed: {reasons.get(name)}.",
            )
            command = option(command)
        return command

    return decorate
