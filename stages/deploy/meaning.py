"""What a change of a stack means, in words: what loses data, which rights widen, what opens to everybody. Pure.

The templates are those that CloudFormation made of what it was given (`Processed`), before and after, as plain values, by the path of
their stack, with what is known of parameters and conditions put in (`stages.deploy.settled`). Of the rest nothing is resolved: two
rights are equal if they are written equally. So a right that is only written otherwise is told of as a new one, and none that is new is
passed over.

Where there is no change set for a nested stack, what it changes is told by comparing its templates.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stages.deploy import rights
from stages.deploy.rights import properties_of
from stages.deploy.settled import hidden
from stages.deploy.subject import STACK
from stages.template.functions import full_id
from stages.template.tree import Alias, Mapping, Sequence, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Mapping as TMapping

    from stages.contract import Json
    from stages.template.tree import Node

    Templates = TMapping[str, Any]

HOLDS_DATA = frozenset(
    f"AWS::{each}"
    for each in (
        *(
            "DynamoDB::Table",
            "DynamoDB::GlobalTable",
            "S3::Bucket",
            "RDS::DBInstance",
            "RDS::DBCluster",
            "EFS::FileSystem",
        ),
        *(
            "SQS::Queue",
            "Kinesis::Stream",
            "Logs::LogGroup",
            "Cognito::UserPool",
            "SecretsManager::Secret",
            "EC2::Volume",
        ),
        *(
            "ElastiCache::CacheCluster",
            "ElastiCache::ReplicationGroup",
            "OpenSearchService::Domain",
            "Redshift::Cluster",
        ),
        *(
            "DocDB::DBCluster",
            "Neptune::DBCluster",
            "ECR::Repository",
            "KMS::Key",
            "SSM::Parameter",
            "Timestream::Table",
        ),
    )
)
"""Resources that lose what is in them when they are deleted."""
MOST_TOLD = 100
"""Sentences of one kind: nobody reads more."""
MOST_LEAVES = 5
"""Of one property: more are told by its name."""
_KEEPS = ("Retain", "Snapshot", "RetainExceptOnCreate")


def explain(changes: list[Json], before: Templates, after: Templates) -> list[str]:
    """Say what people have to know before they approve; nothing if there is nothing of this kind.

    `changes` are a subject's; `before` and `after` are the templates' bodies as `plain` gives them. One that is not known is None.
    """
    old, new = resources(before), resources(after)
    unseen = [
        each for each in changes if each["type"] == STACK and each["action"] != "Remove" and not each.get("nested")
    ]
    within = list(_compared([each["logical_id"] for each in unseen if not _unknown(each, before, after)], old, new))
    removed = list(_removed_with(changes, old))
    unknown = [
        f"{_what(each)}: what it changes is not known before it is done"
        for each in unseen
        if _unknown(each, before, after)
    ]
    return [
        *_most(unknown, "nested stacks of which nothing is known"),
        *_most(_losses([*changes, *within, *removed], old, new), "that are deleted or replaced"),
        *_most(_new(old, new, rights.opened), "that open to everybody"),
        *_most(_changed(old, new), "that run with other rights"),
        *_most(_new(new, _lasting(old, new), rights.denied), "that are no longer denied"),
        *_most(_new(old, new, rights.allowed), "rights"),
        *_most(_by_their_templates(within, old, new), "that change in nested stacks"),
    ]


def _most(told: Iterable[str], what: str) -> list[str]:
    """The first of some sentences, each once, and how many more there are. No kind of them can push another out of sight."""
    lines = list(dict.fromkeys(told))
    more = len(lines) - MOST_TOLD
    return lines[:MOST_TOLD] + ([f"and {more} more {what}"] if more > 0 else [])


def leaves(name: str, before: Json | None, after: Json | None) -> list[str]:
    """Where a property differs, as deep as both are maps: `Code` as `Code.ImageUri`. Just its name if it is written equally."""
    old, new = properties_of(before or {}).get(name), properties_of(after or {}).get(name)
    found = list(_differing(old, new, name))
    return found if 0 < len(found) <= MOST_LEAVES else [name]


def _differing(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict) and not _is_call(old) and not _is_call(new):
        for key in sorted({*old, *new}):
            yield from _differing(old.get(key), new.get(key), f"{path}.{key}")
    elif old != new:
        yield path


def _is_call(value: Json) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref"))


def plain(body: str | Json | None) -> Any:
    """A template's body as plain values: short forms (`!Sub x`) written out, numbers and booleans as their text. Raises InvalidInput."""
    if body is None:
        return None
    return json.loads(json.dumps(body, default=str)) if isinstance(body, dict) else _value(read(body.encode(), "").root)


def _value(node: Node) -> Any:
    if isinstance(node, Alias):
        raise TypeError("a tree's root has no aliases in it")
    value: Any
    if isinstance(node, Mapping):
        value = {str(key.value): _value(each) for key, each in node.named()}
    else:
        value = [_value(each) for each in node.items] if isinstance(node, Sequence) else node.value
    name = (node.tag or "").removeprefix("!")
    if not name or name == node.tag:
        return value
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


