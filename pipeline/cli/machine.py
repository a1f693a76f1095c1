"""embedded, doctor: the machine we run on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pipeline.cli import common
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.doctor import Finding

_MARKS = {"good": ("ok", "green"), "bad": ("bad", "red"), "note": ("note", "yellow")}


@click.group()
def embedded() -> None:
    """The embedded AWS: CloudFormation, Lambda, ECR with a registry, S3 and more, on this machine's loopback address only.

    It is started by itself when a stage acts on an environment with `aws: embedded`.
    """


@embedded.command()
@common.as_json
def start(*, as_json: bool) -> None:
    """Start it, unless it runs. The first time it is installed into an environment of its own."""
    _call("start", as_json=as_json)


@embedded.command()
@common.as_json
def stop(*, as_json: bool) -> None:
    """Stop it, with its function containers and its registry. What it holds is kept for the next start."""
    _call("stop", as_json=as_json)


@embedded.command("status")
@common.as_json
def embedded_status(*, as_json: bool) -> None:
    """Tell whether it runs, and where it answers."""
    _call("status", as_json=as_json)


@click.command()
@common.file
@common.project
@common.store
@common.as_json
def doctor(file: str | None, project: str, store: str | None, *, as_json: bool) -> None:
    """Check what Towpath needs: this machine, and of a project its store, its registries and who we are in its accounts.

    Each bad line names the command that repairs it. Exit code 1 if anything is bad.
    """
    from pipeline import doctor as examining
    from pipeline.doctor import machine
    from pipeline.doctor import project as projects

    path = common.definition_file(file, project)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError("there is no such folder", where=str(folder), hint="Name the project's: --project FOLDER")
    wanted = [*machine.checks(folder), *projects.checks(path, lambda: common.open_store(store, folder))]
    findings = []
    for finding in examining.examine(wanted):
        findings.append(finding)
        if not as_json:
            _print_finding(finding)
    if as_json:
        common.print_json([vars(each) for each in findings])
    if any(each.state == "bad" for each in findings):
        sys.exit(1)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes Tab complete towpath's commands, options, runs, stages, environments and functions in a shell.

    \b
    bash: towpath completion bash >~/.local/share/bash-completion/completions/towpath
    zsh:  towpath completion zsh >~/.zfunc/_towpath     (a folder of your fpath)
    fish: towpath completion fish >~/.config/fish/completions/towpath.fish
    """
    from pipeline.cli import completing
    from pipeline.cli.main import towpath

    click.echo(completing.script(towpath, shell))


def _call(action: str, *, as_json: bool) -> None:
    from pipeline import embedded as daemon

    answer = daemon.call(action, lambda line: None if as_json else click.echo(line, err=True))
    if as_json:
        common.print_json(answer)
        return
    click.echo(
        f"the embedded AWS is {answer.get('state')}"
        + (f" at {answer['endpoint_url']}" if answer.get("endpoint_url") else "")
    )


def _print_finding(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    click.echo(f"{click.style(f'{mark:<4}', fg=colour)} {finding.what}: {finding.found}")
    if finding.repair:
        click.echo(f"     {finding.repair}")
