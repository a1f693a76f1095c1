"""What `towpath deploy` does: read the template, choose the target, compile a plan of it, and drive that, asking before it is done."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import samconfig
from pipeline.cli import confirming, guided, progress, run, sam, targets
from pipeline.cli import settings as told
from pipeline.errors import InvalidDefinition, StageFailed, UsageError
from stages.contract import COMMAND, InvalidInput, Problem, StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.cli.recording import Recording
    from pipeline.cli.settings import Settings
    from pipeline.context import Context
    from pipeline.implicit import Step
    from pipeline.plan import SecretSource
    from stages.contract import OnFailure, Proposal
    from stages.template import Application
    from stages.template.overview import Parameter

PARAMETER_VARIABLE = "TOWPATH_PARAMETER_"
"""Begins the variables that hold the values of secret parameters: no plan, file or record ever holds one."""
STAGE = "deploy"


@dataclass(frozen=True)
class Template:
    """The template that is deployed. `file` is its name in the project, or its own if it is outside.

    `packaged`: it is taken as it is. `unplaced` are the functions whose images need a repository, `uploads` whether anything goes
    to S3, `deciding` the parameters that decide which images there are.
    """

    file: str
    data: bytes
    application: Application
    parameters: Mapping[str, Parameter]
    packaged: bool
    unplaced: list[str] = field(default_factory=list)
    uploads: bool = False
    deciding: frozenset[str] = frozenset()

    @property
    def secret(self) -> frozenset[str]:
        return frozenset(name for name, each in self.parameters.items() if each.secret)

    def secrets(self, given: Mapping[str, str]) -> dict[str, str]:
        """The values that nobody is to see; an empty one is none."""
        return {name: given[name] for name in sorted(self.secret & given.keys()) if given[name]}


# What is deployed


def template(project: Path, settings: Settings) -> Template:
    """Read the template that is named, or the project's. Raises UsageError, InvalidDefinition."""
    from stages import template as templates
    from stages.template import overview

    name = settings.template_file or samconfig.template(project)
    file, data = _read(project, name)
    try:
        root = templates.read(data, file)
        declared = overview.parameters(root)
        given = {key: value for key, value in settings.parameter_overrides.items() if key in declared}
        application, _ = templates.load(lambda path: data if path == file else _nested(project, path), file, given)
    except InvalidInput as error:
        raise InvalidDefinition(error.problems) from error
    packaged = bool(settings.template_file) and overview.is_packaged(application)
    if not packaged and not _is_inside(project, name):
        hint = f"Its folder is the project: --project {Path(name).parent} --template-file {Path(name).name}"
        raise UsageError(f"{name} is outside the project, and has images to be built", hint=hint)
    built = [each.id for each in application.functions if not overview.is_in_registry(each.image)]
    large = len(data) > LIMITS.template_body_bytes
    uploads = large or (not packaged and (bool(templates.artifacts(application)) or len(application.stacks) > 1))
    unplaced = [] if packaged else built
    return Template(file, data, application, declared, packaged, unplaced, uploads, overview.deciding(application))


def _read(project: Path, name: str) -> tuple[str, bytes]:
    try:
        path = Path(os.path.realpath(project / name))
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the template cannot be read: {error.strerror}", where=name) from error
    root = Path(os.path.realpath(project))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name, data


def _is_inside(project: Path, name: str) -> bool:
    return Path(os.path.realpath(project / name)).is_relative_to(os.path.realpath(project))


def _nested(project: Path, name: str) -> bytes:
    from pipeline import beneath
    from stages.template import Unreadable

    try:
        return beneath.read(project, name, LIMITS.yaml_bytes).data
    except beneath.Refused as error:
        raise Unreadable(error.message) from error


