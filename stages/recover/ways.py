"""What leads out of the states in which a stack is stuck. Pure.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html#cfn-console-view-stack-data-resources-status-codes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.aws.following import anew
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stages.contract import Json, Target

Action = Literal["continue-rollback", "rollback", "delete"]


@dataclass(frozen=True)
class Way:
    """What is done, what resources are named that keep the stack where it is, and what state is the aim.

    `skips`: these resources may be left as they are.
    """

    action: Action
    does: str
    failed: str
    aim: str
    skips: bool = False


_REMAINS = "delete what is left of a creation that failed"
WAYS: dict[str, Way] = {
    "UPDATE_ROLLBACK_FAILED": Way(
        "continue-rollback",
        "go on with the rollback to what ran before the update",
        "UPDATE_FAILED",
        "UPDATE_ROLLBACK_COMPLETE",
        skips=True,
    ),
    "UPDATE_FAILED": Way(
        "rollback", "roll back to what ran before the update", "UPDATE_FAILED", "UPDATE_ROLLBACK_COMPLETE"
    ),
    "ROLLBACK_COMPLETE": Way("delete", _REMAINS, "CREATE_FAILED", "DELETE_COMPLETE"),
    "ROLLBACK_FAILED": Way("delete", _REMAINS, "DELETE_FAILED", "DELETE_COMPLETE"),
    "CREATE_FAILED": Way("delete", _REMAINS, "CREATE_FAILED", "DELETE_COMPLETE"),
    "DELETE_FAILED": Way("delete", "go on with its deletion", "DELETE_FAILED", "DELETE_COMPLETE", skips=True),
}


@dataclass(frozen=True)
class Resource:
    """A resource that is in a stack, by its full path. `name` is what CloudFormation's own calls know it by."""

    path: str
    name: str
    type: str
    status: str
    reason: str


def choose(target: Target, status: str | None) -> Way:
    """The way out of a state. Raises StageError where there is none, or none is needed."""
    go_on = f"Go on with the run that failed (towpath resume RUN), or begin anew: {anew(target)}"
    if status is None or status == "DELETE_COMPLETE":
        raise StageError(f"there is no stack {target.stack}: nothing is to be recovered", hint=go_on, cls="invalid")
    if status in WAYS:
        return WAYS[status]
    message = f"the stack {target.stack} is in state {status}"
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise StageError(message, hint="Something is being done to it. Wait until that is over.", cls="blocked")
    raise StageError(f"{message}: it is not stuck", hint=go_on, cls="invalid")


def skipped(way: Way, status: str, stuck: Sequence[Resource], skip: Iterable[str]) -> list[str]:
    """The resources to be skipped, as CloudFormation names them. Raises StageError for what cannot be skipped."""
    names = {each.path: each.name for each in stuck}
    wanted = sorted(set(skip))
    if wanted and not way.skips:
        raise StageError(
            f"nothing can be skipped of a stack in state {status}", hint="Leave out --skip.", cls="invalid"
        )
    for each in wanted:
        if each not in names:
            known = f"They are: {', '.join(names)}." if names else "There are none."
            raise StageError(f"{each!r} is no resource that the stack is stuck at", hint=known, cls="invalid")
    return [names[each] for each in wanted]


def subject(target: Target, stack_id: str, status: str, stuck: Sequence[Resource], skip: Iterable[str]) -> Json:
    """What people approve: what is done to which stack, as it is now."""
    return {
        "v": 1,
        "kind": "recover",
        "target": {name: getattr(target, name) for name in ("partition", "account", "region", "stack")},
        "stack_id": stack_id,
        "status": status,
        "action": WAYS[status].action,
        "resources": [{"path": each.path, "type": each.type, "status": each.status} for each in stuck],
        "skip": sorted(set(skip)),
    }


def render(subject: Json, stuck: Iterable[Resource], kept: Iterable[Resource]) -> str:
    """The proposal as text. `kept` are the resources that a deletion would remove."""
    target, way = subject["target"], WAYS[subject["status"]]
    lines = [
        f"Stack {target['stack']} in account {target['account']}, {target['region']}: {subject['status']}",
        f"  {way.does}",
    ]
    lines += ["", "What it is stuck at"] if subject["resources"] else []
    for each in stuck:
        skipped = "  (skipped: it stays as it is)" if each.path in subject["skip"] else ""
        lines.append(f"  {each.path}  {each.type}  {each.status}{skipped}")
        lines += [f"    {each.reason}"] if each.reason else []
    removed = [each for each in kept if each.path not in subject["skip"]] if way.action == "delete" else []
    lines += ["", "What is deleted"] if removed else []
    lines += [f"  {each.path}  {each.type}" for each in removed]
    return "\n".join(lines) + "\n"


def failure(target: Target, way: Way, lines: Sequence[str], stuck: Sequence[Resource], command: str) -> StageError:
    """It is stuck again: which resources keep it there and why, and what to type."""
    hint = f"Put that right outside, then again: `{command}`."
    names = [each.path for each in stuck]
    if names and way.skips:
        flags = " ".join(f"--skip {name}" for name in names)
        left = "Where it cannot be put right, leave it as it is, and look after it by hand"
        hint += f" {left}: `{command} {flags}`"
    return StageError("\n  ".join([*lines, f"The stack {target.stack} is not free."]), hint=hint)
