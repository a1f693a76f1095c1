"""What a run tells while it goes on. The engine talks to a Reporter; who listens is the caller's business."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.record.replay import Attempt, Run


class Reporter(Protocol):
    """Called from several threads; must not raise."""

    def run_known(self, run: Run, plan: Plan) -> None:
        """A run was opened or found."""

    def stage_started(self, stage: str, attempt: int) -> None:
        """An attempt was claimed."""

    def line(self, stage: str, text: str, fields: dict[str, Any]) -> None:
        """A stage said something."""

    def stage_ended(self, attempt: Attempt) -> None:
        """An attempt's chain was closed."""

    def note(self, text: str) -> None:
        """The runner says something of its own."""


class Silent:
    """The Reporter that tells nobody. What the runner says of its own it keeps."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def run_known(self, run: Run, plan: Plan) -> None: ...

    def stage_started(self, stage: str, attempt: int) -> None: ...

    def line(self, stage: str, text: str, fields: dict[str, Any]) -> None: ...

    def stage_ended(self, attempt: Attempt) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)
