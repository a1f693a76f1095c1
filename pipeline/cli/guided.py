"""`towpath deploy --guided`: ask what SAM asks, in SAM's order, offer what was answered before, and keep the answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.cli import settings as told
from pipeline.cli import targets
from pipeline.cli.progress import plain
from pipeline.errors import Rejected, UsageError
from pipeline.redaction.forms import SHORTEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.cli.settings import Settings
    from stages.template import Application
    from stages.template.overview import Parameter

FIRST_STACK = "sam-app"
FIRST_REGION = "us-east-1"


@dataclass(frozen=True)
class Asked:
    """The answers, and where they are to be kept; `file` is None if they are not."""

    settings: Settings
    file: Path | None
    environment: str


def ask(
    before: Settings,
    file: Path,
    environment: str,
    parameters: Mapping[str, Parameter],
    load: Callable[[Mapping[str, str]], tuple[Application, list[str]]],
) -> Asked:
    """Ask. `load` gives the application with the parameters answered, and the functions that need a repository.

    Raises Rejected if an endpoint without authentication is not okay, click.Abort on Ctrl-C and at the end of input.
    """
    from stages.template import overview

    _say("\nConfiguring towpath deploy\n==========================\n")
    _say(f"\tLooking for config file [{file.name}] :  {'Found' if file.exists() else 'Not found'}")
    _say("\n\tSetting default arguments for 'towpath deploy'\n\t=============================================")
    stack = _named("Stack Name", before.stack_name or FIRST_STACK, targets.named_stack)
    region = _named("AWS Region", before.region or FIRST_REGION, told.named_region)
    values = _parameters(parameters, before.parameter_overrides)
    application, unplaced = load(values)
    _say("\t#Shows you resources changes to be deployed and require a 'Y' to initiate deploy")
    confirm = _yes("Confirm changes before deploy", default=bool(before.confirm_changeset))
    capabilities = _capabilities(before.capabilities)
    _say("\t#Preserves the state of previously provisioned resources when an operation fails")
    disable_rollback = _yes("Disable rollback", default=bool(before.disable_rollback))
    for endpoint in overview.open_endpoints(application):
        if not _yes(f"{plain(endpoint)} has no authentication. Is this okay?", default=False):
            hint = "Give its event, or its API, `Auth`. Nothing was built, deployed or saved."
            raise Rejected(f"{endpoint} has no authentication, and that is not okay", hint=hint)
    keep = _yes("Save arguments to configuration file", default=True)
    kept_in = Path(_text("SAM configuration file", str(file))) if keep else None
    kept_as = _text("SAM configuration environment", environment) if keep else environment
    answered = dataclasses.replace(
        before,
        stack_name=stack,
        region=region,
        parameter_overrides=values,
        confirm_changeset=confirm,
        capabilities=capabilities,
        disable_rollback=disable_rollback,
        on_failure=None if disable_rollback else before.on_failure,
        resolve_s3=None if before.s3_bucket else True,
        s3_prefix=before.s3_prefix or stack,
        **_repositories(before, unplaced),
    )
    return Asked(answered, kept_in, kept_as)


def keep(asked: Asked, secret: frozenset[str]) -> None:
    """Write the answers into the configuration, without those that are secret, and say so."""
    if asked.file is None:
        return
    shown = {name: value for name, value in asked.settings.parameter_overrides.items() if name not in secret}
    told.save(asked.file, asked.environment, dataclasses.replace(asked.settings, parameter_overrides=shown))
    _say(f"\n\tSaved arguments to config file [{asked.file}], environment {asked.environment}")
    _say("\tRunning 'towpath deploy' for future deployments will use the parameters saved above.\n")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _text(name: str, default: str | None) -> str:
    answer: Any = click.prompt(f"\t{click.style(name, bold=True)}", default=default, err=True, type=str)
    return str(answer)


def _named(name: str, default: str, check: Callable[[str], str]) -> str:
    """Ask for a name, until it is one."""
    while True:
        try:
            return check(_text(name, default))
        except UsageError as error:
            _say(f"\t{plain(error.message)}\n\t{error.hint}")


def _yes(question: str, *, default: bool) -> bool:
    return click.confirm(f"\t{click.style(question, bold=True)}", default=default, err=True)


def _parameters(declared: Mapping[str, Parameter], before: Mapping[str, str]) -> dict[str, str]:
    """Each parameter's value; one that is secret is not shown, and left out where the template's default is to stand."""
    found: dict[str, str] = {}
    for name, each in declared.items():
        if each.secret:
            value = _secret(each, optional=each.default is not None or name in before)
            kept = value or before.get(name)
            found |= {name: kept} if kept else {}
        else:
            found[name] = _allowed(each, before.get(name, each.default or ""))
    return found


def _secret(parameter: Parameter, *, optional: bool) -> str:
    text = f"\t{click.style(f'Parameter {parameter.name}', bold=True)}{' (Enter keeps what it is)' if optional else ''}"
    default = "" if optional else None
    while True:
        answer = str(click.prompt(text, default=default, show_default=False, hide_input=True, err=True, type=str))
        if not answer or not (wrong := _wrong(parameter, answer)):
            return answer
        _say(f"\t{wrong}")


def _allowed(parameter: Parameter, default: str) -> str:
    while True:
        answer = _text(f"Parameter {parameter.name}", default)
        wrong = _wrong(parameter, answer)
        if not wrong:
            return answer
        _say(f"\t{wrong}")


def _wrong(parameter: Parameter, value: str) -> str | None:
    """Why a value cannot be taken, for people."""
    if parameter.secret and len(value.encode()) < SHORTEST_BYTES:
        return f"What has fewer than {SHORTEST_BYTES} bytes cannot be kept out of logs: use a longer one."
    wrong = parameter.wrong(value)
    return plain(f"{parameter.name} does not allow {wrong.value}. {wrong.allows}") if wrong else None


def _capabilities(before: list[str]) -> list[str]:
    _say("\t#Lambda functions need roles to run with; those that the template does not name are made")
    if _yes("Allow IAM role creation", default=True):
        return before or ["CAPABILITY_IAM"]
    return samconfig.words(_text("Capabilities", " ".join(before or ["CAPABILITY_IAM"])))


def _repositories(before: Settings, functions: list[str]) -> dict[str, Any]:
    """Where the images go: a repository of its own for each function, or one that is named for each."""
    given = {name: uri for name, uri in before.image_repositories.items() if name in functions}
    missing = [name for name in functions if name not in given]
    if not functions or before.image_repository:
        return {}
    _say("\n\tLooking for resources needed for deployment:")
    if given:
        _say(
            f"\t Image repositories: Found ({len(given)} of {len(functions)})  #Change them in {samconfig.DEFAULT_FILE}"
        )
        for name, uri in given.items():
            _say(f"\t {plain(name)}: {plain(uri)}")
    else:
        _say("\t Image repositories: Not found.")
    if not missing:
        return {"image_repositories": given, "resolve_image_repos": before.resolve_image_repos}
    _say("\t #They are made when there is something to push, and never deleted by a deployment")
    which = "all functions" if not given else f"the {len(missing)} functions without"
    default = before.resolve_image_repos is not False
    if _yes(f"Create managed ECR repositories for {which}?", default=default):
        return {"image_repositories": given, "resolve_image_repos": True}
    named = {name: _text(f"ECR repository for {plain(name)}", None) for name in missing}
    return {"image_repositories": given | named, "resolve_image_repos": None}
