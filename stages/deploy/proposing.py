"""Propose a deployment: check everything that can be checked, then make a change set and say what it would do."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from stages.aws import cloudformation, retry, s3, validation
from stages.aws.session import connect
from stages.contract import InvalidInput, Proposal, Result, StageError, secret_variable
from stages.deploy import difference, fresh, live, meaning, parameters, precheck, view
from stages.deploy import release as releases
from stages.deploy import subject as subjects
from stages.deploy.settled import settle
from stages.deploy.states import change_set_type
from stages.limits import LIMITS
from stages.log import log
from stages.template.application import NESTED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Access, Json, Problem, Request, Target
    from stages.deploy.difference import Scan, Unknown
    from stages.deploy.release import Release

_NESTED_CHANGE_SET = re.compile(r"arn:[^\s:]+:cloudformation:\S+:changeSet/[^\s/]+/[^\s.,]+")
EXECUTED = frozenset({"EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"})
"""Execution states of a change set that has been executed, whatever came of it."""


def propose(request: Request, work: Path) -> Result:
    """Make a change set for the release in `inputs/release` and propose to execute it."""
    target, access = environment(request)
    release = load(request, work, target)
    session = connect(target, access)
    proposal = _taken_up(session, request) or _proposal(session, release, request, work)
    nothing = proposal.subject["nothing_to_do"]
    log("nothing to change" if nothing else f"{len(proposal.subject['changes'])} changes proposed", stack=target.stack)
    facts = {"nothing_to_do": nothing, "changes": len(proposal.subject["changes"])}
    facts |= {} if nothing else {"change_set": proposal.handle["change_set_arn"]}
    return Result("succeeded", facts=facts, proposal=proposal)


def environment(request: Request) -> tuple[Target, Access]:
    """The target and the access of a request, secret parameters with their values. Raises StageError if it has none, or the
    target has no stack."""
    if request.target is None or request.access is None:
        raise StageError("the stage has no environment", cls="fault")
    if not request.target.stack:
        name = request.target.environment
        raise StageError(f"the environment {name} names no stack", hint=f"Add `stack: ...` to the environment {name}.")
    secrets = {name: os.environ[secret_variable(name)] for name in request.secrets}
    return replace(request.target, parameters=request.target.parameters | secrets), request.access


def load(request: Request, work: Path, target: Target, before: Mapping[str, str] | None = None) -> Release:
    """The release, verified and checked against what the environment states. Raises InvalidInput, StageError.

    `before` are the stack's parameters, from which some may be kept; if they are not said, those that the proposal was made with.
    """
    if before is None:
        before = ((request.proposal.subject.get("base") if request.proposal else None) or {}).get("parameters", {})
    whole = releases.load(work / request.inputs["release"])
    given = parameters.known(whole.template, target, before)
    release = releases.for_target(whole, replace(target, parameters=given))
    if _is_large(release) and not target.bucket:
        raise StageError(
            f"{releases.TEMPLATE} has {len(release.template.data):,} bytes, and CloudFormation takes at most "
            f"{LIMITS.template_body_bytes:,} in a call; larger ones go through S3",
            hint=f"{precheck.add(target.environment, 'bucket: NAME', '--s3-bucket NAME')}. It is made if there is none.",
        )
    problems = precheck.check(release.stacks, target.environment, target.parameters, target.capabilities)
    problems += releases.not_lambdas(release, target)
    problems += parameters.unguarded(release.template, request.secrets)
    if problems:
        raise _invalid(problems)
    return release


def _invalid(problems: list[Problem]) -> InvalidInput:
    """The error for what the template and the environment lack: going on with the run would find just that again."""
    error = InvalidInput(problems)
    error.hint = _PLANNED
    return error


_PLANNED = "This run keeps what it was planned with. Once that is mended, start a new one."
_WRONG = ("ValidationError", "ParamValidationError")
"""How AWS, and botocore before it, call it that a template, or a value that it is given, is none."""


def _make(session: Session, spec: cloudformation.ChangeSetSpec) -> str:
    try:
        return cloudformation.create_change_set(session.cloudformation, spec)
    except retry.CallFailed as error:
        error.hint = _PLANNED if error.name in _WRONG else error.hint
        raise


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
            return fresh.stale(earlier.proposal)
    return None


def _proposal(session: Session, release: Release, request: Request, work: Path) -> Proposal:
    target = session.target
    stack_name = str(target.stack)
    stack = cloudformation.describe_stack(session.cloudformation, stack_name)
    live.refuse_busy(session, stack)
    way = change_set_type(target, stack["StackStatus"] if stack else None)
    before = live.given(stack)
    problems = list(parameters.problems(release.template, target, before))
    if problems:
        raise _invalid(problems)
    if before:
        release = load(request, work, target, before)  # with what the stack keeps, loops may make other functions
    with ThreadPoolExecutor(3) as pool:
        standing = pool.submit(live.standing, session, stack)
        images = pool.submit(live.check_images, session, release)
        nested = pool.submit(live.check_templates, session, release)
    (runs, seen), manifests, _ = standing.result(), images.result(), nested.result()
    base = live.base(stack, runs.digests if runs else None, seen)
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
        kept=parameters.kept(release.template, target, before),
        role=target.service_role,
        notifications=target.notification_arns,
        delete_on_failure=subjects.on_failure(target, way) == "delete",
        nested=any(each.type in NESTED for stack in release.stacks.values() for each in stack.resources),
    )
    log(f"making the change set {spec.name}", stack=stack_name)
    made = cloudformation.wait_for_change_set(session.cloudformation, _make(session, spec))
    change_set = _usable(session, made)
    changed = _changed(release, base)
    with ThreadPoolExecutor(1) as pool:
        compared = pool.submit(live.running_manifests, session, {old for old, _ in changed.values() if old})
        becomes = live.texts(session, change_set=made["ChangeSetId"]) if change_set else None
        found = live.found(session, release, way, change_set, base, template=becomes.digests if becomes else None)
    subject = subjects.build(release, target, found)
    old = _settled(live.bodies_before(session, found, runs.processed if runs else None))
    new = _settled(
        live.bodies_after(session, release, found, subject["parameters"], becomes.processed if becomes else None)
    )
    text = view.render(
        subject,
        means=meaning.explain(subject["changes"], old, new),
        leaves=_leaves(subject, old, new),
        differences=_differences(changed, compared.result(), manifests, _scans(request, work)),
    )
    handle = _handle(made, empty=change_set is None) | {"seen": fresh.seen(stack, seen)}
    return Proposal(subject, handle, text)


def _scans(request: Request, work: Path) -> tuple[Scan | Unknown, Scan | Unknown]:
    """The scan of what runs, and that of the release, as far as the record has them."""
    folders = {name: work / path for name, path in request.evidence.items()}
    return (
        difference.scan(folders.get("standing-scan"), "the record has no scan of what runs"),
        difference.scan(folders.get("scan"), "no stage before this one has scanned it"),
    )


def _changed(release: Release, base: Json | None) -> dict[str, tuple[str | None, str]]:
    """The images that run, and those that take their place, of functions for which these are not the same."""
    runs = {name: each.get("image") for name, each in ((base or {}).get("functions", {})).items()}
    pairs = {name: (runs.get(name), image.uri) for name, image in sorted(release.images.items())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _differences(
    changed: dict[str, tuple[str | None, str]],
    before: dict[str, str],
    manifests: dict[str, str],
    scans: tuple[Scan | Unknown, Scan | Unknown],
) -> dict[str, list[str]]:
    """How each image differs from the one that runs. `before` and `manifests` are those of the images that run, and of the release's."""
    told: dict[str, list[str]] = {}
    known: dict[tuple[str | None, str], str] = {}
    for name, (old, new) in changed.items():
        first = known.setdefault((old, new), name)
        if first != name:
            told[name] = [f"as of {first}"]
        elif old is None:
            told[name] = difference.new(manifests.get(new))
        else:
            told[name] = difference.told((before.get(old), manifests.get(new)), scans)
    return told


