"""Apply a proposed deployment: execute that very change set, follow it to its end, and prove what runs then.

An attempt may die at any point and another take its place. What decides whether the change set is executed is what
CloudFormation says of it, and the token that our execution leaves on the stack's events; never what we remember.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from stages.aws import cloudformation, following, retry, validation
from stages.aws.names import local_url
from stages.aws.session import connect
from stages.contract import Result, StageError
from stages.deploy import fresh, live, outcome
from stages.deploy import subject as subjects
from stages.deploy.proposing import EXECUTED, environment, load
from stages.deploy.states import exists, succeeded
from stages.log import log

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.lambda_ import LiveFunction
    from stages.aws.session import Session
    from stages.contract import Json, Proposal, Request, Target
    from stages.deploy.release import Release

RENEWALS = 10
"""How often credentials are taken anew in one attempt: a deployment of twelve hours by tokens of an hour has eleven."""


def apply(request: Request, work: Path) -> Result:
    """Execute the proposal's change set, wait for it, and write `outputs/deployment/deployment.json`."""
    target, access = environment(request)
    if request.proposal is None:
        raise StageError("there is no proposal to apply", cls="fault")
    release = load(request, work, target)
    session, deployed = _deployed(connect(target, access), release, request.proposal, request)
    problems = outcome.wrong_images(release, {name: each.image for name, each in deployed.functions.items()})
    if problems:
        hint = outcome.put_back(release, deployed.functions, target, access)
        raise StageError("\n".join(problems), hint=hint, cls="mismatch")
    deployment = _deployment(session, target, release, deployed)
    _write(work / "outputs" / "deployment", deployment)
    return Result("succeeded", outputs=["deployment"], facts=outcome.facts(deployment))


@dataclass(frozen=True)
class Deployed:
    """A stack that has come to its end, with the functions that are in it."""

    stack: Json
    functions: dict[str, LiveFunction]


def _deployed(session: Session, release: Release, proposal: Proposal, request: Request) -> tuple[Session, Deployed]:
    """Bring the stack to what was proposed; what was begun goes on with other credentials if ours expire and there are any."""
    under_way = _operation(session, proposal)
    for _ in range(RENEWALS):
        try:
            return session, _deploy(session, release, proposal, request, under_way)
        except retry.CallFailed as error:
            session = _renewed(session, error)
            if under_way:
                under_way.reconnect(session.cloudformation)
    raise StageError(f"AWS refused {RENEWALS} credentials one after the other", cls="retryable")


def _renewed(session: Session, error: retry.CallFailed) -> Session:
    """The session by newer credentials, if it was for want of those that a call failed; else the error is raised again."""
    renewed = None
    if error.meaning in ("expired", "credentials"):
        try:
            renewed = session.renewed()
        except StageError as why:
            log(f"there are no newer credentials: {why.message}", level="warning")
    if renewed is None:
        raise error
    log(f"the credentials had expired; going on with newer ones, as {renewed.arn}")
    return renewed


def _operation(session: Session, proposal: Proposal) -> following.Operation | None:
    """What executing the proposal's change set does, or did; None if there is nothing to do."""
    handle = proposal.handle
    if proposal.subject["nothing_to_do"]:
        return None
    created = datetime.fromisoformat(handle["created"])
    return following.operation(session.cloudformation, handle["stack_id"], handle["token"], created)


def _deploy(
    session: Session, release: Release, proposal: Proposal, request: Request, under_way: following.Operation | None
) -> Deployed:
    functions = live.Functions(session)
    if under_way is None:
        stack, seen = _refuse_if_moved(functions, release, proposal, request, None)
        if stack is None:
            raise outcome.again("the stack is gone")
        log("nothing to change", stack=stack["StackName"])
        usable = {name: each for name, each in seen.items() if each and each.usable}
        return Deployed(stack, usable if usable.keys() == seen.keys() else functions.ready(stack, {}))
    seen = _execute(functions, release, proposal, request, under_way)
    with following.going_on_outside(str(session.target.stack)):
        closing = following.follow(session.cloudformation, under_way)
        if not succeeded(closing["ResourceStatus"]):
            reasons = _reasons(session, closing, under_way)
            raise outcome.failure(_left(session, closing, proposal), reasons, session.target)
        if under_way.root.overtaken:
            raise outcome.overtaken(str(session.target.stack))
        found = cloudformation.describe_stack(session.cloudformation, under_way.stack_id)
        if found is None:
            raise cloudformation.Gone(f"the stack {under_way.stack_id} vanished right after it was deployed")
        return Deployed(found, functions.ready(found, subjects.untouched(proposal.subject, seen)))


