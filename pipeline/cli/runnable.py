"""What a command of `local` is to run: the functions of a template as configured, each with the image that was built of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.errors import InvalidDefinition, StageFailed, UsageError
from stages.contract import InvalidInput, StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.built import Built
    from stages.local.functions import Configured
    from stages.local.images import Wanted
    from stages.template import Application, Function


class Command(click.Command):
    """A command whose parameter overrides are given as SAM takes them: all values after one option, or one after each.

    What has no = is the function.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(each.startswith("--parameter-overrides") for each in args):
            from pipeline.cli.settings import spread  # late, as mostly there are none

            args = spread(args, frozenset({"--parameter-overrides"}), lambda word: "=" in word)
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Asked:
    """The options that all commands of `local` which run something take."""

    project: Path
    store: str | None
    template: str
    overrides: dict[str, str]
    variables: str | None
    region: str | None
    profile: str | None
    build: bool


@dataclass(frozen=True)
class Found:
    """An application, those of its functions that are to be run, and the build that their images are of, if they are of one."""

    application: Application
    functions: list[tuple[Configured, Wanted]]
    built: Built | None


def asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Asked`."""
    options = (
        click.option(
            *("-t", "--template"),
            metavar="FILE",
            help="The template, from the project's folder. Default: template.yaml",
        ),
        click.option(
            *("-n", "--env-vars", "variables"),
            metavar="FILE",
            help='Environment variables, as AWS SAM CLI takes them: {"MyFunction": {"KEY": "value"}, "Parameters": {...}}; '
            "Parameters are for all functions.",
        ),
        click.option(
            *("--parameter-overrides", "overrides"),
            multiple=True,
            metavar="NAME=VALUE",
            help="Values for parameters of the template, as AWS SAM CLI takes them.",
        ),
        click.option("--build", is_flag=True, help="Build what changed first."),
        click.option(
            "--region",
            metavar="REGION",
            help="The region that functions are told. Default: $AWS_REGION, else us-east-1",
        ),
        click.option(
            "--profile",
            metavar="PROFILE",
            help="Give functions the credentials of this profile. Default: those in the environment.",
        ),
        common.project,
        common.store,
    )
    for option in reversed(options):
        command = option(command)
    return command


_CONFIGURED = {
    "template": "template",
    "template_file": "template",
    "env_vars": "variables",
    "region": "region",
    "profile": "profile",
    "host": "host",
    "port": "port",
    "parameter_overrides": "overrides",
}
"""Options of SAM's configuration that are read, and ours by which they are known."""


def with_configuration(options: dict[str, Any], command: str) -> dict[str, Any]:
    """The options, and for those that were not given what SAM's configuration file says, if there is one. Raises UsageError.

    What the command's own table says beside them is told, and not read.
    """
    from pipeline import samconfig

    file = samconfig.find(Path(options["project"]))
    if file is None:
        return options
    config = samconfig.read(file, None, command)
    found = dict(options)
    for name, value in config.values.items():
        key = _CONFIGURED.get(name)
        if key is None or key not in options:
            if name in config.own and "--json" not in sys.argv:
                click.echo(f"note: {config.where(name)}: {name} is not read here", err=True)
        elif options[key] in (None, ()):
            found[key] = _read(name, value, config.where(name))
    return found


def _read(name: str, value: Any, where: str) -> Any:
    from pipeline import samconfig

    if name == "parameter_overrides":
        try:
            return samconfig.pairs(value, name)
        except UsageError as error:
            raise UsageError(error.message, where=where, hint=error.hint) from error
    if name == "port":
        if not re.fullmatch(r"\d{1,5}", str(value)) or int(value) > 65_535:
            raise UsageError(f"port must be a number from 0 to 65,535, not {value!r}", where=where)
        return int(value)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a text, not {value!r}", where=where)
    if _CONFIGURED[name] == "template" and samconfig.BUILT in PurePath(value).parts:
        return None
    return value


def asked(options: dict[str, Any]) -> Asked:
    """Give the options by name. Raises UsageError."""
    from pipeline import samconfig

    project = Path(options["project"]).absolute()
    template = common.template(project, options["template"])
    overrides = samconfig.pairs(options["overrides"], "--parameter-overrides")
    rest = {name: options[name] for name in ("store", "variables", "region", "profile", "build")}
    return Asked(project=project, template=template, overrides=overrides, **rest)


def find(asked: Asked, name: str | None = None, image: str | None = None, *, every: bool = False) -> Found:
    """Give what is to be run: one function, or every one of the template. Raises StageError, TowpathError."""
    from stages.local import credentials, functions, images, variables

    place = functions.Place(credentials.region(asked.region), asked.overrides)
    application = functions.load(asked.project, asked.template, place)
    chosen = application.functions if every else [functions.choose(application, name)]
    file = asked.variables
    named = {each.id: functions.stated_name(application, each) for each in application.functions}
    known = [each for each in (*named, *named.values()) if each]
    given = variables.read(read(file, "the variables"), file, known) if file else {}
    configured = [
        functions.configure(application, each, place, variables.given_for(each.id, given, file, named=named[each.id]))
        for each in chosen
    ]
    built = _built(asked, chosen) if image is None else None
    documents = built.images if built else None
    return Found(application, [(each, images.wanted(each.function, image, documents)) for each in configured], built)


def _built(asked: Asked, chosen: list[Function]) -> Built | None:
    """Find the last build, if a function is of an image that was built."""
    from stages.template import BuiltImage

    if not any(isinstance(each.image, BuiltImage) or each.image.kind == "archive" for each in chosen):
        return None
    from pipeline import built

    return built.latest(common.open_store(asked.store, asked.project, create=True), asked.template)


def build(asked: Asked) -> None:
    """Build as `towpath build` does; what did not change is not built again. Raises StageFailed."""
    argv = [sys.executable, "-m", "pipeline.cli", "build", "--template", asked.template]
    argv += ["--project", str(asked.project), *(["--store", asked.store] if asked.store else [])]
    for name, value in asked.overrides.items():
        argv += ["--parameter", f"{name}={value}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise StageFailed("the build failed, so there is nothing new to run")


def changes(asked: Asked, found: Found) -> list[str]:
    """Say of which functions the source is no longer what was built."""
    if found.built is None:
        return []
    from stages.local import changes as sources

    if not sources.touched(asked.project, found.application, found.built.opened):
        return []
    entries = {each.id: found.built.images["functions"].get(each.id, {}) for each, _ in found.functions}
    stage, cache = found.built.stage, asked.project / ".towpath" / "cache" / "build"
    changed = sources.since(asked.project, stage.options, sorted(stage.secrets), entries, cache)
    return [f"{name} has changed since run {found.built.run} built it: --build builds it first" for name in changed]


def read(file: str, what: str) -> bytes:
    """Read a file, or standard input. Raises UsageError."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {what}: {error.strerror}", where=file) from error


def read_event(file: str) -> bytes:
    """Read an event from a file, or from standard input. Raises UsageError."""
    from stages.local import documents

    data = read(file, "the event")
    where = "standard input" if file == "-" else file
    try:
        event = documents.event(data)
    except json.JSONDecodeError as error:
        raise UsageError(f"the event is no JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}") from error
    except ValueError as error:
        raise UsageError(f"the event is no JSON: {error}", where=where) from error
    if len(event) > documents.SYNCHRONOUS_BYTES:
        text = f"the event has {len(event):,} bytes, and Lambda takes {documents.SYNCHRONOUS_BYTES:,}"
        raise UsageError(text, where=where, hint="Keep what is large in S3, and name it in the event.")
    return event


@contextmanager
def told() -> Iterator[None]:
    """Turn errors of `stages` into ours."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidDefinition(error.problems) from error
    except StageError as error:
        kind = UsageError if error.cls == "invalid" else StageFailed
        raise kind(error.message, hint=error.hint, where=error.where) from error