def _settled(bodies: dict[str, live.Body]) -> Json:
    return {path: settle(meaning.plain(each.template), each.given) for path, each in bodies.items()}


def _leaves(subject: Json, before: Json, after: Json) -> dict[tuple[str, str], list[str]]:
    """Where within a property a resource changes, as far as the templates tell."""
    old, new = meaning.resources(before), meaning.resources(after)
    return {
        (name, detail["name"]): meaning.leaves(detail["name"], old.get(name), new.get(name))
        for change in subject["changes"]
        for name in [change["logical_id"]]
        for detail in change["properties"]
        if detail["name"]
    }


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
    reasons = _reasons(session, made)
    cloudformation.delete_change_set(session.cloudformation, made["ChangeSetId"])
    if cloudformation.is_empty(made):
        return None
    raise StageError(f"CloudFormation could not make a change set for the stack {made['StackName']}: {reasons}")


def _reasons(session: Session, made: Json) -> str:
    """Why a change set could not be made. Of a nested one the reason says no more than which: the rest is told by that one."""
    said = [str(made.get("StatusReason") or made["Status"])]
    reason = "\n  ".join(validation.explain(session.cloudformation, said, ChangeSetName=made["ChangeSetId"]))
    inner = _NESTED_CHANGE_SET.search(reason)
    found = cloudformation.describe_change_set(session.cloudformation, inner[0]) if inner else None
    if found is None or found["ChangeSetId"] == made["ChangeSetId"]:
        return reason
    return f"its nested stack {found['StackName']}: {_reasons(session, found)}"


def _handle(made: Json, *, empty: bool) -> Json:
    return {
        "name": made["ChangeSetName"],
        "change_set_arn": None if empty else made["ChangeSetId"],
        "stack_id": made["StackId"],
        "token": made["ChangeSetName"],
        "created": made["CreationTime"].isoformat(),
    }