def _execute(
    functions: live.Functions, release: Release, proposal: Proposal, request: Request, under_way: following.Operation
) -> live.Seen:
    """Execute the change set unless that was done already, by an earlier attempt or before our credentials expired.

    Gives the functions as they were read right before; none if it was not executed here and now.
    """
    session, arn = functions.session, proposal.handle["change_set_arn"]
    found = cloudformation.describe_change_set(session.cloudformation, arn)
    if found is None or found["ExecutionStatus"] in EXECUTED:
        _take_up(under_way, request, gone=found is None)
        return {}
    _, seen = _refuse_if_moved(functions, release, proposal, request, found)
    live.check_templates(session, release)
    log(f"executing the change set {proposal.handle['name']}", stack=found["StackName"])
    how = subjects.execution(proposal.subject)
    if not cloudformation.execute_change_set(session.cloudformation, arn, proposal.handle["token"], **how):
        found = cloudformation.describe_change_set(session.cloudformation, arn)
        _take_up(under_way, request, gone=found is None)  # the answer to our first call may have been lost
    return seen


def _reasons(session: Session, closing: Json, under_way: following.Operation) -> list[str]:
    """Why an operation failed: the first resource that did so by itself on top, the others below it."""
    said = following.reasons(closing, under_way.all)
    since = under_way.all[0]["Timestamp"] if under_way.all else None
    return validation.explain(session.cloudformation, said, since=since, StackName=under_way.stack_id)


def _left(session: Session, closing: Json, proposal: Proposal) -> Json:
    """How an operation that failed has left the stack: one that is to be deleted then may say so in no event of the operation."""
    execution = proposal.subject["execution"]
    if execution["on_failure"] != "delete" or execution["type"] != "CREATE":
        return closing
    stack = cloudformation.describe_stack(session.cloudformation, closing["StackId"])
    return {**closing, "ResourceStatus": stack["StackStatus"] if stack else "DELETE_COMPLETE"}


def _take_up(under_way: following.Operation, request: Request, *, gone: bool) -> None:
    """Go on with a change set that is executed or gone, if it was us who executed it. Raises StageError if not."""
    tried = any(earlier.phase == "apply" for earlier in request.earlier) or not gone
    deleted = "the proposed change set was deleted"
    try:
        if not following.has_begun(under_way, following.TOKEN_WITHIN_S if tried else 0):
            raise outcome.again(deleted if gone else "the proposed change set was not executed by Towpath")
    except cloudformation.Gone as error:
        raise outcome.again(f"{deleted}, and the stack with it") from error
    log("the change set is being executed already; following it")


def _refuse_if_moved(
    functions: live.Functions, release: Release, proposal: Proposal, request: Request, change_set: Json | None
) -> tuple[Json | None, live.Seen]:
    """Make sure that what would be done is what was proposed, and nobody is at it. Returns the stack and its functions."""
    session, target = functions.session, functions.session.target
    stack = cloudformation.describe_stack(session.cloudformation, str(target.stack))
    live.refuse_busy(session, stack)
    with ThreadPoolExecutor(3) as pool:
        reading = pool.submit(functions.of, stack, fresh.functions(request))
        standing = pool.submit(_standing, session, request, stack)
        becomes = pool.submit(_becomes, session, request, change_set)
    seen = reading.result()
    base = live.base(stack, standing.result(), seen)
    way = proposal.subject["execution"]["type"]
    found = live.found(session, release, way, change_set, base, template=becomes.result())
    now = subjects.build(release, target, found)
    moved = list(subjects.differences(proposal.subject, now))
    if moved:
        raise outcome.again(f"what would be done is no longer what was proposed; these differ: {', '.join(moved)}")
    return stack, seen


def _standing(session: Session, request: Request, stack: Json | None) -> Json | None:
    """The digests of the stack's template: those that were just read, if it was not changed since."""
    if stack is None or not exists(stack["StackStatus"]):
        return None
    return fresh.standing(request, stack) or live.texts(session, stack=stack["StackId"]).digests


def _becomes(session: Session, request: Request, change_set: Json | None) -> Json | None:
    """The digests of the change set's template: those that were just read, as there is no way to change a change set."""
    if change_set is None:
        return None
    return fresh.becomes(request) or live.texts(session, change_set=change_set["ChangeSetId"]).digests


def _deployment(session: Session, target: Target, release: Release, deployed: Deployed) -> Json:
    stack = deployed.stack

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
            name: {"name": each.name, "arn": each.arn, "image": each.image} for name, each in deployed.functions.items()
        },
    }


def _write(directory: Path, deployment: Json) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(deployment, indent=2, sort_keys=True) + "\n"
    (directory / "deployment.json").write_text(text, encoding="utf-8")
    for name, each in deployment["outputs"].items():
        log(f"{name}: {each['url'] or each['value']}", output=name)
