"""Propose how a stack gets out of the state in which it is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.aws import cloudformation
from stages.aws.session import connect
from stages.contract import Proposal, Result, StageError
from stages.limits import LIMITS
from stages.log import log
from stages.recover import ways
from stages.recover.ways import Resource, Way

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Access, Request, Target

_STACK = "AWS::CloudFormation::Stack"
_GONE = frozenset({"DELETE_COMPLETE", "DELETE_SKIPPED"})


def propose(request: Request, work: Path) -> Result:
    """Look what state the stack is in and at which resources it is stuck, and propose the way out."""
    del work
    target, access = environment(request)
    session = connect(target, access)
    stack = cloudformation.describe_stack(session.cloudformation, str(target.stack))
    status = stack["StackStatus"] if stack else None
    way = ways.choose(target, status)
    if stack is None or status is None:
        raise AssertionError  # which has no way out
    there = resources(session, stack["StackId"], way)
    stuck = [each for each in there if each.status == way.failed]
    skip = request.options.get("skip") or []
    names = ways.skipped(way, status, stuck, skip)
    latest = cloudformation.latest_event(session.cloudformation, stack["StackId"])
    subject = ways.subject(target, stack["StackId"], status, stuck, skip)
    handle = {
        "stack_id": stack["StackId"],
        "token": f"towpath-{request.handle}",
        "skip": names,
        "since": (latest["Timestamp"] if latest else stack["CreationTime"]).isoformat(),
    }
    log(f"the stack is in state {status}; proposed: {way.does}", stack=target.stack)
    proposal = Proposal(
        subject, handle, ways.render(subject, stuck, [each for each in there if each.status not in _GONE])
    )
    return Result("succeeded", facts={"status": status, "action": way.action}, proposal=proposal)


def environment(request: Request) -> tuple[Target, Access]:
    """The target and the access of a request. Raises StageError if it has none, or the target has no stack."""
    if request.target is None or request.access is None or not request.target.stack:
        raise StageError("the stage has no stack", cls="fault")
    return request.target, request.access


def resources(session: Session, stack_id: str, way: Way, path: str = "") -> list[Resource]:
    """The resources of a stack. A nested one stands for itself where it is deleted; else those in it do."""
    found: list[Resource] = []
    of = stack_id.split("/")[1] + "." if path else ""  # `NestedStackName.ResourceLogicalId`, as ResourcesToSkip has it
    for name, each in cloudformation.resources(session.cloudformation, stack_id).items():
        full, physical = f"{path}/{name}" if path else name, each.get("PhysicalResourceId")
        status, reason = each["ResourceStatus"], each.get("ResourceStatusReason") or ""
        inner: list[Resource] = []
        if physical and each["ResourceType"] == _STACK and _is_looked_into(way, status, path):
            inner = resources(session, physical, way, full)
        found += inner or [Resource(full, of + name, each["ResourceType"], status, reason)]
    return found


def _is_looked_into(way: Way, status: str, path: str) -> bool:
    return way.action != "delete" and status not in _GONE and path.count("/") < LIMITS.nested_depth
