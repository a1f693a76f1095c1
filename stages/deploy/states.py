"""What a stack's state allows: one table, and nothing that looks anything up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.contract import StageError

if TYPE_CHECKING:
    from stages.contract import ErrorClass

Way = Literal["CREATE", "UPDATE"]

_CREATABLE = frozenset({None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"})
"""REVIEW_IN_PROGRESS: nothing but a change set that was never executed."""
_UPDATABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
_SUCCEEDED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})

_DELETE = "It holds nothing that ran. Delete it, then try again: `aws cloudformation delete-stack --stack-name {stack}`"
_REMEDIES = {
    "ROLLBACK_COMPLETE": _DELETE,
    "ROLLBACK_FAILED": _DELETE,
    "CREATE_FAILED": _DELETE,
    "DELETE_FAILED": "See in its events what could not be deleted, then finish: "
    "`aws cloudformation delete-stack --stack-name {stack}`",
    "UPDATE_FAILED": "Go back to its last good state first: `aws cloudformation rollback-stack --stack-name {stack}`",
    "UPDATE_ROLLBACK_FAILED": "Put right what its events name, then: "
    "`aws cloudformation continue-update-rollback --stack-name {stack}`",
    "IMPORT_ROLLBACK_FAILED": "Put right what its events name, then: "
    "`aws cloudformation continue-update-rollback --stack-name {stack}`",
}
_BUSY = "Wait until it is done. If that was a run of yours which died, continue it with `towpath resume`."
_UNKNOWN = "Towpath does not know this state; look at the stack's events."


@dataclass(frozen=True)
class Refusal:
    """Why nothing can be deployed to a stack as it is, and what to do about it."""

    cls: ErrorClass
    hint: str


def way(status: str | None) -> Way | Refusal:
    """How a change set for a stack in this state is made (None: there is no stack), or why it cannot be."""
    if status in _CREATABLE:
        return "CREATE"
    if status in _UPDATABLE:
        return "UPDATE"
    if status is not None and is_busy(status):
        return Refusal("blocked", _BUSY)
    return Refusal("terminal", remedy(status or ""))


def change_set_type(stack: str, status: str | None) -> Way:
    """As `way`; a refusal is raised as StageError."""
    found = way(status)
    if isinstance(found, Refusal):
        raise StageError(f"the stack {stack} is in state {status}", hint=found.hint.format(stack=stack), cls=found.cls)
    return found


def remedy(status: str) -> str:
    """What to do about a stack that is stuck in a state; `{stack}` stands for its name."""
    return _REMEDIES.get(status, _UNKNOWN)


def is_busy(status: str) -> bool:
    """Whether something is being done to a stack in this state."""
    return status.endswith("_IN_PROGRESS") and status not in _CREATABLE


def succeeded(status: str) -> bool:
    """Whether an operation that ended in this state did what it was to do."""
    return status in _SUCCEEDED


def exists(status: str | None) -> bool:
    """Whether a stack in this state holds, or held, anything."""
    return status not in _CREATABLE
