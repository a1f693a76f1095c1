"""What a run shows while it goes on: a live table on a terminal, plain lines elsewhere, nothing with --json.

All of it goes to standard error, so that standard output holds the result alone.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.reporting import Reporter, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from pipeline.cli.ci.dress import Dress
    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-_])")
_DIGEST = re.compile(r"\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b")
_TAIL_LINES = 20
_MOST_FUNCTIONS = 12
"""Rows for functions below a stage: a terminal has some forty lines in all."""
_NAME_WIDTH, _STATE_WIDTH, _TIME_WIDTH = 40, 9, 7
"""Characters that the last word of a log does not take away from the other columns."""
_SETTLED = ("built", "reused")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What drives a terminal, turns the direction of writing, cannot be seen, or is no character."""


def plain(text: str) -> str:
    """Give text without terminal escapes and control characters: a log must not drive the reader's terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def _brief(text: str) -> str:
    """Shorten digests: the live table has a line for each stage, and the log has all of it."""
    return _DIGEST.sub(r"\1…", text.partition("\n")[0])


def label(stage: str, fields: dict[str, Any]) -> str:
    """Give a line's label: the stage, and the function it speaks of, if it does."""
    function = fields.get("function")
    return f"{stage} {plain(str(function))} |" if function else f"{stage} |"


def reporter(*, quiet: bool, dress: Dress | None = None) -> Reporter:
    """Choose the reporter for where we run."""
    if quiet:
        return Silent()
    if dress:
        from pipeline.cli.ci.grouped import Grouped

        return Grouped(dress)
    return Live() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


@contextmanager
def live(reporter: Reporter, *, stops_short: bool = False) -> Iterator[None]:
    """Keep a live reporter's display on the screen for as long as the block runs; have others say all they have to.

    With `stops_short` a stage that waits has come as far as it is meant to, and its last lines are not printed.
    """
    if not isinstance(reporter, Live):
        try:
            yield
        finally:
            if isinstance(reporter, Lines):
                reporter.close()
        return
    from rich.console import Console
    from rich.live import Live as Display

    try:
        with Display(get_renderable=reporter.table, console=Console(stderr=True), refresh_per_second=8, transient=True):
            yield
    finally:
        reporter.show_failures(*(("waiting",) if stops_short else ()))


class Lines:
    """One plain line for everything that happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def run_known(self, run: Run, plan: Plan) -> None:
        self._say(f"run {run.id}: {plan.name}, {common.count(len(plan.stages), 'stage')}, plan {run.plan[:19]}")

    def stage_started(self, stage: str, attempt: int) -> None:
        self._under_way.add(stage)
        self._say(f"{stage} | started" + (f", attempt {attempt}" if attempt > 1 else ""), stage)

    def line(self, stage: str, text: str, fields: dict[str, Any]) -> None:
        if fields.get("progress"):  # how far something is: for who looks on, not for who reads later
            return
        self._say(f"{label(stage, fields)} {plain(text)}", stage)

    def stage_ended(self, attempt: Attempt) -> None:
        """Say how a stage ended; why it failed only if others go on meanwhile, as the command's own error says all of it."""
        self._under_way.discard(attempt.stage)
        why = ""
        if attempt.failure and self._under_way:
            why = f": {plain(attempt.failure.message.splitlines()[0])}"
        self._say(f"{attempt.stage} | {attempt.outcome}{why}", attempt.stage)

    def note(self, text: str) -> None:
        self._say(plain(text))

    def close(self) -> None:
        """Nothing more is said."""

    def _say(self, text: str, stage: str | None = None) -> None:
        """Say something, of a stage or of the run."""
        del stage
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        """Print, as long as somebody reads it: a run does not depend on its audience."""
        with suppress(OSError):
            click.echo(text, err=True)