def ask(before: Settings, found: Template, project: Path, config_file: str | None, environment: str | None) -> Settings:
    """Ask for the settings, offering those that are known, and keep the answers. Raises UsageError, Rejected, click.Abort."""
    from stages.aws import session

    region = before.region
    if region is None and before.aws != "embedded":
        try:
            region = session.configured_region(before.profile)
        except StageError as error:
            raise UsageError(error.message, hint=error.hint) from error

    def load(values: Mapping[str, str]) -> tuple[Application, list[str]]:
        again = template(project, dataclasses.replace(before, parameter_overrides=dict(values)))
        return again.application, again.unplaced

    file = Path(config_file) if config_file else samconfig.find(project) or project / samconfig.DEFAULT_FILE
    here = Path.cwd()
    asked = guided.ask(
        dataclasses.replace(before, region=region),
        file.relative_to(here) if file.is_relative_to(here) else file,
        environment or samconfig.DEFAULT_ENVIRONMENT,
        found.parameters,
        load,
    )
    guided.keep(asked, found.secret)
    return asked.settings


# Where to


def place(settings: Settings, project: Path, environment: str | None) -> targets.Environment:
    """The target and its access. Raises UsageError."""
    if environment:
        found = targets.environment(environment, project)
        if not found.target.stack:
            raise UsageError(f"the environment {environment} names no stack", hint="Add `stack: ...` to it.")
        return found
    if not settings.stack_name:
        hint = "Say it: --stack-name NAME, or be asked for everything: towpath deploy --guided"
        raise UsageError("--stack-name is missing, and no samconfig.toml says it", hint=hint)
    told.refuse_malformed(settings)
    target = targets.of_stack(settings.stack_name, aws=settings.aws, region=settings.region, profile=settings.profile)
    return targets.Environment(
        dataclasses.replace(
            target,
            tags=settings.tags,
            capabilities=settings.capabilities,
            service_role=settings.role_arn,
            notification_arns=settings.notification_arns,
            on_failure=_on_failure(settings),
            bucket=settings.s3_bucket or (targets.own_bucket(target) if settings.resolve_s3 else None),
        ),
        settings.profile,
    )


def _on_failure(settings: Settings) -> OnFailure:
    words: dict[str | None, OnFailure] = {"DELETE": "delete", "DO_NOTHING": "do-nothing"}
    return "do-nothing" if settings.disable_rollback else words.get(settings.on_failure, "rollback")


# What does not fit


def refuse_contradictions(
    settings: Settings, given: Mapping[str, Any], *, guided: bool, environment: str | None, as_json: bool
) -> None:
    """Raise UsageError for options that exclude each other, and for those that ask where nobody can be asked."""
    asks = "--guided" if guided else "--confirm-changeset" if settings.confirm_changeset else None
    if settings.no_execute_changeset and not guided:
        asks = None
    if asks:
        hints = {
            "--guided": "Say what it asks for: towpath deploy --help",
            "--confirm-changeset": "Deploy without asking: --no-confirm-changeset. Or only show what would change: --no-execute-changeset",
        }
        if as_json:
            raise UsageError(f"{asks} asks, and --json is for programs", hint=hints[asks])
        confirming.refuse_without_terminal(asks, hints[asks])
    if settings.disable_rollback and settings.on_failure:
        raise UsageError(
            "--disable-rollback and --on-failure say both what becomes of a failed deployment", hint="Leave out one."
        )
    if settings.resolve_image_repos and settings.image_repository:
        raise UsageError("--resolve-image-repos and --image-repository say both where images go", hint="Leave out one.")
    own = (
        *("stack_name", "region", "profile", "aws", "parameter_overrides", "capabilities", "tags"),
        *("role_arn", "notification_arns", "disable_rollback", "on_failure"),
    )
    twice = [sam.flag(name) for name in own if given.get(name) not in (None, ())]
    if environment and (twice or guided):
        said = twice[0] if twice else "--guided"
        raise UsageError(f"--environment says what {said} would", hint=f"Leave out {said}, or --environment.")


def refuse_mistakes(settings: Settings, found: Template, where: targets.Environment) -> None:
    """Raise UsageError, InvalidDefinition for what the template lacks: all that can be told before anything is built."""
    if where.target.environment == COMMAND:
        problems = list(_short_secrets(settings.parameter_overrides, found))
        problems += list(_parameter_problems(settings.parameter_overrides, found, where))
        if problems:
            raise InvalidDefinition(problems)
    named = settings.image_repository or settings.resolve_image_repos or where.target.repository
    missing = [name for name in found.unplaced if name not in settings.image_repositories and not named]
    if missing:
        hint = "Have one made for each: --resolve-image-repos. Or name them: --image-repository URI, --image-repositories FUNCTION=URI"
        raise UsageError(f"there is no repository for the images of {', '.join(missing)}", hint=hint)
    if found.uploads and not (settings.s3_bucket or where.target.bucket):
        hint = "Have one made: --resolve-s3. Or name it: --s3-bucket NAME"
        raise UsageError(f"some of {found.file} goes to S3, and there is no bucket", hint=hint)


