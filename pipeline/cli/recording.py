"""Where a command's run is recorded, by whose keys, and how it is told of: the options that say it, handed over as one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import common
from pipeline.cli.ci import output as outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.cli.ci.output import Output
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust


@dataclass(frozen=True)
class Recording:
    """What the command line says of the record. `key` and `trust` are files: the runner's own key, and the keys that count."""

    project: Path
    store: str | None
    key: str | None
    trust: str | None
    output: Output

    def open_store(self, *, create: bool = False) -> Store:
        """Open the store. Raises UsageError, StoreError."""
        return common.open_store(self.store, self.project, create=create)

    def trusted(self) -> Trust | None:
        """Read the keys that count. Raises UsageError, InvalidDefinition."""
        return common.trusted(self.trust)

    def keys(self) -> tuple[Key, Trust | None]:
        """Load the runner's key and those that count, of which it must be one. Raises UsageError, InvalidDefinition."""
        return common.runner_keys(self.key, self.trust)


def options(*, definition: bool = False, jobs: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options, and hand them over as one argument, `at`.

    With `definition` those are added that choose one, and handed over as `file` and `parameters`; with `jobs` that, as `jobs`.
    """
    added = (
        *([common.file] if definition else []),
        common.project,
        *([common.parameter] if definition else []),
        common.store,
        *([common.jobs] if jobs else []),
        common.key,
        common.trust,
    )

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(
            *, project: str, store: str | None, key: str | None, trust: str | None, output: Output, **given: Any
        ) -> None:
            folder = Path(project)
            if definition:
                given["file"] = common.definition_file(given["file"], project)
                folder = given["file"].parent
            function(**given, at=Recording(folder.absolute(), store, key, trust, output))

        command = outputs.options(wrapped)
        for option in reversed(added):
            command = option(command)
        return command

    return decorate
