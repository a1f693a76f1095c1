"""Asking whoever is at the terminal whether what a stage proposes is to be done. Without a terminal nobody is ever asked."""

from __future__ import annotations

import getpass
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from pipeline.cli import progress, run
from pipeline.errors import Rejected, TowpathError, UsageError

if TYPE_CHECKING:
    from pipeline.cli.ci.output import Output
    from pipeline.context import Context
    from stages.contract import Proposal


def has_terminal() -> bool:
    """Whether somebody can be asked, and sees what."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def refuse_without_terminal(option: str, hint: str) -> None:
    """Raise UsageError where an option wants to ask and there is nobody to."""
    if not has_terminal():
        raise UsageError(f"{option} asks, and there is no terminal", hint=hint)


def propose(context: Context, stage: str, output: Output) -> Proposal:
    """Drive a run as far as a stage's proposal, and give that. Raises Waiting if people have to approve it."""
    from pipeline import engine
    from pipeline.standings import Wish

    context.propose_only = True
    try:
        with progress.live(context.reporter, stops_short=True):
            engine.drive(context, Wish(), 1)
    except TowpathError:
        run.report_on(context, output=output)
        raise
    context.propose_only = False
    last = context.run.last(stage)
    if last is None or last.proposal is None:
        raise AssertionError(f"{stage} went through, and proposed nothing")
    return last.proposal


def show(context: Context, proposal: Proposal) -> None:
    """Print what is proposed, where the log did not."""
    if isinstance(context.reporter, progress.Live):
        click.echo(f"\n{progress.plain(proposal.view)}", err=True)


def confirm(question: str, left: str) -> bool:
    """Ask. On Ctrl-C say what is left, and raise click.Abort."""
    try:
        return click.confirm(click.style(question, bold=True), default=False, err=True)
    except click.Abort:
        click.echo(f"\n{left}", err=True)
        raise


def decline(context: Context, what: str, hint: str, output: Output) -> NoReturn:
    """Record that what is proposed was declined, which ends the run, and raise Rejected."""
    from pipeline import engine
    from pipeline.standings import Wish

    context.declined = _who()
    with suppress(Rejected):
        engine.drive(context, Wish(), 1)
    run.report_on(context, output=output)
    raise Rejected(f"declined: {what}", hint=hint)


def _who() -> str:
    try:
        return f"{getpass.getuser()}, at the terminal"
    except (KeyError, OSError):
        return "whoever is at the terminal"
