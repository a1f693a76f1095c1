"""The executor of a whole run: a job with an image goes to `container`, any other to `process`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.executors.process import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.executors import Ended, Executor, Job, Stream
    from pipeline.executors.container import ContainerExecutor
    from pipeline.executors.isolation import Isolation


class EitherExecutor:
    """See the module."""

    name = "process"

    def __init__(self, work: Path, isolation: Isolation, hidden: tuple[Path, ...] = ()) -> None:
        self.mode = isolation.mode
        self._work, self._hidden = work, hidden
        self._process = ProcessExecutor(work, isolation, hidden)
        self._container: ContainerExecutor | None = None
        self._taken: dict[str, Executor] = {}

    def submit(self, job: Job) -> None:
        taker = self._containers() if job.image else self._process
        self._taken.setdefault(job.handle, taker).submit(job)

    def watch(self, handle: str, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        return self._taken[handle].watch(handle, on_line, on_quiet)

    def cancel(self, handle: str) -> None:
        if handle in self._taken:
            self._taken[handle].cancel(handle)

    def lost(self, handle: str) -> bool:
        return self._process.lost(handle) and self._containers().lost(handle)

    def _containers(self) -> ContainerExecutor:
        if self._container is None:
            from pipeline.executors.container import ContainerExecutor  # late, as few runs have any

            self._container = ContainerExecutor(self._work, self._hidden)
        return self._container
