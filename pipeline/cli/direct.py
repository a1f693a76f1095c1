"""build, package: kinds of stages as commands, without a pipeline. Their options are those of the kinds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, recording
from pipeline.errors import UsageError
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.cli.recording import Recording
    from pipeline.context import Context
    from pipeline.plan import SecretSource
    from stages.kinds import Option


def options_of(*kinds: str, without: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of kinds, as `--name value`; a list or a map is given one entry at a time."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for kind in kinds for option in KINDS[kind].options]):
            if option.name not in without:
                command = _option(option)(command)
        return command

    return decorate


def _option(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = option.flag or option.name
    declared = (f"--{name}", option.name.replace("-", "_"))
    if option.type == "boolean":
        return click.option(
            f"--{name}/--no-{name.removeprefix('no-')}" if not name.startswith("no-") else f"--{name}",
            option.name.replace("-", "_"),
            default=None,
            help=_help(option),
            is_flag=True,
        )
    if option.type == "map":
        return click.option(*declared, multiple=True, metavar="NAME=VALUE", help=_help(option))
    if option.type == "strings":
        return click.option(*declared, multiple=True, metavar="VALUE", help=_help(option))
    of_type: Any = {"integer": click.IntRange(1)}.get(option.type, str)
    if option.choices:
        of_type = click.Choice(option.choices)
    metavar = {"file": "FILE", "folder": "FOLDER"}.get(option.type)
    return click.option(*declared, type=of_type, default=None, metavar=metavar, help=_help(option))


def _help(option: Option) -> str:
    text = option.help.replace("`", "")
    return text if option.default in (None, False) else f"{text} [default: {str(option.default).lower()}]"


def given(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, of the types that the kind says. Raises UsageError."""
    found: dict[str, Any] = {}
    for option in KINDS[kind].options:
        value = values.get(option.name.replace("-", "_"))
        if value in (None, ()):
            continue
        if option.type == "map":
            found[option.name] = _map(option, value)
        else:
            found[option.name] = list(value) if option.type == "strings" else value
    return found


def _map(option: Option, entries: tuple[str, ...]) -> dict[str, str]:
    flag = option.flag or option.name
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise UsageError(f"--{flag} {entry!r} has no value", hint=f"Write: --{flag} NAME=VALUE")
        found[name] = value
    return found


_secret = click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=PLACE",
    help="A secret that a RUN --mount=type=secret,id=NAME may read; PLACE is variable:NAME or file:PATH. BuildKit only.",
)
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def _secrets(given: tuple[str, ...]) -> dict[str, SecretSource]:
    """Give where each secret is taken from. Raises UsageError."""
    from pipeline.plan import SecretSource

    found: dict[str, SecretSource] = {}
    for entry in given:
        name, equals, written = entry.partition("=")
        place, _, where = written.partition(":")
        if not _SECRET_NAME.fullmatch(name) or place not in ("variable", "file") or not where:
            hint = "Write: --secret NAME=variable:VARIABLE or --secret NAME=file:PATH"
            shown = f" {name}=" if equals else ""  # without one it may be the secret itself
            raise UsageError(f"--secret{shown} is no name of a secret with its place", hint=hint)
        if name in found:
            raise UsageError(f"--secret {name} is given twice", hint="Leave out one of them.")
        found[name] = SecretSource("variable" if place == "variable" else "file", where)
    return found


@click.command()
@options_of("build")
@_secret
@recording.options()
def build(*, secrets: tuple[str, ...], at: Recording, **values: Any) -> None:
    """Build each function's container image, without a pipeline. What was built before and did not change is not built again.

    It is recorded as a run of one stage: `towpath logs`, `towpath audit` and the rest work on it.
    """
    from pipeline import implicit
    from pipeline.cli.opening import begin
    from pipeline.cli.run import drive
    from pipeline.standings import Wish

    options = given("build", values)
    options["template"] = common.template(at.project, options.get("template"))
    step = implicit.Step("build", options, secrets=_secrets(secrets))
    plan, files = implicit.compile_plan("build", [step], at.project)
    drive(begin(plan, files, at), Wish(), 1, output=at.output)


@click.command()
@options_of("build", "package", without=("jobs", "packaged"))
@_secret
@click.option(
    "--resolve-image-repos", is_flag=True, help="Make a repository for each function; --application names them."
)
@click.option("--output-template-file", metavar="FILE", help="Where to write the packaged template.")
@click.option("--environment", metavar="NAME", help="An environment of the project's pipeline.yaml to package for.")
@common.aws
@click.option("--region", metavar="REGION", help="The region of ECR and S3; the AWS configuration's if not said.")
@common.profile
@click.option("--jobs", type=click.IntRange(1), help="Images built, and pushed, at the same time. [default: 4, and 8]")
@recording.options()
def package(
    *,
    resolve_image_repos: bool,
    output_template_file: str | None,
    environment: str | None,
    aws: str | None,
    region: str | None,
    profile: str | None,
    secrets: tuple[str, ...],
    at: Recording,
    **values: Any,
) -> None:
    """Build what changed, push what is missing, and write the packaged template, without a pipeline.

    It is recorded as a run of two stages: `towpath logs`, `towpath audit` and the rest work on it.
    """
    from pipeline import implicit
    from pipeline.cli import targets
    from pipeline.cli.opening import begin
    from pipeline.cli.run import drive
    from pipeline.standings import Wish

    building, packaging = given("build", values), given("package", values)
    building["template"] = common.template(at.project, building.get("template"))
    if resolve_image_repos and "application" not in packaging:
        hint = "Its repositories are NAME/FUNCTION: --resolve-image-repos --application NAME"
        raise UsageError(
            "--resolve-image-repos needs the application's name: two applications must not share", hint=hint
        )
    asked = targets.Asked(environment, region, profile, embedded=aws == "embedded")
    target, profile = targets.choose(packaging, at.project, asked)
    auth = targets.environment(environment, at.project).auth if environment else None
    steps = [
        implicit.Step("build", building, secrets=_secrets(secrets)),
        implicit.Step("package", packaging, target, profile, auth=auth),
    ]
    plan, files = implicit.compile_plan("package", steps, at.project)
    context = begin(plan, files, at)
    drive(context, Wish(), 1, output=at.output)
    if output_template_file:
        _write_template(context, Path(output_template_file))


def _write_template(context: Context, path: Path) -> None:
    """Write the packaged template of a run that has succeeded."""
    from pipeline.record import artifacts

    done = context.run.done("package")
    files = artifacts.manifest(context.store, done.outputs["release"]) if done else []
    for file in files:
        if file.path == "packaged-template.yaml":
            data = artifacts.read_blob(context.store, file.sha256, file.path)
            try:
                path.write_bytes(data)
            except OSError as error:
                raise UsageError(f"cannot write the packaged template: {error.strerror}", where=str(path)) from error
