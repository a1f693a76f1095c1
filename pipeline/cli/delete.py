"""delete: delete a stack, and on wish the images that only it used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, confirming, recording, run, sam, targets
from pipeline.cli import settings as told
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.cli.recording import Recording
    from pipeline.implicit import Step
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust
    from stages.contract import Target

STAGE = "delete"


@click.command()
@click.argument("environment", metavar="[ENV]", default="")
@click.option("--stack-name", metavar="NAME", help="The stack; samconfig.toml's if not said.")
@told.region
@common.profile
@common.aws
@click.option(
    "--images/--no-images",
    default=None,
    help="Delete also the images that only this stack used: those that run there now, and those that the ledger knows.",
)
@click.option(
    "--retain-resources",
    multiple=True,
    metavar="ID",
    help="Let go of a resource, by logical id: only of a stack whose deletion has failed; may be repeated.",
)
@click.option("--yes", "--no-prompts", is_flag=True, help="Ask nothing.")
@sam.config_file
@sam.config_env
@recording.options()
def delete(
    *,
    environment: str,
    images: bool | None,
    retain_resources: tuple[str, ...],
    yes: bool,
    at: Recording,
    **given: Any,
) -> None:
    """Delete a stack: that of ENV, an environment of the project's pipeline.yaml, or the one that --stack-name says.

    It is recorded as a run, and in the target's ledger. Exit code 5 if you decline, 75 if the target has rules that people must
    approve by, 6 if the stack is protected.
    """
    from pipeline import implicit

    if not yes and (at.output.as_json or not confirming.has_terminal()):
        raise UsageError(
            "a deletion is asked about, and there is no terminal", hint="To delete without being asked: --yes"
        )
    where = _place(at.project, environment, given)
    stored, keys_that_count = at.open_store(create=True), at.trusted()
    if images is None and not yes:
        images = click.confirm("Delete also the images that only it used?", default=False, err=True)
    options: dict[str, Any] = {"images": bool(images), "retain": list(retain_resources)}
    if images:
        options |= _known_images(stored, where.target, keys_that_count)
    rules = where.rules or targets.rules_in_force(where.target, stored, keys_that_count)
    _go(implicit.Step(STAGE, options, where.target, where.profile, rules, auth=where.auth), at, ask=not yes)


def _place(project: Path, environment: str, given: dict[str, Any]) -> targets.Environment:
    """The target and its access. Raises UsageError."""
    said = [sam.flag(name) for name, value in given.items() if value is not None]
    if environment and said:
        raise UsageError(f"{environment} says what {said[0]} would", hint=f"Leave out {said[0]}, or {environment}.")
    if environment:
        found = targets.environment(environment, project)
        if not found.target.stack:
            raise UsageError(f"the environment {environment} names no stack", hint="Add `stack: ...` to it.")
        return found
    settings = told.read(project, given, quiet=True)
    if not settings.stack_name:
        hint = "Say it: --stack-name NAME, or name an environment of pipeline.yaml: towpath delete ENV"
        raise UsageError("--stack-name is missing, and no samconfig.toml says it", hint=hint)
    target = targets.of_stack(settings.stack_name, aws=settings.aws, region=settings.region, profile=settings.profile)
    return targets.Environment(target, settings.profile)


def _known_images(store: Store, target: Target, trust: Trust | None) -> dict[str, Any]:
    """The images that this target's ledger has besides those that run, and all of targets where something runs: they may go back."""
    from pipeline.record import ledger, ledgers

    own = ledger.name_of(target)
    found: dict[str, list[str]] = {"also": [], "keep": []}
    for name in store.names("ledgers"):
        book = ledgers.read(store, f"ledgers/{name}", trust)
        images = _images([event.data for event in book.events if event.type == ledger.DEPLOYMENT_FINISHED])
        if book.name == own:
            found["also"] = images
        elif book.current:
            found["keep"] += images
    return {name: uris for name, uris in found.items() if uris}


def _images(deployments: list[dict[str, Any]]) -> list[str]:
    functions = [each for data in deployments for each in (data.get("functions") or {}).values()]
    return sorted({str(each["image"]) for each in functions if each.get("image")})


def _go(step: Step, at: Recording, *, ask: bool) -> None:
    from pipeline import implicit
    from pipeline.cli.opening import begin
    from pipeline.standings import Wish

    plan, files = implicit.compile_plan(STAGE, [step], at.project)
    context = begin(plan, files, at)
    target = step.target
    if ask and target:
        proposal = confirming.propose(context, STAGE, at.output)
        confirming.show(context, proposal)
        left = f"nothing was deleted; to go on after all: towpath stage apply {STAGE} --run {context.run.id}"
        question = f"Are you sure you want to delete the stack {target.stack} in {target.account}, {target.region}?"
        if not confirming.confirm(question, left):
            hint = "To delete it after all, begin anew: towpath delete"
            confirming.decline(context, "nothing was deleted", hint, at.output)
    run.drive(context, Wish(), 1, output=at.output)
