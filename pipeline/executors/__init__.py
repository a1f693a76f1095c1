"""How a stage is run in isolation.

An executor's life with one job, in order:

1. `submit(job)` starts it. Submitting a handle that was submitted before does nothing, so a caller who does not know
   whether its last call arrived may call again.
2. `watch(handle, on_line, on_quiet)` blocks, passes on every line of the log as it comes, calls `on_quiet` at least once
   a second, and gives how the job ended.
3. `cancel(handle)` asks the job to end, and ends it after `LIMITS.grace_s` if it does not. It returns at once; `watch`
   tells when it is over.
4. `lost(handle)` tells whether a job that an earlier runner submitted is gone without a trace of how it ended. While a
   part of it may still be alive, the answer is False.

Nothing that an executor could offer as retry is used: attempts are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Stream = Literal["stdout", "stderr"]

WRITABLE = ("outputs", "tmp")
"""Folders of a work directory that a job may change, where that can be held; what it makes beside them is its own too."""


@dataclass(frozen=True)
class Sight:
    """What a job sees of this machine where the rest can be hidden: beside the toolchain and its own work directory, just this.

    `read` and `write` are files, folders and sockets; what is not there is passed over. `hidden` must not be seen where it
    lies in what is. `network` is this machine's, without which a job has none.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    network: bool = True


@dataclass(frozen=True)
class Job:
    """A program to run with just these variables. `work` is its own folder, `folder` where it starts; `image` what it runs in a
    container of, if in any.

    What lies in `work` when the job is submitted is for reading, but for the folders of `WRITABLE`.
    """

    handle: str
    argv: list[str]
    work: Path
    folder: Path
    variables: dict[str, str] = field(default_factory=dict, repr=False)  # secrets are among them
    timeout_s: float = 3600.0
    sight: Sight = Sight()
    image: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended. `status` is an exit code, or minus the signal that ended it."""

    status: int
    reason: Literal["exited", "canceled", "timed-out", "not-started"]
    message: str | None = None


class Executor(Protocol):
    """See the module."""

    name: str
    mode: str
    """How jobs are isolated, as the record says it."""

    def submit(self, job: Job) -> None: ...

    def watch(self, handle: str, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended: ...

    def cancel(self, handle: str) -> None: ...

    def lost(self, handle: str) -> bool: ...
