"""What a deployment's proposal says: the subject, which people approve and `apply` compares. Pure.

Two proposals with equal subjects do the same thing to the same thing. So nothing of chance is in a subject: no ARN of a
change set, no time, no order of lists that the service may give either way. Approvals name a subject by its digest: to
change its form is to void them, so `VERSION` goes up with it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from stages.deploy.precheck import declared_parameters, scalar, secret_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stages.contract import Json, Target
    from stages.deploy.release import Release
    from stages.template.tree import Template

VERSION = 1


def build(
    release: Release, target: Target, *, way: str, change_set: Json | None, template: Json, base: Json | None
) -> Json:
    """The subject of deploying a release to a target.

    `change_set` is CloudFormation's description of it, None if there is nothing to change. `template` holds the digests
    of what CloudFormation was given and made of it, `base` what runs there now (None: nothing).
    """
    return {
        "v": VERSION,
        "target": identity(target),
        "release": release.digest,
        "images": {
            name: {"config": image.config, "manifest": image.manifest, "image": image.uri}
            for name, image in sorted(release.images.items())
        },
        "template": template,
        "parameters": parameters(release.template, target, change_set),
        "changes": normalise(change_set["Changes"]) if change_set else [],
        "nothing_to_do": change_set is None,
        "execution": {
            "type": way,
            "capabilities": sorted(target.capabilities),
            "tags": dict(sorted(target.tags.items())),
            "disable_rollback": False,
            "retain_except_on_create": False,
        },
        "base": base,
    }


def identity(target: Target) -> Json:
    """Which stack of the world this is; the environment's name is only what we call it."""
    return {
        "partition": target.partition,
        "account": target.account,
        "region": target.region,
        "stack": target.stack,
    }


def normalise(changes: Sequence[Any]) -> list[Json]:
    """A change set's changes without what differs between two of the same: ARNs, physical ids, order."""
    made = [_change(each["ResourceChange"]) for each in changes if each.get("Type", "Resource") == "Resource"]
    return sorted(made, key=lambda change: (change["logical_id"], change["action"], _canonical(change)))


def _change(change: Any) -> Json:
    details = {_canonical(each): each for each in map(_detail, change.get("Details", []))}
    made = {
        "action": change["Action"],
        "logical_id": change["LogicalResourceId"],
        "type": change["ResourceType"],
        "replacement": change.get("Replacement"),
        "scope": sorted(change.get("Scope", [])),
        "properties": [details[key] for key in sorted(details)],
    }
    policy = change.get("PolicyAction")  # what becomes of the data: Delete, Retain, Snapshot, ReplaceAnd...
    return {**made, "policy": policy} if policy else made


def _detail(detail: Any) -> Json:
    target = detail.get("Target", {})
    return {
        "attribute": target.get("Attribute"),
        "name": target.get("Name"),
        "recreation": target.get("RequiresRecreation"),
        "evaluation": detail.get("Evaluation"),
        "source": detail.get("ChangeSource"),
        "cause": detail.get("CausingEntity"),
    }


def parameters(template: Template, target: Target, change_set: Json | None) -> Json:
    """Every parameter with the value it gets: the environment's, else the default; secrets only as a digest.

    What CloudFormation shows in the change set has the last word, and tells what a late-bound one stands for now.
    """
    secret = secret_parameters(template)
    shown = {each["ParameterKey"]: each for each in (change_set or {}).get("Parameters", [])}
    found: Json = {}
    for name, node in sorted(declared_parameters(template).items()):
        value = target.parameters.get(name, scalar(node.get("Default")))
        if name in secret:
            found[name] = {"digest": secret_digest(target, name, value or "")}
            continue
        seen = shown.get(name, {})
        found[name] = {"value": seen.get("ParameterValue", value)}
        if "ResolvedValue" in seen:
            found[name]["resolved"] = seen["ResolvedValue"]
    return found


def secret_digest(target: Target, name: str, value: str) -> str:
    """A digest that is equal for equal secrets of one target, and dear to guess from (a record may be public)."""
    salt = _canonical([identity(target), name]).encode()
    return "scrypt:" + hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex()


def template_digest(body: str | Json | None) -> str | None:
    """The digest of a template as CloudFormation gives it back: text as it is, an object in canonical JSON."""
    if body is None:
        return None
    text = body if isinstance(body, str) else _canonical(body)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two subjects differ, as dotted names."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif ours != theirs:
        yield path


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
