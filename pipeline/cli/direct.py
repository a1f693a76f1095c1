"""build, package: kinds of stages as commands, without a pipeline. Their options are those of the kinds, by SAM's names where it has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.cli import common, recording, sam
from pipeline.errors import UsageError
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.cli.deploying import Template
    from pipeline.cli.recording import Recording
    from pipeline.context import Context
    from pipeline.plan import SecretSource
    from stages.kinds import Option

_SHORT = {"template-file": ("-t", "--template-file", "--template")}
_IS_OTHER_CODE = "it is about code that is no image"
_OF_TERRAFORM = "templates are read, and not Terraform's files"
_OF_BUILD: dict[str, sam.Reader] = {"template_file": sam.text, "parameter_overrides": samconfig.pairs}
BUILD = sam.Options(
    "build",
    read=_OF_BUILD,
    not_needed={
        "build_dir": "what was built is in the record, and there is no .aws-sam",
        "build_image": _IS_OTHER_CODE,
        "build_in_source": _IS_OTHER_CODE,
        "cache_dir": "what was built is in the record, and there is no .aws-sam",
        "cached": "what did not change is never built again",
        "container_env_var": _IS_OTHER_CODE,
        "container_env_var_file": _IS_OTHER_CODE,
        "docker_network": _IS_OTHER_CODE,
        "manifest": _IS_OTHER_CODE,
        "mount_symlinks": _IS_OTHER_CODE,
        "mount_with": _IS_OTHER_CODE,
        "parallel": "images are built four at a time",
        "profile": "a build asks nothing of AWS",
        "region": "a build asks nothing of AWS",
        "skip_pull_image": "a base image that is there is not pulled again",
        "use_buildkit": "BuildKit builds where it can be had; --builder chooses",
        "use_container": "an image is always built by the engine",
    },
    refused={
        "base_dir": "what a template names is looked for from its own folder",
        "exclude": "the images of all functions are built",
        "hook_name": _OF_TERRAFORM,
        "skip_prepare_infra": _OF_TERRAFORM,
        "terraform_project_root_path": _OF_TERRAFORM,
    },
)
OF_TARGET: dict[str, sam.Reader] = {
    "aws": sam.text,
    "image_repositories": samconfig.pairs,
    "image_repository": sam.text,
    "kms_key_id": sam.text,
    "profile": sam.text,
    "region": sam.text,
    "resolve_image_repos": sam.boolean,
    "resolve_s3": sam.boolean,
    "s3_bucket": sam.text,
    "stack_name": sam.text,
}
"""What an environment of a pipeline says in place of a configuration."""
PACKAGE = sam.Options(
    "package",
    read={**_OF_BUILD, **OF_TARGET, "output_template_file": sam.text, "s3_prefix": sam.text},
    not_needed=sam.UPLOADED,
    refused=sam.UNSIGNED,
    behind={"build": frozenset(_OF_BUILD)},
)


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
    declared = (*_SHORT.get(name, (f"--{name}",)), _key(option))
    if option.type == "boolean":
        return click.option(
            f"--{name}/--no-{name.removeprefix('no-')}" if not name.startswith("no-") else f"--{name}",
            _key(option),
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


def _key(option: Option) -> str:
    """The name of an option among those of its command: SAM's, if it has one."""
    return (option.flag or option.name).replace("-", "_")


def _help(option: Option) -> str:
    text = option.help.replace("`", "")
    return text if option.default in (None, False) else f"{text} [default: {str(option.default).lower()}]"


