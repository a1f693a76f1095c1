"""Propose a deletion: what goes, what stays, and which images go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.aws import cloudformation
from stages.aws.session import connect
from stages.contract import InvalidInput, Problem, Proposal, Result, StageError
from stages.delete import images, standing
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Json, Request
    from stages.delete.standing import Resource, Standing

VERSION = 1
FAILED = "DELETE_FAILED"


def propose(request: Request, work: Path) -> Result:
    """Say what deleting the target's stack would do. Raises StageError if it cannot be deleted as it is."""
    del work
    session = open_session(request)
    target, found = session.target, standing.look(session)
    if found is None:  # a name that is mistyped must not look like a deletion
        message = f"there is no stack {target.stack} in account {target.account}, {target.region}"
        raise InvalidInput([Problem(message)])
    refuse(found, str(target.stack), request.options.get("retain") or [])
    subject = build(session, found, request.options)
    handle = _handle(session, found, request.handle)
    log(f"{len(subject['resources'])} resources are to be deleted", stack=target.stack)
    facts = {"resources": len(subject["resources"])}
    return Result("succeeded", facts=facts, proposal=Proposal(subject, handle, "\n".join(view(subject)) + "\n"))


def _handle(session: Session, found: Standing, handle: str) -> Json:
    """How just this is done: with which token, which its events will have, and since when there are any."""
    latest = cloudformation.latest_event(session.cloudformation, found.stack_id)
    since = latest["Timestamp"].isoformat() if latest else found.created
    return {"stack_id": found.stack_id, "token": f"towpath-{handle}", "since": since}


def open_session(request: Request) -> Session:
    """The session for a request's target. Raises StageError."""
    if request.target is None or request.access is None or not request.target.stack:
        raise StageError("the stage has no stack to delete", cls="fault")
    return connect(request.target, request.access)


def refuse(found: Standing, stack: str, retain: list[str]) -> None:
    """Raise StageError, InvalidInput for a stack that cannot be deleted as it is."""
    if found.protected:
        raise StageError(
            f"the stack {stack} is protected from being deleted",
            hint="If it really is to go: aws cloudformation update-termination-protection --no-enable-termination-protection "
            f"--stack-name {stack}",
            cls="blocked",
        )
    if found.status.endswith("_IN_PROGRESS") and found.status not in ("DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS"):
        hint = "Wait until it is done, then try again."
        raise StageError(f"the stack {stack} is in state {found.status}", hint=hint, cls="blocked")
    unknown = [name for name in retain if name not in found.resources]
    if unknown:
        hint = f"It has: {', '.join(found.resources)}."
        raise InvalidInput([Problem(f"the stack {stack} has no resource {name}", hint=hint) for name in unknown])
    if retain and found.status != FAILED:
        message = f"CloudFormation lets go of resources only where a deletion has failed, and {stack} is {found.status}"
        hint = "To keep a resource give it `DeletionPolicy: Retain` in the template, and deploy that first."
        raise InvalidInput([Problem(message, hint=hint)])


def build(session: Session, found: Standing, options: Json) -> Json:
    """The subject of a deletion: what people approve, and `apply` compares."""
    target = session.target
    retain = sorted(options.get("retain") or [])
    resources = [_told(each, retain) for each in found.resources.values()]
    subject: Json = {
        "v": VERSION,
        "deletes": found.stack_id,
        "target": {
            "partition": target.partition,
            "account": target.account,
            "region": target.region,
            "stack": target.stack,
        },
        "resources": resources,
        "retain": retain,
    }
    if options.get("images"):
        own = found.functions
        used = [*(image for image in standing.running(session, [*own.values()]) if image), *(options.get("also") or [])]
        verdict = images.judge(session, used, own.values(), options.get("keep") or [])
        subject["deleted_images"], subject["kept_images"] = verdict.deleted, verdict.kept
    return subject


def _told(resource: Resource, retain: list[str]) -> Json:
    policy = "Retain" if resource.id in retain else resource.policy
    return {"id": resource.id, "type": resource.type, "physical": resource.physical, "policy": policy}


def view(subject: Json) -> Iterator[str]:
    """A deletion as text for people."""
    target = subject["target"]
    yield f"Stack {target['stack']} in account {target['account']}, {target['region']}: delete"
    goes = [each for each in subject["resources"] if each["policy"] not in standing.STAYS]
    stays = [each for each in subject["resources"] if each["policy"] in standing.STAYS]
    yield from _lines("- Delete", goes)
    yield from _lines("  stays ", stays)
    if "deleted_images" in subject:
        yield ""
        yield "Images"
        yield from (f"  - Delete  {short(uri)}" for uri in subject["deleted_images"])
        yield from (f"    stays   {short(uri)}: {why}" for uri, why in subject["kept_images"].items())
        if not subject["deleted_images"] and not subject["kept_images"]:
            yield "  none"


def _lines(word: str, resources: list[Json]) -> Iterable[str]:
    width = max((len(each["id"]) for each in resources), default=0)
    for each in resources:
        policy = f"  {each['policy']}" if each["policy"] not in ("Delete", *standing.STAYS) else ""
        yield f"{word}  {each['id'].ljust(width)}  {each['type']}{policy}"


def short(uri: str) -> str:
    """An image's URI without its host, its digest cut to what people compare."""
    name, _, digest = uri.rpartition("@sha256:")
    return f"{name.partition('/')[2]}@sha256:{digest[:12]}" if name else uri
