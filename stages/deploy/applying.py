"""Apply a proposed deployment: execute that very change set, follow it to its end, and prove what runs then.

An attempt may die at any point and another take its place. What decides whether the change set is executed is what
CloudFormation says of it, and the token that our execution leaves on the stack's events; never what we remember.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from stages.aws import cloudformation, retry
from stages.aws.names import local_url
from stages.aws.session import connect
from stages.contract import Result, StageError
from stages.deploy import live, outcome
from stages.deploy import subject as subjects
from stages.deploy.proposing import EXECUTED, environment, load
from stages.deploy.states import succeeded
from stages.log import log

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.lambda_ import LiveFunction
    from stages.aws.session import Session
    from stages.contract import Json, Proposal, Request, Target
    from stages.deploy.release import Release

EVENTS_AFTER_S = 0.3
"""A stack that is done sooner is asked for its events once, not twice with a second between."""
TOKEN_WITHIN_S = 15.0
"""How long an execution may take to show in the stack's events."""


def apply(request: Request, work: Path) -> Result:
    """Execute the proposal's change set, wait for it, and write `outputs/deployment/deployment.json`."""
    target, access = environment(request)
    if request.proposal is None:
        raise StageError("there is no proposal to apply", cls="fault")
    release = load(request, work, target)
    session = connect(target, access)
    stack = _deploy(session, release, request.proposal, request)
    functions = live.wait_for_functions(session, live.function_names(session, stack["StackId"]))
    problems = outcome.wrong_images(release, {name: each.image for name, each in functions.items()})
    if problems:
        hint = outcome.put_back(release, functions, target, access)
        raise StageError("\n".join(problems), hint=hint, cls="mismatch")
    deployment = _deployment(session, target, release, stack, functions)
    _write(work / "outputs" / "deployment", deployment)
    return Result("succeeded", outputs=["deployment"], facts=outcome.facts(deployment))


def _deploy(session: Session, release: Release, proposal: Proposal, request: Request) -> Json:
    """Bring the stack to what was proposed, and return its description."""
    if proposal.subject["nothing_to_do"]:
        stack = _refuse_if_moved(session, release, proposal, None)
        if stack is None:
            raise outcome.again("the stack is gone")
        log("nothing to change", stack=stack["StackName"])
        return stack
    handle = proposal.handle
    created = datetime.fromisoformat(handle["created"])
    events = cloudformation.Events(session.cloudformation, handle["stack_id"], handle["token"], created)
    _execute(session, release, proposal, request, events)
    return _follow(session, events)


def _execute(
    session: Session, release: Release, proposal: Proposal, request: Request, events: cloudformation.Events
) -> None:
    """Execute the change set unless an earlier attempt has done so."""
    arn = proposal.handle["change_set_arn"]
    found = cloudformation.describe_change_set(session.cloudformation, arn)
    if found is None or found["ExecutionStatus"] in EXECUTED:
        _take_up(events, request, gone=found is None)
        return
    _refuse_if_moved(session, release, proposal, found)
    live.check_templates(session, release)
    log(f"executing the change set {proposal.handle['name']}", stack=found["StackName"])
    if not cloudformation.execute_change_set(session.cloudformation, arn, proposal.handle["token"]):
        _take_up(events, request, gone=False)  # the answer to our first call may have been lost


def _take_up(events: cloudformation.Events, request: Request, *, gone: bool) -> None:
    """Go on with a change set that is executed or gone, if it was us who executed it. Raises StageError if not."""
    tried = any(earlier.phase == "apply" for earlier in request.earlier) or not gone
    until = time.monotonic() + (TOKEN_WITHIN_S if tried else 0)
    while not events.peek():
        if time.monotonic() >= until:
            raise outcome.again(
                "the proposed change set was deleted" if gone else "the proposed change set was not executed by Towpath"
            )
    log("the change set is already being executed by an earlier attempt; following it")


def _refuse_if_moved(session: Session, release: Release, proposal: Proposal, change_set: Json | None) -> Json | None:
    """Make sure that what would be done is what was proposed. Returns the stack's description."""
    target = session.target
    stack = cloudformation.describe_stack(session.cloudformation, str(target.stack))
    base = live.base(session, stack)
    template = live.templates(session, change_set=change_set["ChangeSetId"]) if change_set else (base or {})["template"]
    way = proposal.subject["execution"]["type"]
    now = subjects.build(release, target, way=way, change_set=change_set, template=template, base=base)
    moved = list(subjects.differences(proposal.subject, now))
    if moved:
        raise outcome.again(f"what would be done is no longer what was proposed; these differ: {', '.join(moved)}")
    return stack


def _follow(session: Session, events: cloudformation.Events) -> Json:
    """Show the stack's events until the one that ends the operation; return the stack. Raises StageError if it failed."""
    started = time.monotonic()
    for delay_s in retry.growing(cloudformation.FIRST_LOOK_S, cloudformation.SLOWEST_LOOK_S):
        stack = cloudformation.describe_stack(session.cloudformation, events.stack_id)
        if stack is None:
            raise StageError(f"the stack {events.stack_id} vanished while it was being deployed")
        busy = stack["StackStatus"].endswith("_IN_PROGRESS")
        if not busy or (events.due_in_s() == 0 and time.monotonic() - started > EVENTS_AFTER_S):
            for event in events.new():
                _show(event)
            closing = events.closing()
            if closing is not None:
                return _ended(session, events, closing)
        time.sleep(delay_s)
    raise AssertionError  # delays never end


def _show(event: Json) -> None:
    reason = event.get("ResourceStatusReason") or None
    text = f"{event['ResourceStatus']}  {event['LogicalResourceId']}  {event['ResourceType']}"
    level = "error" if event["ResourceStatus"].endswith("FAILED") else "info"
    at = event["Timestamp"].isoformat()
    log(f"{text}  {reason}" if reason else text, resource=event["LogicalResourceId"], at=at, level=level)


def _ended(session: Session, events: cloudformation.Events, closing: Json) -> Json:
    if not succeeded(closing["ResourceStatus"]):
        raise outcome.failure(closing, events.all, events.stack_id)
    stack = cloudformation.describe_stack(session.cloudformation, events.stack_id)
    if stack is None:
        raise StageError(f"the stack {events.stack_id} vanished right after it was deployed")
    return stack


def _deployment(
    session: Session, target: Target, release: Release, stack: Json, functions: dict[str, LiveFunction]
) -> Json:
    def url(value: str) -> str | None:
        web = value.startswith(("https://", "http://"))
        return local_url(value, target.account, session.access) if web else None

    return {
        "v": 1,
        "target": {"environment": target.environment, **subjects.identity(target)},
        "stack": {"name": stack["StackName"], "id": stack["StackId"]},
        "release": release.digest,
        "outputs": {
            each["OutputKey"]: {
                "value": each["OutputValue"],
                "description": each.get("Description"),
                "url": url(each["OutputValue"]),
            }
            for each in stack.get("Outputs", [])
        },
        "functions": {
            name: {"name": each.name, "arn": each.arn, "image": each.image} for name, each in functions.items()
        },
    }


def _write(directory: Path, deployment: Json) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(deployment, indent=2, sort_keys=True) + "\n"
    (directory / "deployment.json").write_text(text, encoding="utf-8")
    for name, each in deployment["outputs"].items():
        log(f"{name}: {each['url'] or each['value']}", output=name)