class Live:
    """A table of the stages: state, time, last line of the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[str, float, float | None, str]] = {}
        self._functions: dict[str, dict[str, tuple[str, float, float | None, str]]] = {}
        self._tails: dict[str, deque[str]] = {}
        self._failed: dict[str, str | None] = {}
        self._title = ""

    def run_known(self, run: Run, plan: Plan) -> None:
        self._title = f"run {run.id}  {plan.name}"
        self._rows = {name: ("done" if run.done(name) else "pending", 0.0, 0.0, "") for name in plan.stages}

    def stage_started(self, stage: str, attempt: int) -> None:
        text = f"attempt {attempt}" if attempt > 1 else ""
        with self._lock:
            self._tails[stage] = deque(maxlen=_TAIL_LINES)
            self._functions[stage] = {}
            self._rows[stage] = ("running", time.monotonic(), None, text)

    def line(self, stage: str, text: str, fields: dict[str, Any]) -> None:
        function = f"{fields['function']}: " if fields.get("function") else ""
        with self._lock:
            state, start, took, _ = self._rows[stage]
            if not fields.get("progress"):
                self._tails[stage].append(plain(function + text))
            self._rows[stage] = (state, start, took, plain(function + text))
            if function:
                self._note_function(stage, plain(str(fields["function"])), fields.get("state"), plain(text))

    def _note_function(self, stage: str, function: str, state: Any, text: str) -> None:
        """Keep a function's own row: since when, how long, and its last word. A stage that says no state has none."""
        known = self._functions[stage].get(function)
        if known is None and state is None:
            return
        now = time.monotonic()
        before, start, took, _ = known or ("", now, None, "")
        if state is not None:
            took = None if state == "building" else now - start
        self._functions[stage][function] = (plain(str(state or before)), start, took, text)

    def stage_ended(self, attempt: Attempt) -> None:
        with self._lock:
            _, start, _, text = self._rows[attempt.stage]
            last = attempt.failure.message if attempt.failure else text
            self._rows[attempt.stage] = (attempt.outcome or "", start, time.monotonic() - start, last)
            if attempt.outcome != "succeeded":
                self._failed[attempt.stage] = attempt.outcome

    def note(self, text: str) -> None:
        self._title = plain(text)

    def show_failures(self, *but: str) -> None:
        """Print the last lines of every stage that did not succeed, once the display is gone; of those that ended so, none."""
        for stage, outcome in self._failed.items():
            for line in self._tails[stage] if outcome not in but else ():
                click.echo(f"{stage} | {line}", err=True)
        self._failed.clear()

    def table(self) -> Table:
        """Draw the table as it stands now."""
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        colours = {
            "running": "cyan",
            "succeeded": "green",
            "done": "green",
            "failed": "red",
            "timed-out": "red",
            "canceled": "yellow",
        }
        table = Table(
            title=escape(self._title), title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False
        )
        rows = self._shown_rows()
        widest = min(_NAME_WIDTH, max((len(name) for name, _ in rows), default=0))
        for width in (widest, _STATE_WIDTH, _TIME_WIDTH):
            table.add_column(no_wrap=True, overflow="ellipsis", min_width=width)
        table.add_column(ratio=1)  # a column that does not wrap never gives way, and its lines are cut off with no mark
        for name, (state, start, took, text) in rows:
            seconds = time.monotonic() - start if took is None and start else took
            shown = f"{seconds:.1f} s" if seconds else ""
            last = Text(_brief(text), no_wrap=True, overflow="ellipsis")
            table.add_row(escape(name), f"[{colours.get(state, 'dim')}]{state}[/]", shown, last)
        return table

    def _shown_rows(self) -> list[tuple[str, tuple[str, float, float | None, str]]]:
        """The stages, and below each that is running its functions: those at work and those that failed, then the latest."""
        with self._lock:
            shown = []
            for stage, row in self._rows.items():
                shown.append((stage, row))
                functions = self._functions.get(stage, {}) if row[0] == "running" else {}
                ordered = sorted(functions.items(), key=lambda each: (each[1][0] in _SETTLED, -each[1][1]))
                shown += [(f"  {name}", function) for name, function in ordered[:_MOST_FUNCTIONS]]
                if len(ordered) > _MOST_FUNCTIONS:
                    more = sum(each[1][0] in _SETTLED for each in ordered[_MOST_FUNCTIONS:])
                    shown.append((f"  {len(ordered) - _MOST_FUNCTIONS} more", ("", 0.0, 0.0, f"{more} of them done")))
            return shown