def resources(templates: Templates) -> dict[str, Json]:
    """The resources of templates by full id."""
    return {
        full_id(path, name): {**each, "Type": str(each.get("Type"))}
        for path, template in templates.items()
        if isinstance(template, dict) and isinstance(template.get("Resources"), dict)
        for name, each in template["Resources"].items()
        if isinstance(each, dict)
    }


def _what(change: Json) -> str:
    return f"{change['logical_id']} ({change['type']})"


def _unknown(change: Json, before: Templates, after: Templates) -> bool:
    """Whether one of a nested stack's templates is not to be had."""
    path = change["logical_id"]
    return after.get(path) is None or (change["action"] != "Add" and before.get(path) is None)


def _compared(paths: list[str], old: dict[str, Json], new: dict[str, Json]) -> Iterator[Json]:
    """Changes within nested stacks, in the form of a change set's, as far as their templates tell."""
    for name in sorted({*old, *new}):
        was, becomes = old.get(name), new.get(name)
        if was != becomes and any(name.startswith(f"{path}/") for path in paths):
            action = "Add" if was is None else "Remove" if becomes is None else "Modify"
            type_ = (becomes or was or {}).get("Type")
            replacement = "True" if was and becomes and was.get("Type") != becomes.get("Type") else None
            yield {"action": action, "logical_id": name, "type": type_, "replacement": replacement}


def _removed_with(changes: list[Json], old: dict[str, Json]) -> Iterator[Json]:
    """What goes with a nested stack that is deleted, if there is data in it."""
    gone = [each for each in changes if each["type"] == STACK and each["action"] == "Remove"]
    paths = [each["logical_id"] for each in gone if not _kept(each, old.get(each["logical_id"], {}), "DeletionPolicy")]
    told = {each["logical_id"] for each in changes}
    for name, resource in sorted(old.items()):
        if (
            name not in told
            and any(name.startswith(f"{path}/") for path in paths)
            and resource.get("Type") in HOLDS_DATA
        ):
            yield {"action": "Remove", "logical_id": name, "type": resource["Type"], "replacement": None}


def _by_their_templates(changes: list[Json], old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    """What changes in nested stacks without a change set of their own. What is removed is told with what is lost."""
    for change in changes:
        name = change["logical_id"]
        if change["action"] == "Add":
            yield f"{_what(change)} is added, by its template"
        elif change["action"] == "Modify":
            keys = sorted({*properties_of(old[name]), *properties_of(new[name])})
            differ = [key for key in keys if properties_of(old[name]).get(key) != properties_of(new[name]).get(key)]
            found = [leaf for key in differ for leaf in leaves(key, old[name], new[name])]
            yield f"{_what(change)} changes, by its template: {', '.join(found) or 'its attributes'}"


def _lasting(old: dict[str, Json], new: dict[str, Json]) -> dict[str, Json]:
    """What there was, without users and roles that go: what they were denied, nobody is allowed."""
    return {
        name: each
        for name, each in old.items()
        if name in new or each.get("Type") not in ("AWS::IAM::Role", "AWS::IAM::User")
    }


def _changed(old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    for name, resource in sorted(new.items()):
        yield from (f"{name} ({resource.get('Type')}): {each}" for each in rights.changed(old.get(name, {}), resource))


def _losses(changes: list[Json], old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    """What is deleted, or made anew beside the old one, and what becomes of its data. What may be made anew and holds none comes
    last, in one sentence."""
    perhaps: list[str] = []
    for change in changes:
        name, holds = change["logical_id"], change["type"] in HOLDS_DATA
        what = _what(change)
        if change["action"] == "Remove":
            kept = _kept(change, old.get(name, {}), "DeletionPolicy")
            if kept:
                yield f"{what} leaves the stack and stays: {kept}"
            else:
                yield f"{what} is deleted{', with all that is in it' if holds or change['type'] == STACK else ''}"
        elif change["action"] == "Modify" and change["replacement"] == "Conditional" and not holds:
            perhaps.append(name)
        elif change["action"] == "Modify" and change["replacement"] in ("True", "Conditional"):
            word = "is replaced by a new one" if change["replacement"] == "True" else "may be replaced by a new one"
            kept = _kept(change, new.get(name, {}), "UpdateReplacePolicy")
            fate = f"the old one stays: {kept}" if kept else "the old one is deleted, with all that is in it"
            yield f"{what} {word}{f', which is empty; {fate}' if holds else ''}"
    if perhaps:
        yield f"{', '.join(perhaps)} may be replaced by {'a new one' if len(perhaps) == 1 else 'new ones'}"


def _kept(change: Json, resource: Json, attribute: str) -> str | None:
    """The policy by which a resource, or its data, outlives this; the change set has the last word."""
    policy = str(change.get("policy") or "").removeprefix("ReplaceAnd")
    stated = str(resource.get(attribute) or "")
    return next((each for each in (policy, stated) if each in _KEEPS), None)


def _new(old: dict[str, Json], new: dict[str, Json], tell: Callable[[Json], Iterator[rights.Told]]) -> Iterator[str]:
    """What is told of a resource that was not told of it before: what somebody may from now on, what opens from now on."""
    for name, resource in sorted(new.items()):
        told = set(tell(resource)) - set(tell(hidden(old.get(name, {}))))
        yield from (f"{name} ({resource.get('Type')}): {each}" for each in rights.sentences(told))
