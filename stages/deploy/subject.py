"""What a deployment's proposal says: the subject, which people approve and `apply` compares. Pure.

Two proposals with equal subjects do the same thing to the same thing. So nothing of chance is in a subject: no ARN of a
change set, no time, no order of lists that the service may give either way. Approvals name a subject by its digest: to
change its form is to void them, so `VERSION` goes up with it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from stages.deploy import parameters as values
from stages.deploy.precheck import secret_parameters
from stages.template.functions import full_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stages.contract import Json, Target
    from stages.deploy.release import Release
    from stages.template.tree import Template

VERSION = 2
STACK = "AWS::CloudFormation::Stack"
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What AWS says of what would be done, and of what is there.

    `way` is how the change set is made. `change_set` is CloudFormation's description of it, None if there is nothing to
    change; `nested` has those of the stacks in it by their ARN. `template` holds the digests of what CloudFormation was given
    and made of it, `base` what runs there now (None: nothing), `late_bound` what is looked up elsewhere only when it is executed.
    """

    way: str
    change_set: Json | None
    template: Json
    base: Json | None
    nested: Mapping[str, Json] = field(default_factory=dict)
    late_bound: Json = field(default_factory=dict)


def build(release: Release, target: Target, found: Found) -> Json:
    """The subject of deploying a release to a target."""
    change_set = found.change_set
    return {
        "v": VERSION,
        "target": identity(target),
        "release": release.digest,
        "images": {
            name: {"config": image.config, "manifest": image.manifest, "image": image.uri}
            for name, image in sorted(release.images.items())
        },
        "template": found.template,
        "parameters": parameters(release.template, target, change_set, found.base),
        "late_bound": found.late_bound,
        "changes": normalise(change_set["Changes"], found.nested) if change_set else [],
        "nothing_to_do": change_set is None,
        "execution": {
            "type": found.way,
            "capabilities": sorted(target.capabilities),
            "tags": dict(sorted(target.tags.items())),
            "service_role": target.service_role or (found.base or {}).get("service_role"),
            "notification_arns": sorted(target.notification_arns),
            "on_failure": on_failure(target, found.way),
            "retain_except_on_create": target.retain_except_on_create,
        },
        "base": found.base,
    }


def on_failure(target: Target, way: str) -> str:
    """What becomes of the stack if this fails: one that is there is not deleted."""
    return "rollback" if target.on_failure == "delete" and way != "CREATE" else target.on_failure


def execution(subject: Json) -> dict[str, bool]:
    """What a subject says that ExecuteChangeSet is told. (A stack that is to be deleted is said when the change set is made.)"""
    how = subject["execution"]
    return {
        "disable_rollback": how["on_failure"] == "do-nothing",
        "retain_except_on_create": how["retain_except_on_create"],
    }


def identity(target: Target) -> Json:
    """Which stack of the world this is; the environment's name is only what we call it."""
    return {
        "partition": target.partition,
        "account": target.account,
        "region": target.region,
        "stack": target.stack,
    }


def normalise(changes: Sequence[Any], nested: Mapping[str, Json] | None = None) -> list[Json]:
    """A change set's changes without what differs between two of the same: ARNs, physical ids, order.

    Those of the stacks in it are known by their full id (`Child/Function`).
    """
    made = list(_changes(changes, nested or {}, ""))
    return sorted(made, key=lambda change: (change["logical_id"], change["action"], _canonical(change)))


def _changes(changes: Sequence[Any], nested: Mapping[str, Json], path: str) -> Iterator[Json]:
    for each in changes:
        if each.get("Type", "Resource") == "Resource":
            change = each["ResourceChange"]
            inner = nested.get(change.get("ChangeSetId", ""))
            yield _change(change, path, inner)
            if inner:
                yield from _changes(inner.get("Changes", []), nested, full_id(path, change["LogicalResourceId"]))


def _change(change: Any, path: str, inner: Json | None) -> Json:
    details = {_canonical(each): each for each in map(_detail, change.get("Details", []))}
    made = {
        "action": change["Action"],
        "logical_id": full_id(path, change["LogicalResourceId"]),
        "type": change["ResourceType"],
        "replacement": change.get("Replacement"),
        "scope": sorted(change.get("Scope", [])),
        "properties": [details[key] for key in sorted(details)],
    }
    policy = change.get("PolicyAction")  # what becomes of the data: Delete, Retain, Snapshot, ReplaceAnd...
    made |= {"policy": policy} if policy else {}
    return made | ({"nested": inner is not None} if change["ResourceType"] == STACK else {})


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


def parameters(template: Template, target: Target, change_set: Json | None, base: Json | None) -> Json:
    """Every parameter with the value it gets, and where that comes from; secrets only as a digest, None of one that the stack keeps.

    What CloudFormation shows in the change set has the last word, and tells what a late-bound one stands for.
    """
    before = (base or {}).get("parameters", {})
    secret = secret_parameters(template)
    shown = {each["ParameterKey"]: each for each in (change_set or {}).get("Parameters", [])}
    found: Json = {}
    for name, source in sorted(values.sources(template, target, before).items()):
        given = {"environment": target.parameters, "stack": before}.get(source, {})
        value, seen = given.get(name, values.default(template, name)), shown.get(name, {})
        if name in secret:
            found[name] = {"digest": None if source == "stack" else secret_digest(target, name, value or "")}
        else:
            found[name] = {"value": seen.get("ParameterValue", value)}
        if name not in secret and values.is_stored(template, name) and seen:
            found[name]["resolved"] = seen.get("ResolvedValue") or seen.get(
                "ParameterValue"
            )  # the embedded AWS says it there
        found[name]["from"] = source
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


def untouched(subject: Json, functions: Mapping[str, T]) -> dict[str, T]:
    """Those of some functions, by their full ids, that the changes leave alone. In a nested stack without a change set all may change."""
    changed = {each["logical_id"] for each in subject["changes"]}
    unseen = tuple(f"{each['logical_id']}/" for each in subject["changes"] if each.get("nested") is False)
    return {name: each for name, each in functions.items() if name not in changed and not name.startswith(unseen)}


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two subjects differ, as dotted names."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif ours != theirs:
        yield path


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
