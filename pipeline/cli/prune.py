"""prune: remove what runs have left and nobody needs any more."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import common
from pipeline.errors import UsageError


@click.command()
@click.option("--images", is_flag=True, help="Images that builds left in this machine's engine.")
@click.option(
    "--keep",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Keep those of the last N runs that built: the next build goes by them.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@common.project
@common.store
@common.as_json
def prune(*, images: bool, keep: int, dry_run: bool, project: str, store: str | None, as_json: bool) -> None:
    """Remove images that builds of this project left in the engine. The record stays as it is.

    An image is ours if a record of the store names it as built. One that somebody gave another name, or that a container is
    of, is kept.
    """
    from pipeline import prune as pruning
    from pipeline.record import runs

    if not images:
        raise UsageError(
            "prune needs to know what", hint="Images are all that can be pruned so far: towpath prune --images"
        )
    opened = common.open_store(store, Path(project))
    found = pruning.find(opened)
    for run_id, reason in found.unreadable.items():
        click.echo(f"{click.style('warning:', fg='yellow')} run {run_id} is left alone: {reason}", err=True)
    chosen = pruning.unwanted(found.images, runs.run_ids(opened), keep)
    told = [{"id": each.id, "outcome": "would be removed"} for each in chosen] if dry_run else pruning.remove(chosen)
    if as_json:
        common.print_json({"images": told})
        return
    for each in told:
        if each["outcome"] != "gone":
            click.echo(f"{each['id'][:19]}  {each['outcome']}" + (f": {each['why']}" if each.get("why") else ""))
    removed = [each for each in told if each["outcome"] == "removed"]
    freed_mb = sum(int(each["size"]) for each in removed) / 1e6
    kept = len(found.images) - len(chosen)
    if not dry_run:
        click.echo(
            f"{len(removed)} images removed, of {freed_mb:,.1f} MB with what they share; {kept} kept for the next build."
        )
