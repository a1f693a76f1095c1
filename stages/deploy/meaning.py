"""What a change of a stack means, in words: what loses data, which rights widen, what opens to everybody. Pure.

The templates are those that CloudFormation made of what it was given (`Processed`), before and after, as plain values. Nothing is
resolved: two rights are equal if they are written equally. So a right that is only written otherwise is told of as a new
one, and none that is new is passed over. What a nested stack changes is told by the change of that stack alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stages.template.tree import Alias, Mapping, Sequence, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages.contract import Json
    from stages.template.tree import Node

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
"""Sentences: nobody reads more, and what is lost comes first."""
_KEEPS = ("Retain", "Snapshot", "RetainExceptOnCreate")
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method")
_OPEN = "opens to everybody, without authorization"


def explain(changes: list[Json], before: Any, after: Any) -> list[str]:
    """Say what people have to know before they approve; nothing if there is nothing of this kind.

    `changes` are a subject's; `before` and `after` are the templates' bodies as `plain` gives them, None where there is none.
    """
    old, new = _resources(before), _resources(after)
    told = list(dict.fromkeys([*_losses(changes, old, new), *_new(old, new, _allowed), *_new(old, new, _open)]))
    more = [f"and {len(told) - MOST_TOLD} more of the kind of the last"] if len(told) > MOST_TOLD else []
    return told[:MOST_TOLD] + more


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


def _resources(template: Any) -> dict[str, Json]:
    found = template.get("Resources") if isinstance(template, dict) else None
    return {name: each for name, each in (found or {}).items() if isinstance(each, dict)}


def _properties(resource: Json) -> Json:
    found = resource.get("Properties")
    return found if isinstance(found, dict) else {}


def _losses(changes: list[Json], old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    """What is deleted, or made anew beside the old one, and what becomes of its data."""
    for change in changes:
        name, holds = change["logical_id"], change["type"] in HOLDS_DATA
        what = f"{name} ({change['type']})"
        if change["action"] == "Remove":
            kept = _kept(change, old.get(name, {}), "DeletionPolicy")
            if kept:
                yield f"{what} leaves the stack and stays: {kept}"
            else:
                yield f"{what} is deleted{', with all that is in it' if holds else ''}"
        elif change["action"] == "Modify" and change["replacement"] in ("True", "Conditional"):
            word = "is replaced by a new one" if change["replacement"] == "True" else "may be replaced by a new one"
            kept = _kept(change, new.get(name, {}), "UpdateReplacePolicy")
            fate = f"the old one stays: {kept}" if kept else "the old one is deleted, with all that is in it"
            yield f"{what} {word}{f', which is empty; {fate}' if holds else ''}"


def _kept(change: Json, resource: Json, attribute: str) -> str | None:
    """The policy by which a resource, or its data, outlives this; the change set has the last word."""
    policy = str(change.get("policy") or "").removeprefix("ReplaceAnd")
    stated = str(resource.get(attribute) or "")
    return next((each for each in (policy, stated) if each in _KEEPS), None)


def _new(old: dict[str, Json], new: dict[str, Json], tell: Callable[[Json], Iterator[str]]) -> Iterator[str]:
    """What is told of a resource that was not told of it before: what somebody may from now on, what opens from now on."""
    for name, resource in sorted(new.items()):
        before = set(tell(old.get(name, {})))
        yield from (f"{name} ({resource.get('Type')}): {each}" for each in sorted(set(tell(resource)) - before))


def _allowed(resource: Json) -> Iterator[str]:
    """The rights that a resource gives, each as a sentence's end."""
    type_, properties = resource.get("Type"), _properties(resource)
    if type_ == "AWS::IAM::Role":
        yield from _statements(properties.get("AssumeRolePolicyDocument"), "is a role for")
        for policy in _list(properties.get("Policies")):
            yield from _statements(policy.get("PolicyDocument") if isinstance(policy, dict) else None, "may also")
    elif type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::UserPolicy", "AWS::IAM::RolePolicy"):
        yield from _statements(properties.get("PolicyDocument"), "lets its owners also")
    elif type_ == "AWS::Lambda::Permission":
        source = _short(properties.get("SourceArn") or properties.get("SourceAccount") or "anything of its")
        yield f"{_short(properties.get('Principal'))} may call {_short(properties.get('FunctionName'))} for {source}"
    elif "PolicyDocument" in properties:
        yield from _statements(properties["PolicyDocument"], "lets others also")
    for arn in _list(properties.get("ManagedPolicyArns")):
        yield f"has the managed policy {_short(arn)}"


def _statements(document: Any, verb: str) -> Iterator[str]:
    for statement in _list(document.get("Statement") if isinstance(document, dict) else None):
        if not isinstance(statement, dict) or statement.get("Effect") != "Allow":
            continue
        if verb == "is a role for":
            yield from (f"{verb} {_short(each)}" for each in _principals(statement))
            continue
        who = "".join(f" for {_short(each)}" for each in _principals(statement))
        actions = _list(statement.get("Action")) or [{"all but": statement.get("NotAction")}]
        on = _list(statement.get("Resource")) or [{"all but": statement.get("NotResource")}]
        if_ = " under a condition" if statement.get("Condition") else ""
        for action in actions:
            yield from (f"{verb} {_short(action)} on {_short(each)}{who}{if_}" for each in on)


def _principals(statement: Json) -> list[Any]:
    told = statement.get("Principal")
    return [each for value in told.values() for each in _list(value)] if isinstance(told, dict) else _list(told)


def _open(resource: Json) -> Iterator[str]:
    type_, properties = resource.get("Type"), _properties(resource)
    if type_ == "AWS::Lambda::Url" and properties.get("AuthType") == "NONE":
        yield f"the function's address {_OPEN}"
    elif type_ == "AWS::ApiGateway::Method":
        keyed = str(properties.get("ApiKeyRequired", "false")).lower() == "true"
        if (
            properties.get("AuthorizationType", "NONE") == "NONE"
            and not keyed
            and properties.get("HttpMethod") != "OPTIONS"
        ):
            yield f"{properties.get('HttpMethod')} on {_short(properties.get('ResourceId'))} {_OPEN}"
    elif type_ == "AWS::ApiGatewayV2::Route" and properties.get("AuthorizationType", "NONE") == "NONE":
        yield f"{_short(properties.get('RouteKey'))} {_OPEN}"
    elif type_ in ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"):
        yield from _open_paths(properties.get("Body"))


def _open_paths(body: Any) -> Iterator[str]:
    """The methods of an OpenAPI document that ask for no authorization."""
    if not isinstance(body, dict) or not isinstance(body.get("paths"), dict):
        return
    for path, item in body["paths"].items():
        for method, operation in item.items() if isinstance(item, dict) else ():
            if method.lower() not in _METHODS or method.lower() == "options" or not isinstance(operation, dict):
                continue
            asked = operation.get("security", body.get("security"))
            if not asked or {} in asked:
                word = "ANY" if method.startswith("x-") else method.upper()
                yield f"{word} {path} {_OPEN}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _short(value: Any) -> str:
    """A value as people read it: text as it is, `{"Fn::Sub": "x"}` as x, references by name, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        (name, inner), *_ = value.items()
        if name == "Ref" and isinstance(inner, str):
            return inner
        if name == "Fn::Sub":
            return _short(inner[0] if isinstance(inner, list) and inner else inner)
        if name == "Fn::GetAtt":
            return ".".join(map(str, inner)) if isinstance(inner, list) else str(inner)
        if name == "all but":
            return f"all but {', '.join(map(_short, _list(inner)))}" if inner else "everything"
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
