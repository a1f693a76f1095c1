"""Delete a stack as proposed, and follow that to its end. It may be done twice: what is gone stays gone."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from stages.aws import cloudformation, following, retry
from stages.contract import Result, StageError
from stages.delete import images, standing
from stages.delete.proposing import FAILED, build, open_session, refuse, short
from stages.log import log

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Json, Request

DONE = "DELETE_COMPLETE"
UNDER_WAY = "DELETE_IN_PROGRESS"


def apply(request: Request, work: Path) -> Result:
    """Delete what was proposed. Raises StageError: something else stands there now, or a resource cannot be deleted."""
    del work
    session = open_session(request)
    if request.proposal is None:
        raise StageError("there is no proposal to apply", cls="fault")
    subject, handle = request.proposal.subject, request.proposal.handle
    _delete(session, subject, request, handle)
    gone = _delete_images(session, subject, request.options.get("keep") or [])
    return Result("succeeded", facts={"stack": session.target.stack, "deleted": handle["stack_id"], "images": gone})


def _delete(session: Session, subject: Json, request: Request, handle: Json) -> None:
    client, stack_id, stack_name = session.cloudformation, handle["stack_id"], str(session.target.stack)
    stack = cloudformation.describe_stack(client, stack_id)
    status = stack["StackStatus"] if stack else DONE
    if status == DONE:
        log("the stack is deleted already")
        return
    since = datetime.fromisoformat(handle["since"])
    under_way = following.operation(client, stack_id, handle["token"], since)
    if under_way.root.peek():
        log("its deletion was begun already; following it")
    elif status == UNDER_WAY:
        log("somebody else has begun to delete it; waiting until that is over")
        _wait(session, stack_id)
        return
    else:
        _refuse_if_moved(session, subject, request.options)
        log("deleting the stack", stack=session.target.stack)
        following.begin(under_way, lambda: cloudformation.delete(client, stack_id, handle["token"], subject["retain"]))
    with following.going_on_outside(stack_name):
        try:
            closing = following.follow(client, under_way)
        except cloudformation.Gone:
            return
    if closing["ResourceStatus"] != DONE:
        raise _failed(session, following.reasons(closing, under_way.all), under_way.all)


def _wait(session: Session, stack_id: str) -> None:
    for delay_s in retry.growing(cloudformation.FIRST_LOOK_S, cloudformation.SLOWEST_LOOK_S):
        stack = cloudformation.describe_stack(session.cloudformation, stack_id)
        status = stack["StackStatus"] if stack else DONE
        if status == DONE:
            return
        if status != UNDER_WAY:
            raise _failed(session, [], [])
        time.sleep(delay_s)


def _refuse_if_moved(session: Session, subject: Json, options: Json) -> None:
    found = standing.look(session)
    if found is not None:
        refuse(found, str(session.target.stack), subject["retain"])
    now = build(session, found, options) if found else {}
    names = {*now, *subject} - {"kept_images"}  # which of several functions uses an image does not matter
    moved = sorted(name for name in names if now.get(name) != subject.get(name))
    if moved:
        raise StageError(
            f"what would be deleted is no longer what was proposed; these differ: {', '.join(moved)}",
            hint="Nothing was deleted. `towpath resume` makes another proposal.",
            cls="moved",
        )


def _failed(session: Session, reasons: list[str], events: list[Json]) -> StageError:
    """Which resources could not be deleted, and why."""
    target = session.target
    names = {
        event["LogicalResourceId"]: None
        for event in events
        if event["ResourceStatus"] == FAILED and event["LogicalResourceId"] != target.stack
    }
    again = following.recovery(target).replace("towpath recover", "towpath delete")
    left = " ".join(f"--retain-resources {name}" for name in names) or "--retain-resources NAME"
    hint = f"Put that right, and delete it again. Or let go of what cannot be deleted, and look after it by hand: {again} {left}"
    return StageError("\n  ".join([*reasons, f"The stack {target.stack} ended as {FAILED}."]), hint=hint)


def _delete_images(session: Session, subject: Json, keep: list[str]) -> list[str]:
    """Delete the images that were proposed, as far as nothing uses them still: somebody may have deployed one meanwhile."""
    proposed = subject.get("deleted_images") or []
    if not proposed:
        return []
    verdict = images.judge(session, proposed, (), keep)
    for uri, why in verdict.kept.items():
        log(f"{short(uri)} stays: {why}", level="warning")
    images.delete(session, verdict.deleted)
    return verdict.deleted
