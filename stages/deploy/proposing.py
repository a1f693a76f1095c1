"""Propose a deployment: check everything that can be checked, then make a change set and say what it would do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from stages.aws import cloudformation, s3
from stages.aws.session import connect
from stages.contract import InvalidInput, Proposal, Result, StageError
from stages.deploy import live, meaning, precheck, view
from stages.deploy import release as releases
from stages.deploy import subject as subjects
from stages.deploy.states import change_set_type
from stages.limits import LIMITS
from stages.log import log

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Access, Json, Request, Target
    from stages.deploy.release import Release

EXECUTED = frozenset({"EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"})
"""Execution states of a change set that has been executed, whatever came of it."""


def propose(request: Request, work: Path) -> Result:
    """Make a change set for the release in `inputs/release` and propose to execute it."""
    target, access = environment(request)
    release = load(request, work, target)
    session = connect(target, access)
    proposal = _taken_up(session, request) or _proposal(session, release, target, request)
    nothing = proposal.subject["nothing_to_do"]
    log("nothing to change" if nothing else f"{len(proposal.subject['changes'])} changes proposed", stack=target.stack)
    facts = {"nothing_to_do": nothing, "changes": len(proposal.subject["changes"])}
    return Result("succeeded", facts=facts, proposal=proposal)


def environment(request: Request) -> tuple[Target, Access]:
    """The target and the access of a request. Raises StageError if it has none, or the target has no stack."""
    if request.target is None or request.access is None:
        raise StageError("the stage has no environment", cls="fault")
    if not request.target.stack:
        name = request.target.environment
        raise StageError(f"the environment {name} names no stack", hint=f"Add `stack: ...` to the environment {name}.")
    return request.target, request.access


def load(request: Request, work: Path, target: Target) -> Release:
    """The release, verified and checked against what the environment states. Raises InvalidInput, StageError."""
    release = releases.for_target(releases.load(work / request.inputs["release"]), target)
    if _is_large(release) and not target.bucket:
        raise StageError(
            f"{releases.TEMPLATE} has {len(release.template.data):,} bytes, and CloudFormation takes at most "
            f"{LIMITS.template_body_bytes:,} in a call; larger ones go through S3",
            hint=f"Add to the environment {target.environment}: `bucket: NAME`. It is made if there is none.",
        )
    problems = precheck.check(release.template, target.environment, target.parameters, target.capabilities)
    problems += precheck.check_nested(release.stacks, target.environment, target.capabilities)
    problems += releases.not_lambdas(release)
    if problems:
        raise InvalidInput(problems)
    return release


def _is_large(release: Release) -> bool:
    return len(release.template.data) > LIMITS.template_body_bytes


def _template(session: Session, release: Release) -> str:
    """The template's text; or its address, where it is too large for a call, in the bucket of the environment."""
    if not _is_large(release):
        return release.template.text
    bucket = str(session.target.bucket)
    s3.ensure_bucket(session, bucket, session.target.tags)
    digest = hashlib.sha256(release.template.data).hexdigest()
    return s3.put(session, bucket, f"{s3.PREFIX}/{digest}.template", release.template.data).url


def change_set_name(handle: str) -> str:
    """The name, and the token, of the change set that an attempt makes: found again by its handle alone."""
    return f"towpath-{handle}"


def _taken_up(session: Session, request: Request) -> Proposal | None:
    """The proposal of an earlier attempt that was already being executed when its runner died: it is still that one."""
    for earlier in request.earlier:
        arn = earlier.proposal.handle.get("change_set_arn") if earlier.proposal else None
        if earlier.phase != "apply" or not arn:
            continue
        found = cloudformation.describe_change_set(session.cloudformation, arn)
        if found and found["ExecutionStatus"] in EXECUTED:
            log(f"an earlier attempt has already executed the change set {found['ChangeSetName']}; taking it up")
            return earlier.proposal
    return None


def _proposal(session: Session, release: Release, target: Target, request: Request) -> Proposal:
    live.check_images(session, release)
    live.check_templates(session, release)
    stack_name = str(target.stack)
    stack = cloudformation.describe_stack(session.cloudformation, stack_name)
    way = change_set_type(target, stack["StackStatus"] if stack else None)
    base = live.base(session, stack)
    if stack:
        _clear(session, stack_name, request)
    spec = cloudformation.ChangeSetSpec(
        stack=stack_name,
        name=change_set_name(request.handle),
        type=way,
        description=f"Towpath {request.handle}: release {release.digest}",
        template=_template(session, release),
        parameters=target.parameters,
        capabilities=target.capabilities,
        tags=target.tags,
    )
    log(f"making the change set {spec.name}", stack=stack_name)
    arn = cloudformation.create_change_set(session.cloudformation, spec)
    made = cloudformation.wait_for_change_set(session.cloudformation, arn)
    change_set = _usable(session, made)
    template = live.templates(session, change_set=arn) if change_set else (base or {})["template"]
    subject = subjects.build(release, target, way=way, change_set=change_set, template=template, base=base)
    means = _meaning(session, subject, arn if change_set else None, base)
    return Proposal(subject, _handle(made, empty=change_set is None), view.render(subject, means))


def _meaning(session: Session, subject: Json, change_set: str | None, base: Json | None) -> list[str]:
    """What the change set means, in words; nothing if it changes nothing."""
    if change_set is None:
        return []
    before = live.processed_template(session, stack=base["stack_id"]) if base else None
    after = live.processed_template(session, change_set=change_set)
    return meaning.explain(subject["changes"], meaning.plain(before), meaning.plain(after))


def _clear(session: Session, stack: str, request: Request) -> None:
    """Delete change sets that earlier attempts left behind; theirs was never executed, or it had been taken up."""
    for earlier in request.earlier:
        found = cloudformation.describe_change_set(session.cloudformation, change_set_name(earlier.handle), stack)
        if found and found["ExecutionStatus"] not in EXECUTED:
            log(f"deleting the change set {found['ChangeSetName']}, left by an earlier attempt", stack=stack)
            cloudformation.delete_change_set(session.cloudformation, found["ChangeSetId"])


def _usable(session: Session, made: Json) -> Json | None:
    """The change set if it can be executed, None if there is nothing to change; otherwise raises StageError."""
    if made["Status"] == "CREATE_COMPLETE":
        return made
    cloudformation.delete_change_set(session.cloudformation, made["ChangeSetId"])
    if cloudformation.is_empty(made):
        return None
    reason = made.get("StatusReason") or made["Status"]
    raise StageError(f"CloudFormation could not make a change set for the stack {made['StackName']}: {reason}")


def _handle(made: Json, *, empty: bool) -> Json:
    return {
        "name": made["ChangeSetName"],
        "change_set_arn": None if empty else made["ChangeSetId"],
        "stack_id": made["StackId"],
        "token": made["ChangeSetName"],
        "created": made["CreationTime"].isoformat(),
    }
