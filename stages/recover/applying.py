"""Do what was proposed to free a stack, and follow it to its end. An attempt that died is followed by its token."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from stages.aws import cloudformation, following, retry
from stages.aws.session import connect
from stages.contract import Result, StageError
from stages.log import log
from stages.recover import ways
from stages.recover.proposing import environment, resources

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Json, Proposal, Request, Target


def apply(request: Request, work: Path) -> Result:
    """Begin the proposal's action unless that was done already, follow it, and say in which state the stack is then."""
    del work
    target, access = environment(request)
    proposal = request.proposal
    if proposal is None:
        raise StageError("there is no proposal to apply", cls="fault")
    session, handle = connect(target, access), proposal.handle
    since = datetime.fromisoformat(handle["since"])
    under_way = following.operation(session.cloudformation, handle["stack_id"], handle["token"], since)
    if under_way.root.peek():
        log("it was begun already; following it")
    else:
        _refuse_if_moved(session, proposal)
        log(ways.WAYS[proposal.subject["status"]].does, stack=target.stack)
        following.begin(under_way, lambda: _call(session, proposal))
    way = ways.WAYS[proposal.subject["status"]]
    with following.going_on_outside(str(target.stack)):
        _follow(session, target, under_way, way.aim)
    log(f"the stack is in state {way.aim}", stack=target.stack)
    facts = {"stack": target.stack, "status": way.aim, "action": way.action, "skipped": proposal.subject["skip"]}
    return Result("succeeded", facts=facts)


def _follow(session: Session, target: Target, under_way: following.Operation, aim: str) -> None:
    """Wait until the stack is in the state that was aimed at. Raises StageError if it comes to another one."""
    try:
        closing = following.follow(session.cloudformation, under_way)
    except cloudformation.Gone:
        if aim == "DELETE_COMPLETE":
            return
        raise
    if closing["ResourceStatus"] != aim:
        raise _stuck(session, target, closing, under_way)


def _refuse_if_moved(session: Session, proposal: Proposal) -> None:
    """Make sure that the stack is as it was when that was proposed. Raises StageError."""
    subject, stack_id = proposal.subject, proposal.handle["stack_id"]
    stack = cloudformation.describe_stack(session.cloudformation, stack_id)
    status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
    stuck: list[ways.Resource] = []
    if status == subject["status"]:
        failed = ways.WAYS[status].failed
        stuck = [each for each in resources(session, stack_id, ways.WAYS[status]) if each.status == failed]
        if ways.subject(session.target, stack_id, status, stuck, subject["skip"]) == subject:
            return
    raise StageError(
        f"the stack is no longer as it was: {subject['status']} then, {status} now, stuck at "
        f"{', '.join(each.path for each in stuck) or 'nothing'}",
        hint="Nothing was done. `towpath resume` looks at it anew.",
        cls="moved",
    )


def _call(session: Session, proposal: Proposal) -> None:
    client, handle, action = session.cloudformation, proposal.handle, proposal.subject["action"]
    if action == "continue-rollback":
        cloudformation.continue_rollback(client, handle["stack_id"], handle["token"], handle["skip"])
    elif action == "rollback":
        cloudformation.rollback(client, handle["stack_id"], handle["token"])
    else:
        cloudformation.delete(client, handle["stack_id"], handle["token"], handle["skip"])


def _stuck(session: Session, target: Target, closing: Json, under_way: following.Operation) -> StageError:
    status = closing["ResourceStatus"]
    lines = [*following.reasons(closing, under_way.all), f"It ended as {status}."]
    way = ways.WAYS.get(status)
    if way is None:
        return StageError("\n  ".join(lines))
    stuck: list[ways.Resource] = []
    try:
        stuck = [each for each in resources(session, under_way.stack_id, way) if each.status == way.failed]
    except retry.CallFailed as error:  # what keeps it there is told all the same
        log(error.message, level="warning")
    return ways.failure(target, way, lines, stuck, following.recovery(target))