def _parameter_problems(given: Mapping[str, str], found: Template, where: targets.Environment) -> Iterator[Problem]:
    from difflib import get_close_matches

    for name in given:
        if name not in found.parameters:
            close = get_close_matches(name, found.parameters, n=1)
            known = f"It has: {', '.join(found.parameters)}." if found.parameters else "It has none."
            hint = f"Did you mean {close[0]}?" if close else known
            yield Problem(f"--parameter-overrides: the template has no parameter {name}", found.file, hint=hint)
    missing = [name for name, each in found.parameters.items() if name not in given and each.default is None]
    stands = {each["ParameterKey"] for each in (targets.stack(where) or {}).get("Parameters", [])} if missing else set()
    for name, each in found.parameters.items():
        if name in missing and name not in stands:  # what stands in the stack is kept
            hint = f"Say it: --parameter-overrides {name}=VALUE, or be asked: --guided"
            yield Problem(f"the parameter {name} has no default, and no value", found.file, hint=hint)
        wrong = each.wrong(given[name]) if name in given else None
        if wrong:
            yield Problem(f"the parameter {name} does not allow {wrong.value}", found.file, hint=wrong.allows)


def _short_secrets(given: Mapping[str, str], found: Template) -> Iterator[Problem]:
    from pipeline.redaction.forms import SHORTEST_BYTES

    for name, value in found.secrets(given).items():
        if len(value.encode()) < SHORTEST_BYTES:
            message = f"the value of the secret parameter {name} has fewer than {SHORTEST_BYTES} bytes"
            yield Problem(message, found.file, hint="What is so short cannot be kept out of logs: use a longer one.")


# Doing it


def go(settings: Settings, found: Template, where: targets.Environment, at: Recording) -> None:
    """Open a run and drive it. Raises what a run raises; Rejected if the change set is declined."""
    from pipeline import implicit
    from pipeline.cli.opening import begin
    from pipeline.standings import Wish

    store = at.open_store(create=True)
    rules = where.rules or targets.rules_in_force(where.target, store, at.trusted())
    steps = _steps(settings, found, where, rules, carrier="engine" if store.local else "oci-layout")
    plan, files = implicit.compile_plan("deploy", steps, at.project)
    context = begin(plan, files, at)
    if settings.no_execute_changeset or settings.confirm_changeset:
        proposal = confirming.propose(context, STAGE, at.output)
        if not proposal.subject["nothing_to_do"]:
            if settings.no_execute_changeset:
                _leave(context, proposal, at)
                return
            confirming.show(context, proposal)
            _confirm(context, proposal, at)
    run.drive(context, Wish(), 1, output=at.output)
    _tell(context, settings, at)


def _steps(
    settings: Settings, found: Template, where: targets.Environment, rules: dict[str, Any], *, carrier: str
) -> list[Step]:
    from pipeline.implicit import Step

    own = where.target.environment == COMMAND
    values = found.secrets(settings.parameter_overrides)
    shown = {name: value for name, value in settings.parameter_overrides.items() if name not in values}
    secrets = _secrets(values)
    target = dataclasses.replace(where.target, parameters=shown) if own else where.target
    packaging: dict[str, Any] = {
        "bucket": settings.s3_bucket or target.bucket,
        "prefix": settings.s3_prefix,
        "kms-key": settings.kms_key_id,
        "repository": settings.image_repository,
        "repositories": settings.image_repositories or None,
        "application": told.application_of(str(target.stack)) if settings.resolve_image_repos else None,
    }
    if found.packaged:
        packaging |= {"packaged": found.file, "repository": None, "repositories": None, "application": None}
    options = {name: value for name, value in packaging.items() if value is not None}
    steps = [
        Step("package", options, target, where.profile, contents={found.file: found.data}, auth=where.auth),
        Step(STAGE, {}, target, where.profile, rules, secrets, auth=where.auth),
    ]
    if not found.packaged:
        deciding = {name: value for name, value in target.parameters.items() if name in found.deciding}
        steps.insert(0, Step("build", {"template": found.file, "parameters": deciding, "carrier": carrier}))
    return steps


