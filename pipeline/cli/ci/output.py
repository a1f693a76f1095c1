"""How a command that drives a run tells of it: in JSON or in a CI system's dress, and in files for CI systems."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.cli.ci import dress
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.cli.ci.dress import Dress, Told

_OPTIONS = (
    click.option("--junit", metavar="FILE", help="Write the stages as JUnit's XML, as CI systems read it."),
    click.option(
        "--dotenv",
        metavar="FILE",
        help="Write TOWPATH_RUN, TOWPATH_STATE and TOWPATH_RELEASE, for later jobs on GitLab.",
    ),
    common.dress,
    common.as_json,
)


@dataclass(frozen=True)
class Output:
    """What was asked for. `worn` is the dress, None for plain text."""

    as_json: bool
    worn: Dress | None = None
    junit: str | None = None
    dotenv: str | None = None

    @property
    def asked(self) -> bool:
        """Whether any file is to be written."""
        return bool(self.worn or self.junit or self.dotenv)

    def leave(self, told: Told) -> None:
        """Write the files; one that cannot be written does not change what came of the run."""
        from pipeline.cli.ci import files  # late, as most commands write none

        try:
            if self.worn:
                self.worn.leave(told, os.environ)
            if self.junit:
                Path(self.junit).write_bytes(files.junit(told))
            if self.dotenv:
                Path(self.dotenv).write_text(files.dotenv(told), encoding="utf-8")
        except OSError as error:
            click.echo(f"cannot write {error.filename}: {error.strerror}", err=True)


def options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand them over as one argument, `output`."""

    @functools.wraps(function)
    def wrapped(*, as_json: bool, ci: str, junit: str | None, dotenv: str | None, **given: Any) -> None:
        for path in (junit, dotenv):
            if path and not Path(path).absolute().parent.is_dir():
                raise UsageError("its folder does not exist", where=path)
        function(**given, output=Output(as_json, dress.choose(ci, os.environ), junit, dotenv))

    command: Callable[..., None] = wrapped
    for option in _OPTIONS:
        command = option(command)
    return command
