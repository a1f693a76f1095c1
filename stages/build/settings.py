"""The options of a build stage, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.contract import secret_variable

if TYPE_CHECKING:
    from stages.contract import Request


@dataclass(frozen=True)
class Settings:
    """How to build. `flags` are BuildKit's; those that decide what is built are in `deciding`, and so in the source hash."""

    jobs: int
    builder: str
    pull: bool
    no_cache: bool
    fail_fast: bool
    sam_tags: bool
    carrier: str
    flags: tuple[str, ...]
    deciding: tuple[str, ...]

    @property
    def skips(self) -> bool:
        """Whether an image that an earlier build made may be taken."""
        return not (self.pull or self.no_cache)


def read(request: Request) -> Settings:
    """Read the options, and which secrets there are: BuildKit's client takes each from our own variables."""
    options = request.options
    ssh = [str(each) for each in options.get("ssh") or ()]
    flags = [f"--secret=id={name},env={secret_variable(name)}" for name in sorted(request.secrets)]
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
        deciding=tuple(sorted(f"secret {name}" for name in request.secrets) + sorted(f"ssh {each}" for each in ssh)),
    )
