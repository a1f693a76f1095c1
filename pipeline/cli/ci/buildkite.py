"""Buildkite: groups of a job's log.

https://buildkite.com/docs/pipelines/configure/managing-log-output
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.cli.ci.dress import Place, Told

KNOWN_BY = "BUILDKITE"


def begin(stage: str, mark: str) -> str:
    del mark
    return f"--- {stage}\n"


def end(stage: str, mark: str) -> str:
    """A group ends where the next begins."""
    del stage, mark
    return "~~~ towpath\n"


def problem(level: str, message: str, place: Place) -> str:
    """Opens the group in which it failed; annotations are made by an agent's command of their own."""
    del message, place
    return "^^^ +++\n" if level == "error" else ""


def leave(told: Told, environ: Mapping[str, str]) -> None:
    del told, environ