def _secrets(values: Mapping[str, str]) -> dict[str, SecretSource]:
    """Put the values of secret parameters into variables of ours, and give what the plan says of them."""
    from pipeline.plan import SecretSource

    os.environ.update({PARAMETER_VARIABLE + name: value for name, value in values.items()})
    return {name: SecretSource("variable", PARAMETER_VARIABLE + name) for name in values}


def _leave(context: Context, proposal: Proposal, at: Recording) -> None:
    """Tell of a change set that is made and left."""
    run.report_on(context, output=at.output)
    if not at.output.as_json:
        confirming.show(context, proposal)
        click.echo(
            f"\nThe change set {proposal.handle['name']} is made, and not executed: {proposal.handle['change_set_arn']}"
        )
        click.echo(f"To execute it: {_apply_later(context)}")


def _apply_later(context: Context) -> str:
    """The command that executes what was left; the values of secret parameters are in no record, so it takes them again."""
    variables = "".join(f"{each.name}=... " for each in context.plan.stages[STAGE].secrets.values())
    return f"{variables}towpath stage apply {STAGE} --run {context.run.id}"


def _confirm(context: Context, proposal: Proposal, at: Recording) -> None:
    """Ask whether the change set is to be executed. Raises Rejected if not: it is deleted then, and the run is over."""
    name = proposal.handle["name"]
    left = f"the change set {name} is left; to execute it: {_apply_later(context)}"
    if not confirming.confirm("Deploy this changeset?", left):
        what = f"nothing was deployed; {_withdraw(context, proposal)}"
        confirming.decline(context, what, "To deploy after all, begin anew: towpath deploy", at.output)


def _withdraw(context: Context, proposal: Proposal) -> str:
    """Delete a change set that nobody wants, and the stack that was made for it alone; say what became of it."""
    from pipeline import credentials
    from stages.aws import cloudformation

    stage = context.plan.stages[STAGE]
    name, arn = proposal.handle["name"], proposal.handle["change_set_arn"]
    if stage.target is None:
        raise AssertionError("deploy has a target")
    try:
        client = credentials.connect(stage, "propose", proposal.handle["name"], context.endpoint).cloudformation
        cloudformation.withdraw_change_set(client, arn, proposal.handle["stack_id"])
    except (StageError, StageFailed) as error:
        return f"the change set {name} is left, as it cannot be deleted: {error.message}"
    return f"the change set {name} is deleted"


def _tell(context: Context, settings: Settings, at: Recording) -> None:
    """Say that nothing changed, if nothing did. Raises StageFailed if that is to be a failure."""
    done = context.run.done(STAGE)
    proposals = [each.proposal for each in context.run.attempts.get(STAGE, []) if each.proposal]
    if done is None or not proposals:
        return
    if not proposals[-1].subject["nothing_to_do"]:
        if not settings.confirm_changeset:
            confirming.show(context, proposals[-1])
        if not at.output.as_json:
            _print_outputs(done.facts)
        return
    text = f"No changes to deploy. Stack {proposals[-1].subject['target']['stack']} is up to date"
    if settings.fail_on_empty_changeset:
        raise StageFailed(text, hint="That is no failure without --fail-on-empty-changeset.")
    if not at.output.as_json:
        click.echo(f"\n{text}")


def _print_outputs(facts: dict[str, Any]) -> None:
    """Print the stack's outputs; those that are endpoints have been printed with the stages."""
    outputs = {
        name: value for name, value in facts.get("outputs", {}).items() if name not in facts.get("endpoints", {})
    }
    if outputs:
        click.echo("\nOutputs")
        width = max(map(len, outputs))
        for name, value in outputs.items():
            click.echo(f"  {name:<{width}}  {progress.plain(str(value))}")
