"""What a proposal saw, so that the same attempt can tell by cheaper means, moments later, whether it is still so. Pure.

It is kept in the proposal's handle, and counts only for the attempt that proposed (`Request.fresh`): nobody signs a handle, so of one
that comes out of the record everything is read again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stages.aws.lambda_ import LiveFunction

if TYPE_CHECKING:
    from stages.contract import Json, Proposal, Request
    from stages.deploy.live import Seen

SEEN = "seen"


def seen(stack: Json | None, functions: Seen) -> Json:
    """When the stack was changed last, and the revision of each function that is ready."""
    return {
        "stack": _changed_at(stack) if stack else None,
        "functions": {
            name: {"arn": each.arn, "name": each.name, "revision": each.revision}
            for name, each in functions.items()
            if each and each.usable and each.revision
        },
    }


def stale(proposal: Proposal | None) -> Proposal | None:
    """A proposal that was made by another attempt."""
    if proposal is None:
        return None
    return replace(proposal, handle={name: each for name, each in proposal.handle.items() if name != SEEN})


def functions(request: Request) -> dict[str, LiveFunction]:
    """The functions that the request's proposal found ready, as they were, where this attempt has just proposed."""
    base = _base(request)
    return {
        name: LiveFunction(
            name=each["name"],
            arn=each["arn"],
            state="Active",
            state_reason="",
            last_update="Successful",
            last_update_reason="",
            image=base["functions"][name].get("image"),
            code_sha256=base["functions"][name].get("code_sha256"),
            revision=each["revision"],
        )
        for name, each in _seen(request).get("functions", {}).items()
    }


def standing(request: Request, stack: Json) -> Json | None:
    """The digests of the stack's template, if this attempt has just read it and the stack is as it was then."""
    if _seen(request).get("stack") != _changed_at(stack) or _base(request).get("stack_id") != stack["StackId"]:
        return None
    digests: Json = _base(request)["template"]
    return digests


def becomes(request: Request) -> Json | None:
    """The digests of the change set's template, if this attempt has just made it."""
    digests: Json | None = request.proposal.subject["template"] if request.proposal and _seen(request) else None
    return digests


def _seen(request: Request) -> Json:
    found: Json = request.proposal.handle.get(SEEN, {}) if request.fresh and request.proposal else {}
    return found


def _base(request: Request) -> Json:
    return (request.proposal.subject["base"] or {}) if request.proposal else {}


def _changed_at(stack: Json) -> str:
    return str((stack.get("LastUpdatedTime") or stack["CreationTime"]).isoformat())
