"""recover: free a stack that is stuck. It is a run of one stage, behind the gate of its target, and recorded like any other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from pipeline.cli import common, recording, targets
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.cli.recording import Recording
    from pipeline.implicit import Step

STAGE = "recover"


@click.command()
@click.argument("environment", required=False)
@click.option(
    "--skip",
    multiple=True,
    metavar="RESOURCE",
    help="A resource that the stack is stuck at, to be left as it is; may be repeated. `Child/Fn` is one of a nested stack.",
)
@click.option("--stack-name", metavar="NAME", help="The stack, where it is of no ENVIRONMENT of pipeline.yaml.")
@click.option("--region", metavar="REGION", help="Its region; the AWS configuration's if not said.")
@common.profile
@common.aws
@recording.options()
def recover(
    *,
    environment: str | None,
    skip: tuple[str, ...],
    stack_name: str | None,
    region: str | None,
    profile: str | None,
    aws: str | None,
    at: Recording,
) -> None:
    """Free the stack of ENVIRONMENT, in which nothing can be deployed any more.

    UPDATE_ROLLBACK_FAILED: the rollback goes on to what ran before. UPDATE_FAILED: it is rolled back. ROLLBACK_COMPLETE,
    ROLLBACK_FAILED, CREATE_FAILED: what is left of a creation that failed is deleted. DELETE_FAILED: the deletion goes on.

    What would be done is proposed first, and approved where the environment's rules say so. Nothing is deployed: go on with
    `towpath resume RUN`, or `towpath run`.

    Exit code 2 if the stack is not stuck.
    """
    from pipeline import implicit
    from pipeline.cli.opening import begin
    from pipeline.cli.run import drive
    from pipeline.standings import Wish

    if bool(environment) == bool(stack_name):
        hint = "Name one of them: towpath recover ENVIRONMENT, or towpath recover --stack-name NAME"
        raise UsageError("it takes either an environment of pipeline.yaml or a stack", hint=hint)
    if environment and (region or profile or aws):
        raise UsageError(
            "the environment says its region and its credentials", hint="Leave out --region, --profile, --aws."
        )
    if environment:
        step = _of_environment(environment, at.project)
    else:
        target = targets.of_stack(str(stack_name), aws=aws, region=region, profile=profile)
        rules = targets.rules_in_force(target, at.open_store(create=True), at.trusted())
        step = implicit.Step(STAGE, target=target, profile=profile, rules=rules)
    step = dataclasses.replace(step, options={"skip": list(skip)} if skip else {})
    plan, files = implicit.compile_plan(STAGE, [step], at.project)
    drive(begin(plan, files, at), Wish(), 1, output=at.output)


def _of_environment(name: str, project: Path) -> Step:
    """The stack, the access and the rules of an environment. Raises UsageError."""
    from pipeline.implicit import Step

    definition, folder = common.load(project / "pipeline.yaml")
    plan, _files = common.compile_plan(definition, folder, ())
    for stage in plan.stages.values():
        if stage.kind == "deploy" and stage.target and stage.target.environment == name:
            return Step(STAGE, target=stage.target, profile=stage.profile, rules=stage.rules, auth=stage.auth)
    known = sorted({each.target.environment for each in plan.stages.values() if each.kind == "deploy" and each.target})
    raise UsageError(
        f"no stage of {project / 'pipeline.yaml'} deploys to an environment {name!r}",
        hint=f"They deploy to: {', '.join(known)}." if known else "Name the stack: towpath recover --stack-name NAME",
    )
