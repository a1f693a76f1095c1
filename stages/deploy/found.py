"""What is found of a stack when nobody deploys: what `towpath environments --drift` holds against the record."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.aws import cloudformation, retry
from stages.contract import StageError
from stages.deploy import live
from stages.deploy.states import exists
from stages.limits import LIMITS

if TYPE_CHECKING:
    from stages.aws.session import Session
    from stages.contract import Json


def look(session: Session) -> Json:
    """What runs in the target's stack, who last changed that, and what CloudFormation finds changed in its resources.

    `stack` is None if there is none. `resources` lists resources that are not as their stack says; None if that was not asked, and
    `not_asked` says why. Raises StageError.
    """
    stack = cloudformation.describe_stack(session.cloudformation, str(session.target.stack))
    template, seen = live.standing(session, stack)
    base = live.base(stack, template.digests if template else None, seen)
    if stack is None or base is None:
        status = stack["StackStatus"] if stack else None
        return {"stack": None, "status": status, "not_asked": []}
    resources, why = _drifted(session, stack)
    return {
        "stack": base,
        "status": stack["StackStatus"],
        "last": _last(session, stack["StackId"]),
        "resources": resources,
        "not_asked": [{"what": "what CloudFormation's drift detection finds in the resources", "why": why}]
        if why
        else [],
    }


def _last(session: Session, stack_id: str) -> Json | None:
    """The event that ended the stack's last operation: its status, when, and the token of whoever began it."""
    token = None
    doing = f"reading the events of the stack {stack_id}"
    with retry.explained(doing):
        while True:
            where: Any = {"StackName": stack_id} | ({"NextToken": token} if token else {})
            page: Any = retry.call(partial(session.cloudformation.describe_stack_events, **where), doing=doing)
            for event in page["StackEvents"]:  # the latest first
                if event.get("PhysicalResourceId") == stack_id and not event["ResourceStatus"].endswith("_IN_PROGRESS"):
                    at = event["Timestamp"].isoformat()
                    return {"status": event["ResourceStatus"], "at": at, "token": event.get("ClientRequestToken")}
            token = page.get("NextToken")
            if not token:
                return None


def _drifted(session: Session, stack: Json) -> tuple[list[Json] | None, str | None]:
    """Resources that CloudFormation finds changed outside it; or None, and why it was not asked.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html
    """
    if stack["StackStatus"].endswith("_IN_PROGRESS") or not exists(stack["StackStatus"]):
        return None, f"the stack is {stack['StackStatus']}"
    doing = f"having CloudFormation look for drift in the stack {stack['StackName']}"
    try:
        with retry.explained(doing):
            return _detect(session, stack["StackId"], doing), None
    except StageError as error:
        return None, error.message


def _detect(session: Session, stack_id: str, doing: str) -> list[Json]:
    client: Any = session.cloudformation
    begun = retry.call(lambda: client.detect_stack_drift(StackName=stack_id), doing=doing)
    until = time.monotonic() + LIMITS.drift_s
    for delay_s in retry.growing(0.5, 5.0):
        told = retry.call(
            lambda: client.describe_stack_drift_detection_status(StackDriftDetectionId=begun["StackDriftDetectionId"]),
            doing=doing,
        )
        if told["DetectionStatus"] == "DETECTION_COMPLETE":
            return _resources(client, stack_id, doing)
        if told["DetectionStatus"] == "DETECTION_FAILED":
            reason = told.get("DetectionStatusReason") or "no reason given"
            raise StageError(f"CloudFormation's drift detection failed: {reason}")
        if time.monotonic() > until:
            raise StageError(f"CloudFormation's drift detection was not done after {LIMITS.drift_s} s")
        time.sleep(delay_s)
    raise AssertionError  # delays never end


def _resources(client: Any, stack_id: str, doing: str) -> list[Json]:
    found: list[Json] = []
    token = None
    while True:
        where: Any = {"StackName": stack_id, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]}
        where |= {"NextToken": token} if token else {}
        page: Any = retry.call(partial(client.describe_stack_resource_drifts, **where), doing=doing)
        found += [
            {
                "resource": each["LogicalResourceId"],
                "type": each["ResourceType"],
                "status": each["StackResourceDriftStatus"],
                "properties": sorted(one["PropertyPath"] for one in each.get("PropertyDifferences", [])),
            }
            for each in page["StackResourceDrifts"]
        ]
        token = page.get("NextToken")
        if not token:
            return found
