"""The options of a build stage, read once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.contract import InvalidInput, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stages.contract import Json

SHORTEST_SECRET = 4
"""Characters: shorter values stand in every log by chance."""


@dataclass(frozen=True)
class Settings:
    """How to build. `flags` are BuildKit's; those that decide what is built are in `deciding`, and so in the source hash.

    `withheld` are the values of secrets, which no log may show.
    """

    jobs: int
    builder: str
    pull: bool
    no_cache: bool
    fail_fast: bool
    sam_tags: bool
    carrier: str
    flags: tuple[str, ...]
    deciding: tuple[str, ...]
    withheld: tuple[str, ...] = ()

    @property
    def skips(self) -> bool:
        """Whether an image that an earlier build made may be taken."""
        return not (self.pull or self.no_cache)


def read(options: Json, root: Path) -> Settings:
    """Read the options. `root` is the project. Raises InvalidInput."""
    secrets = dict(options.get("secrets") or {})
    problems = [problem for name, where in secrets.items() if (problem := _unusable(name, where, root))]
    if problems:
        raise InvalidInput(problems)
    ssh = [str(each) for each in options.get("ssh") or ()]
    flags = [f"--secret=id={name},{_source(where, root)}" for name, where in sorted(secrets.items())]
    flags += [f"--ssh={each}" for each in ssh]
    flags += [f"--cache-from={each}" for each in options.get("cache-from") or ()]
    flags += [f"--cache-to={each}" for each in options.get("cache-to") or ()]
    return Settings(
        jobs=max(1, int(options.get("jobs", 4))),
        builder=str(options.get("builder", "auto")),
        pull=bool(options.get("pull", False)),
        no_cache=bool(options.get("no-cache", False)),
        fail_fast=bool(options.get("fail-fast", True)),
        sam_tags=bool(options.get("sam-tags", False)),
        carrier=str(options.get("carrier", "engine")),
        flags=tuple(flags),
        deciding=tuple(sorted(f"secret {name}" for name in secrets) + sorted(f"ssh {each}" for each in ssh)),
        withheld=_values(secrets, root),
    )


def _unusable(name: str, where: str, root: Path) -> Problem | None:
    variable = where.removeprefix("env:") if where.startswith("env:") else None
    if "," in where or "," in name:
        return Problem(f"the secret {name} has a comma in its name or place, which BuildKit takes for an end")
    if variable is not None and variable not in os.environ:
        return Problem(
            f"the secret {name} is the variable {variable}, which is not set", hint="Set it, and run this again."
        )
    if variable is None and not (root / where).is_file():
        hint = "Name a file, absolute or from the project's root, or a variable: env:NAME."
        return Problem(f"the secret {name} is the file {where}, which is not there", hint=hint)
    return None


def _source(where: str, root: Path) -> str:
    return f"env={where[4:]}" if where.startswith("env:") else f"src={root / where}"


def _values(secrets: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """Each line of every secret, longest first."""
    found: set[str] = set()
    for where in secrets.values():
        text = os.environ.get(where[4:], "") if where.startswith("env:") else _text(root / where)
        found |= {line.strip() for line in text.splitlines() if len(line.strip()) >= SHORTEST_SECRET}
    return tuple(sorted(found, key=len, reverse=True))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def withhold(text: str, values: Sequence[str]) -> str:
    """The text with every secret in it replaced."""
    for value in values:
        text = text.replace(value, "***")
    return text
