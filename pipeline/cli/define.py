"""validate, plan, schema: what a definition says, without running anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipeline.cli import common

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from stages.contract import Problem


@click.command()
@common.file
@common.project
@common.parameter
@common.as_json
def validate(file: str | None, project: str, parameters: tuple[str, ...], *, as_json: bool) -> None:
    """Check the definition, its includes, and the templates and other files it names. Nothing is built or called."""
    from pipeline import checks

    path = common.definition_file(file, project)
    definition, folder = common.load(path)
    plan, _files = common.compile_plan(definition, folder, parameters)
    checks.check(plan, folder)
    if as_json:
        common.print_json(
            {"valid": True, "plan": plan.digest, "warnings": [_as_json(each) for each in definition.warnings]}
        )
        return
    for warning in definition.warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    click.echo(
        f"{path} is valid: {common.count(len(plan.stages), 'stage')}, {common.count(len(definition.environments), 'environment')}."
    )


@click.command()
@common.file
@common.project
@common.parameter
@common.as_json
def plan(file: str | None, project: str, parameters: tuple[str, ...], *, as_json: bool) -> None:
    """Show the frozen graph that a run would execute: stages in order, where they act, what they hand on."""
    definition, folder = common.load(common.definition_file(file, project))
    compiled, _files = common.compile_plan(definition, folder, parameters)
    if as_json:
        common.print_json({**compiled.as_json(), "digest": compiled.digest})
    else:
        _print_plan(compiled)


@click.command()
def schema() -> None:
    """Print the JSON Schema of pipeline.yaml, for editors: save it, and name it in the first line of the file.

    # yaml-language-server: $schema=pipeline.schema.json
    """
    from pipeline.definition.schema import schema as make

    common.print_json(make())


def _print_plan(plan: Plan) -> None:
    click.echo(f"{plan.name}  plan {plan.digest}")
    for name, value in plan.parameters.items():
        click.echo(f"  parameter {name} = {json.dumps(value) if isinstance(value, bool) else value}")
    for stage in plan.stages.values():
        click.echo(f"\n{click.style(stage.name, bold=True)}  ({stage.kind})")
        if stage.needs:
            click.echo(f"  needs   {', '.join(stage.needs)}")
        if stage.after:
            click.echo(f"  after   {', '.join(stage.after)}")
        for name, source in stage.inputs.items():
            click.echo(f"  takes   {name} from {source}")
        if stage.target:
            where = "embedded AWS" if stage.target.embedded else stage.target.partition
            what = f", stack {stage.target.stack}" if stage.target.stack else ""
            click.echo(
                f"  acts on {stage.target.environment}: {where}, account {stage.target.account}, {stage.target.region}{what}"
            )
        if stage.auth:
            roles = ", ".join(f"{key} {role.rpartition('/')[2]}" for key, role in stage.auth.roles.items())
            click.echo(f"  signs in by {stage.auth.method}, with the roles: {roles}")
        for name, secret in stage.secrets.items():
            where = f" of {secret.target.environment}" if secret.target else ""
            click.echo(f"  secret  {name} from {secret.place} {secret.name}{where}")
        for output in stage.outputs:
            click.echo(f"  gives   {output}")


def _as_json(problem: Problem) -> dict[str, str | None]:
    return {"message": problem.message, "where": problem.where or None, "hint": problem.hint}
