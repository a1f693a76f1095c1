"""bundle export, bundle import: runs in one file, from one store to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import common
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from typing import BinaryIO


@click.group()
def bundle() -> None:
    """Carry runs from one store to another in one file, with all that proves them."""


@bundle.command("export")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-o", "--output", metavar="FILE", help="Where to. Default: the run's id with .towpath.tar, in this folder."
)
@common.project
@common.store
@common.as_json
def export(*, run_ids: tuple[str, ...], output: str | None, project: str, store: str | None, as_json: bool) -> None:
    """Write RUN... into one file: chains, logs, seals, contents, decisions, and the ledgers of their targets.

    A run may be under way: the file holds what is there. Equal records give equal files. It is a plain tar file, to be
    compressed with whatever is at hand.
    """
    from pipeline import bundle as bundles

    opened = common.open_store(store, Path(project))
    wanted = [common.find_run(opened, each) for each in run_ids]
    path = Path(output or f"{wanted[0]}.towpath.tar")
    written = bundles.write(opened, wanted, path)
    if as_json:
        told = {"runs": written.runs, "objects": written.objects, "bytes": written.size_bytes}
        common.print_json({"file": str(path), **told})
        return
    click.echo(
        f"{path}: {common.count(len(written.runs), 'run')}, {common.count(written.objects, 'object')}, {written.size_bytes / 1e6:,.1f} MB"
    )


@bundle.command("import")
@click.argument("file", metavar="FILE")
@common.project
@common.store
@common.trust
@common.as_json
def import_(*, file: str, project: str, store: str | None, trust: str | None, as_json: bool) -> None:
    """Add what FILE holds to the store, once all of it is verified as `audit verify` does, together with what is there.

    What is there already must be equal, byte for byte; else nothing is imported, and the exit code is 4. With --trust every
    chain must be sealed, and every ledger signed, by a key that counts. The same import again changes nothing.
    """
    from pipeline import bundle as bundles

    trusted = common.trusted(trust)
    with _opened(file) as source:
        found = bundles.read(source, file)
        opened = common.open_store(store, Path(project), create=True)
        reports = bundles.admit(found, opened, trusted)
        new = bundles.add(found, opened)
    if as_json:
        verdicts = {report.run: report.verdict for report in reports}
        common.print_json({"runs": verdicts, "objects": len(found.members), "new": new})
        return
    for report in reports:
        click.echo(f"run {report.run}  {report.verdict}")
    click.echo(f"{new:,} of {len(found.members):,} objects are new")


def _opened(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise UsageError(f"cannot read the bundle: {error.strerror}", where=file) from error
