"""What came of an execution, in words: the first reason of a failure, images that are not the release's. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from stages.aws import following
from stages.contract import StageError
from stages.deploy.states import remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stages.aws.lambda_ import LiveFunction
    from stages.contract import Access, Json, Target
    from stages.deploy.release import Image, Release

OURS = "towpath-"
"""What our request tokens begin with; the attempt's handle follows."""
_LEAVES_NOTHING = {
    "UPDATE_ROLLBACK_COMPLETE": "The stack is as it was before.",
    "DELETE_COMPLETE": "The stack could not be made, and is deleted, as was asked for.",
}
"""What a failure leaves where nothing has to be freed."""


def again(message: str) -> StageError:
    """The proposal no longer holds; another must be made, and approved where it differs."""
    return StageError(message, hint="Nothing was done. `towpath resume` makes another proposal.", cls="moved")


def overtaken(stack: str) -> StageError:
    """What an earlier attempt began has ended well, and what runs now is not that any more."""
    return StageError(
        f"what was begun here ended well, and the stack {stack} was changed again after that",
        hint="What runs there now is somebody else's. `towpath resume` looks whether this is still to be deployed.",
        cls="moved",
    )


def busy(stack: Json, begun: Json | None) -> StageError:
    """Somebody is at the stack; `begun` is the event with which they began, if it is known."""
    token = str((begun or {}).get("ClientRequestToken") or "")
    who = "somebody else"
    if token.startswith(OURS):
        who = f"attempt {token.removeprefix(OURS)} of Towpath's"
    elif token:
        who += f" (request token {token})"
    since = f" since {begun['Timestamp']:%Y-%m-%d %H:%M:%S} UTC" if begun else ""
    return StageError(
        f"the stack {stack['StackName']} is in state {stack['StackStatus']}{since}: {who} is changing it",
        hint="Nothing was done. Wait until it is over, then `towpath resume`.",
        cls="blocked",
    )


def failure(closing: Json, reasons: Sequence[str], target: Target) -> StageError:
    """Why an operation failed, by its reasons."""
    status, stack = closing["ResourceStatus"], closing["LogicalResourceId"]
    if status in _LEAVES_NOTHING:
        hint = f"{_LEAVES_NOTHING[status]} Correct the cause, then `{following.anew(target)}`."
    else:
        hint = f"Correct the cause. {remedy(status, target)}"
    lines = [*reasons, f"The stack {stack} ended as {status}."]
    return StageError("\n  ".join(lines), hint=hint)


def wrong_images(release: Release, running: dict[str, str | None]) -> list[str]:
    """Functions that do not run the release's image. `running` is what Lambda resolved each one's image to."""
    problems = []
    for name, image in release.images.items():
        if name not in running:
            if not release.is_conditional(name):
                problems.append(f"the stack has no function {name}, though the release does")
            continue
        if _is_other(running[name], image):
            problems.append(f"{name} runs {running[name] or 'no image'}, but the release says {image.uri}")
    return problems


def _is_other(running: str | None, image: Image) -> bool:
    return (running or "").rpartition("@")[2] != image.manifest


def put_back(release: Release, functions: dict[str, LiveFunction], target: Target, access: Access) -> str:
    """How to make functions run the release's images again: CloudFormation sees no difference, so it would change nothing."""
    others = [
        (functions[name].name, image.uri)
        for name, image in release.images.items()
        if name in functions and _is_other(functions[name].image, image)
    ]
    before, after = "", f" --region {target.region}"
    if target.embedded:
        before = f"AWS_ACCESS_KEY_ID={target.account} AWS_SECRET_ACCESS_KEY=embedded "
        after += f" --endpoint-url {access.endpoint_url}"
    elif access.profile:
        after += f" --profile {shlex.quote(access.profile)}"
    commands = [
        f"  {before}aws lambda update-function-code --function-name {name} --image-uri {uri}{after}"
        for name, uri in others
    ]
    if not commands:
        return "Find out what removed it from the template: a macro? Then start a new run (`towpath run`)."
    why = "Somebody changed it past CloudFormation, which therefore sees nothing to do."
    return "\n".join([f"{why} Find out who, put it back, and go on with `towpath resume`:", *commands])


def facts(deployment: Json) -> Json:
    """What the record and the report say of a deployment."""
    outputs = deployment["outputs"]
    return {
        "stack": deployment["stack"]["name"],
        "outputs": {name: each["value"] for name, each in outputs.items()},
        "endpoints": {name: each["url"] for name, each in outputs.items() if each["url"]},
        "functions": {name: {"image": each["image"]} for name, each in deployment["functions"].items()},
    }
