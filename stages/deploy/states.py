"""What a stack's state allows: one table, and nothing that looks anything up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.aws.following import anew, recovery
from stages.contract import StageError

if TYPE_CHECKING:
    from stages.contract import ErrorClass, Target

Way = Literal["CREATE", "UPDATE"]

_CREATABLE = frozenset({None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"})
"""REVIEW_IN_PROGRESS: nothing but a change set that was never executed."""
_UPDATABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
_SUCCEEDED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})

_RECOVER = frozenset(
    {
        "ROLLBACK_COMPLETE",
        "ROLLBACK_FAILED",
        "CREATE_FAILED",
        "DELETE_FAILED",
        "UPDATE_FAILED",
        "UPDATE_ROLLBACK_FAILED",
    }
)
"""States in which nothing can be deployed, and out of which `towpath recover` leads."""
_BUSY = "Wait until it is done. If that was a run of yours which died, continue it with `towpath resume`."
_IMPORT = "Towpath makes no imports: finish it with the tool that began it."
_UNKNOWN = "Towpath does not know this state; look at the stack's events."


@dataclass(frozen=True)
class Refusal:
    """Why nothing can be deployed to a stack as it is: somebody is at it, or it is stuck."""

    cls: ErrorClass


def way(status: str | None) -> Way | Refusal:
    """How a change set for a stack in this state is made (None: there is no stack), or why it cannot be."""
    if status in _CREATABLE:
        return "CREATE"
    if status in _UPDATABLE:
        return "UPDATE"
    if status is not None and is_busy(status):
        return Refusal("blocked")
    return Refusal("terminal")


def change_set_type(target: Target, status: str | None) -> Way:
    """As `way`; a refusal is raised as StageError."""
    found = way(status)
    if isinstance(found, Refusal):
        hint = _BUSY if found.cls == "blocked" else remedy(str(status), target)
        raise StageError(f"the stack {target.stack} is in state {status}", hint=hint, cls=found.cls)
    return found


def remedy(status: str, target: Target) -> str:
    """What to do about a stack that is stuck in a state."""
    if status not in _RECOVER:
        return _IMPORT if status == "IMPORT_ROLLBACK_FAILED" else _UNKNOWN
    return (
        f"Free the stack: `{recovery(target)}`. Then `towpath resume`, or `{anew(target)}` if the source has to change."
    )


def is_busy(status: str) -> bool:
    """Whether something is being done to a stack in this state."""
    return status.endswith("_IN_PROGRESS") and status not in _CREATABLE


def succeeded(status: str) -> bool:
    """Whether an operation that ended in this state did what it was to do."""
    return status in _SUCCEEDED


def exists(status: str | None) -> bool:
    """Whether a stack in this state holds, or held, anything."""
    return status not in _CREATABLE