def given(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, of the types that the kind says. Raises UsageError."""
    found: dict[str, Any] = {}
    for option in KINDS[kind].options:
        value = values.get(_key(option))
        if value in (None, (), {}):
            continue
        if option.type == "map" and not isinstance(value, dict):
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


@click.command(cls=sam.Command)
@options_of("build")
@_secret
@sam.config_file
@sam.config_env
@sam.not_needed(BUILD)
@recording.options()
def build(*, secrets: tuple[str, ...], at: Recording, **values: Any) -> None:
    """Build each function's container image, without a pipeline. What was built before and did not change is not built again.

    What is not said here stands in samconfig.toml, as AWS SAM CLI keeps it. It is recorded as a run of one stage: `towpath logs`,
    `towpath audit` and the rest work on it.
    """
    from pipeline import implicit
    from pipeline.cli.opening import begin
    from pipeline.cli.run import drive
    from pipeline.standings import Wish

    said = sam.said(BUILD, at.project, values, quiet=at.output.as_json)
    step = implicit.Step("build", _building(said, at.project), secrets=_secrets(secrets))
    plan, files = implicit.compile_plan("build", [step], at.project)
    drive(begin(plan, files, at), Wish(), 1, output=at.output)


@click.command(cls=sam.Command)
@options_of("build", "package", without=("jobs", "packaged"))
@_secret
@click.option(
    "--resolve-image-repos/--no-resolve-image-repos",
    default=None,
    help="Make a repository for each function, NAME/FUNCTION; --application says NAME, else it is the configuration's stack_name.",
)
@click.option(
    "--resolve-s3/--no-resolve-s3",
    default=None,
    help="Use a bucket of the account and region, towpath-ACCOUNT-REGION, if something goes to S3.",
)
@click.option("--output-template-file", metavar="FILE", help="Where to write the packaged template.")
@click.option("--environment", metavar="NAME", help="An environment of the project's pipeline.yaml to package for.")
@common.aws
@click.option("--region", metavar="REGION", help="The region of ECR and S3; the AWS configuration's if not said.")
@common.profile
@click.option("--jobs", type=click.IntRange(1), help="Images built, and pushed, at the same time. [default: 4, and 8]")
@sam.config_file
@sam.config_env
@sam.not_needed(PACKAGE)
@recording.options()
def package(*, environment: str | None, secrets: tuple[str, ...], at: Recording, **values: Any) -> None:
    """Build what changed, push what is missing, and write the packaged template, without a pipeline.

    What is not said here stands in samconfig.toml, as AWS SAM CLI keeps it; where to, with --environment, in pipeline.yaml. It is
    recorded as a run of two stages: `towpath logs`, `towpath audit` and the rest work on it.
    """
    from pipeline import implicit
    from pipeline.cli import targets
    from pipeline.cli.opening import begin
    from pipeline.cli.run import drive
    from pipeline.standings import Wish

    quiet = at.output.as_json
    said = sam.said(PACKAGE, at.project, values, quiet=quiet, leaving_out=OF_TARGET if environment else ())
    building, packaging = _building(said, at.project), _packaging(said)
    asked = targets.Asked(environment, said.get("region"), said.get("profile"), embedded=said.get("aws") == "embedded")
    target, profile = targets.choose(packaging, at.project, asked)
    if said.get("resolve_s3") and not (said.get("s3_bucket") or (target and target.bucket)):
        if target is None and _template(said, at.project).uploads:
            target = targets.ourselves(profile, asked.region)
        packaging |= {"bucket": targets.own_bucket(target)} if target else {}
    auth = targets.environment(environment, at.project).auth if environment else None
    steps = [
        implicit.Step("build", building, secrets=_secrets(secrets)),
        implicit.Step("package", packaging, target, profile, auth=auth),
    ]
    plan, files = implicit.compile_plan("package", steps, at.project)
    context = begin(plan, files, at)
    drive(context, Wish(), 1, output=at.output)
    if "output_template_file" in said:
        folder = Path() if values["output_template_file"] else at.project
        _write_template(context, folder / said["output_template_file"])


def _building(said: Mapping[str, Any], project: Path) -> dict[str, Any]:
    """The options of the build. Raises UsageError, InvalidDefinition."""
    options = given("build", said)
    options["template"] = common.template(project, options.get("template"))
    parameters = options.pop("parameters", None)
    if parameters:
        found = _template(said, project)
        away = (found.parameters.keys() - found.deciding) | found.secret
        options["parameters"] = {name: value for name, value in parameters.items() if name not in away}
    return options


def _template(said: Mapping[str, Any], project: Path) -> Template:
    """The template as `towpath deploy` reads it. Raises UsageError, InvalidDefinition."""
    from pipeline.cli import deploying
    from pipeline.cli.settings import Settings

    return deploying.template(project, Settings(**{name: said[name] for name in _OF_BUILD if name in said}))


def _packaging(said: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the packaging. Raises UsageError."""
    from pipeline.cli.settings import application_of

    options = given("package", said)
    if not said.get("resolve_image_repos"):
        return options
    if said.get("image_repository"):
        raise UsageError("--resolve-image-repos and --image-repository say both where images go", hint="Leave out one.")
    if "application" not in options and not said.get("stack_name"):
        hint = "Its repositories are NAME/FUNCTION: --resolve-image-repos --application NAME, or `stack_name` in samconfig.toml"
        raise UsageError(
            "--resolve-image-repos needs the application's name: two applications must not share", hint=hint
        )
    return {"application": application_of(said.get("stack_name", "")), **options}


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
