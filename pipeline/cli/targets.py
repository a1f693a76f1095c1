"""What a command without a pipeline acts on: an environment of pipeline.yaml, what names of repositories say, or whoever we are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed, UsageError
from stages.contract import COMMAND, StageError, Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.plan import Auth
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/.+")
_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_HOST = re.compile(r"(localhost|[^/]*[.:][^/]*)/.+")


EMBEDDED_ACCOUNT = "000000000000"
EMBEDDED_REGION = "us-east-1"


@dataclass(frozen=True)
class Environment:
    """Where a command acts: the target, the profile, and for an environment of a pipeline the rules that it wants there, and all
    roles that it signs in by."""

    target: Target
    profile: str | None = None
    rules: dict[str, Any] | None = None
    auth: Auth | None = None


@dataclass(frozen=True)
class Asked:
    """What was said on the command line."""

    environment: str | None
    region: str | None
    profile: str | None
    embedded: bool = False


def choose(options: Mapping[str, Any], project: Path, asked: Asked) -> tuple[Target | None, str | None]:
    """The target, None if nothing of AWS is needed, and the profile. Raises UsageError."""
    if asked.environment:
        if asked.region or asked.profile or asked.embedded:
            hint = "The environment says which AWS, region and profile: leave out --aws, --region and --profile."
            raise UsageError("--environment and --aws, --region or --profile say the same twice", hint=hint)
        found = environment(asked.environment, project)
        return found.target, found.profile
    if asked.embedded:
        return embedded(asked.region), None
    named = [*(options.get("repositories") or {}).values(), *filter(None, [options.get("repository")])]
    ecr = next((match for each in named if (match := _ECR.fullmatch(each))), None)
    if ecr:
        account, region = ecr.groups()
        return Target(COMMAND, account, region, partition(region)), asked.profile
    if options.get("application") or options.get("bucket") or any(not _HOST.fullmatch(each) for each in named):
        return ourselves(asked.profile, asked.region), asked.profile
    return None, asked.profile


def partition(region: str) -> str:
    """The partition that a region is in, by its name."""
    return next((f"aws-{each}" for each in ("cn", "us-gov") if region.startswith(f"{each}-")), "aws")


def environment(name: str, project: Path) -> Environment:
    """An environment, as the stages of the project's pipeline have it. Raises UsageError, InvalidDefinition."""
    from pipeline import compiling
    from pipeline.cli import common

    definition, folder = common.load(project / "pipeline.yaml")
    plan, _files = common.compile_plan(definition, folder, ())
    for stage in plan.stages.values():
        if stage.target and stage.target.environment == name:
            rules = definition.rules.get(name)
            auth = compiling.signs_in(definition.environments[name], compiling.ROLES)
            return Environment(stage.target, stage.profile, rules.as_json() if rules else None, auth)
    known = sorted({stage.target.environment for stage in plan.stages.values() if stage.target})
    raise UsageError(
        f"no stage of {project / 'pipeline.yaml'} has the environment {name!r}",
        hint=f"They have: {', '.join(known)}." if known else "Its stages have none.",
    )


def ourselves(profile: str | None, region: str | None) -> Target:
    """The account that our credentials are for. Raises UsageError."""
    from stages.aws import session

    try:
        account, found, part = session.who_we_are(profile, region)
    except StageError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return Target(COMMAND, account, found, part)


def named_stack(name: str) -> str:
    """The name of a stack, if CloudFormation takes it as one. Raises UsageError."""
    if not _STACK.fullmatch(name):
        hint = "It has letters, digits and hyphens, begins with a letter, and is at most 128 long."
        raise UsageError(f"--stack-name {name!r} is no name of a stack", hint=hint)
    return name


def embedded(region: str | None) -> Target:
    """The account that a command without a pipeline has on the embedded AWS."""
    return Target(COMMAND, EMBEDDED_ACCOUNT, region or EMBEDDED_REGION, embedded=True)


def own_bucket(target: Target) -> str:
    """The bucket that is used, and made if missing, where nobody names one."""
    return f"towpath-{target.account}-{target.region}"


def of_stack(name: str, *, aws: str | None, region: str | None, profile: str | None) -> Target:
    """A stack that is of no environment. Raises UsageError."""
    stack = named_stack(name)
    return replace(embedded(region) if aws == "embedded" else ourselves(profile, region), stack=stack)


def stack(place: Environment) -> dict[str, Any] | None:
    """What CloudFormation says of a target's stack; None if there is none. Raises StageFailed."""
    import click

    from pipeline import credentials
    from pipeline import embedded as aws
    from stages.aws import cloudformation

    target = place.target

    def endpoint() -> str:
        return aws.endpoint(lambda text: click.echo(text, err=True))

    try:
        client = credentials.connect(place, "propose", f"towpath-{target.environment}", endpoint).cloudformation
        found = cloudformation.describe_stack(client, str(target.stack))
    except StageError as error:
        raise StageFailed(error.message, hint=error.hint) from error
    return None if found is None or found["StackStatus"] == "DELETE_COMPLETE" else found


def rules_in_force(target: Target, store: Store, trust: Trust | None) -> dict[str, Any]:
    """The rules that a target's ledger has, nobody's approval where it has none.

    Whoever acts on the target without a pipeline is held to them, and changes none of them.
    """
    from pipeline.gates.rules import NOBODY
    from pipeline.record import ledger, ledgers

    return ledgers.read(store, ledger.name_of(target), trust).rules or NOBODY.as_json()
