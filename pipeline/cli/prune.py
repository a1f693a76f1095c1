"""prune: remove what runs have left and nobody needs any more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.record.store import Store

_KEEP = {"images": 1, "runs": 50}
_SECONDS = {"h": 3600, "d": 86_400}


@click.command()
@click.option("--images", is_flag=True, help="Images that builds left in this machine's engine.")
@click.option(
    "--runs",
    is_flag=True,
    help="Content of the store that only old runs handed on: layers of images, outputs of programs.",
)
@click.option(
    "--keep",
    type=click.IntRange(0),
    metavar="N",
    help="Keep those of the last N runs; of images, of the last N that built. Default: 1 for --images, 50 for --runs.",
)
@click.option(
    "--older-than",
    metavar="AGE",
    help="Only of runs that nobody wrote to for that long: 12h, 90d. Default: 30d. For --runs.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@common.project
@common.store
@common.key
@common.trust
@common.as_json
def prune(
    *,
    images: bool,
    runs: bool,
    keep: int | None,
    older_than: str | None,
    dry_run: bool,
    project: str,
    store: str | None,
    key: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Remove images that builds of this project left in the engine, or content of the store that no run needs any more.

    An image is ours if a record of the store names it as built. One that somebody gave another name, or that a container is
    of, is kept.

    Of the store only content is ever removed. Chains, seals, logs and all that an audit reads stay; so does what the last runs
    need, those under way or waiting, and the current deployment of each target with the ten before it. What is removed is written
    down first, signed, and `towpath audit verify` tells it from what is missing.
    """
    if images == runs:
        raise UsageError("prune needs to know what", hint="Either: towpath prune --images   or: towpath prune --runs")
    if older_than and images:
        raise UsageError("--older-than is for --runs", hint="Images are kept by builds alone: --keep N")
    opened = common.open_store(store, Path(project))
    kept = _KEEP["images" if images else "runs"] if keep is None else keep
    if images:
        _images(opened, kept, dry_run=dry_run, as_json=as_json)
    else:
        _runs(opened, kept, _seconds(older_than or "30d"), (key, trust), dry_run=dry_run, as_json=as_json)


def _images(opened: Store, keep: int, *, dry_run: bool, as_json: bool) -> None:
    from pipeline.prune import images as pruning
    from pipeline.record import runs

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


def _runs(
    opened: Store, keep: int, older_than_s: float, keys: tuple[str | None, str | None], *, dry_run: bool, as_json: bool
) -> None:
    from pipeline.prune import runs as pruning

    own, trust = keys
    rule, records, unfinished = pruning.Rule(keep, older_than_s), list[str](), 0
    if dry_run:
        found = pruning.survey(opened, rule, common.trusted(trust))
        removed = list(found.removals.values())
    else:
        signing, trusted = common.runner_keys(own, trust)
        found = pruning.survey(opened, rule, trusted)
        removed = pruning.remove(opened, found, rule, signing, records.append)
        unfinished = pruning.clear(opened)
    size_bytes = sum(each.size for each in removed)
    of = {each.run for each in removed if each.run}
    if as_json:
        told: dict[str, Any] = {"removed": [vars(each) for each in removed], "bytes": size_bytes, "records": records}
        common.print_json({**told, "unfinished": unfinished, "dry_run": dry_run})
        return
    verb = "would be removed" if dry_run else "removed"
    orphans = sum(each.run is None for each in removed)
    click.echo(f"{len(removed) - orphans:,} contents of {len(of):,} runs {verb}, and {orphans:,} that nothing names")
    click.echo(f"{size_bytes / 1e6:,.1f} MB in all; {len(found.kept):,} runs are kept whole")
    if unfinished:
        click.echo(f"{unfinished:,} files that killed writers had not finished")
    for record in records:
        click.echo(f"what it was: {opened.location}/{record}")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,5})([hd])", text)
    if not found:
        raise UsageError(f"--older-than {text!r} is no age", hint="Write, for example: --older-than 90d")
    return float(found[1]) * _SECONDS[found[2]]
