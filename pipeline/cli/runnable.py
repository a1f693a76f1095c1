"""What a command of `local` is to run: the functions of a template as configured, each with the image that was built of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.cli import common, sam
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
        return super().parse_args(ctx, sam.spread(args, frozenset({"--parameter-overrides"}), lambda word: "=" in word))


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
    config_file: str | None = None
    config_env: str | None = None


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
            *("-t", "--template-file", "--template"),
            metavar="FILE",
            help="The template, from the project's folder. Default: template.yaml",
        ),
        click.option(
            *("-n", "--env-vars"),
            metavar="FILE",
            help='Environment variables, as AWS SAM CLI takes them: {"MyFunction": {"KEY": "value"}, "Parameters": {...}}; '
            "Parameters are for all functions.",
        ),
        click.option(
            "--parameter-overrides",
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
        sam.config_file,
        sam.config_env,
        common.project,
        common.store,
    )
    for option in reversed(options):
        command = option(command)
    return command


_READ: dict[str, sam.Reader] = {
    "env_vars": sam.text,
    "parameter_overrides": samconfig.pairs,
    "profile": sam.text,
    "region": sam.text,
    "template_file": sam.text,
}
_UNREAD = frozenset(
    {
        *("add_host", "container_dns", "container_env_vars", "container_host", "container_host_interface"),
        *("debug_args", "debug_function", "debug_port", "debugger_path", "docker_network", "docker_volume_basedir"),
        *("force_image_build", "hook_name", "invoke_image", "layer_cache_basedir", "log_file", "mount_symlinks"),
        *("no_memory_limit", "shutdown", "skip_prepare_infra", "skip_pull_image", "terraform_plan_file"),
    }
)
"""Options that all commands of SAM's `local` have."""
_SERVING: dict[str, sam.Reader] = {**_READ, "host": sam.text, "port": sam.port}
INVOKE = sam.Options(
    "local invoke",
    _READ,
    unread=_UNREAD | {"durable_execution_name", "event", "no_event", "runtime", "tenant_id"},
)
START_API = sam.Options(
    "local start-api",
    _SERVING,
    unread=_UNREAD | {"disable_authorizer", "no_watch", "ssl_cert_file", "ssl_key_file", "static_dir"},
)
START_LAMBDA = sam.Options("local start-lambda", _SERVING, unread=_UNREAD)


def said(command: sam.Options, options: dict[str, Any]) -> dict[str, Any]:
    """Give the options that were given, or that SAM's configuration says. Raises UsageError."""
    return sam.said(command, Path(options["project"]), options, quiet="--json" in sys.argv)


def asked(said: dict[str, Any]) -> Asked:
    """Give the options by name. Raises UsageError."""
    project = Path(said["project"]).absolute()
    return Asked(
        project=project,
        store=said.get("store"),
        template=common.template(project, said.get("template_file")),
        overrides=said.get("parameter_overrides", {}),
        variables=said.get("env_vars"),
        region=said.get("region"),
        profile=said.get("profile"),
        build=said["build"],
        config_file=said.get("config_file"),
        config_env=said.get("config_env"),
    )


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
    argv = [sys.executable, "-m", "pipeline.cli", "build", *build_arguments(asked)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise StageFailed("the build failed, so there is nothing new to run")


def build_arguments(asked: Asked) -> list[str]:
    """Give the options of a build by which this can be run. Raises UsageError if a parameter cannot be written as one."""
    overrides = samconfig.text_of(asked.overrides)
    if not isinstance(overrides, str):
        hint = "Build without it first: towpath build"
        raise UsageError("--build: a parameter has a backslash before a quote, a space or its end", hint=hint)
    options = {
        "--template-file": asked.template,
        "--project": str(asked.project),
        "--store": asked.store,
        "--parameter-overrides": overrides,
        "--config-file": asked.config_file,
        "--config-env": asked.config_env,
    }
    return [f"{name}={value}" for name, value in options.items() if value]


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
