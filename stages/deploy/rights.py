"""Which rights the resources of a template give, and what they open to everybody: each as the end of a sentence. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.deploy.settled import branches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stages.contract import Json

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method")
_OPEN = "opens to everybody, without authorization"
_OPEN_CONTROLS = ("PublicRead", "PublicReadWrite", "AuthenticatedRead")
_POLICIES = ("PolicyDocument", "RepositoryPolicyText", "ResourcePolicy", "KeyPolicy")
"""Properties that hold a policy: of a resource, or of whom it is attached to."""
_OWN_POLICIES = frozenset(f"AWS::IAM::{each}Policy" for each in ("", "Managed", "User", "Role", "Group"))
"""What belongs to a user or role: who is meant does not stand in it."""
_PRINCIPALS = frozenset({"AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"})
_RUNS_AS = {"AWS::Lambda::Function": "Role", "AWS::StepFunctions::StateMachine": "RoleArn"}
"""Properties that say as whom something runs."""


@dataclass(frozen=True, order=True)
class Right:
    """What a statement says of one action on one thing."""

    verb: str
    action: str
    on: str
    rest: str = ""


Told = str | Right
"""The end of a sentence; of rights several are one sentence."""


def sentences(told: Iterable[Told]) -> list[str]:
    """The ends of sentences: rights that differ in the action alone, or in the thing alone, are told together; wide ones first."""
    actions: dict[tuple[str, str, str], list[str]] = {}
    for each in sorted(right for right in told if isinstance(right, Right)):
        actions.setdefault((each.verb, each.on, each.rest), []).append(each.action)
    things: dict[tuple[str, str, str], list[str]] = {}
    for (verb, on, rest), some in actions.items():
        things.setdefault((verb, ", ".join(some), rest), []).append(on)
    rights = [f"{verb} {some} on {', '.join(ons)}{rest}" for (verb, some, rest), ons in things.items()]
    return [
        *sorted(each for each in told if isinstance(each, str)),
        *sorted(rights, key=lambda each: ("*" not in each, each)),
    ]


def allowed(resource: Json) -> Iterator[Told]:
    """The rights that a resource gives."""
    type_, properties = resource.get("Type"), properties_of(resource)
    if type_ in _PRINCIPALS:
        yield from _statements(properties.get("AssumeRolePolicyDocument"), "is a role for")
        for policy in _list(properties.get("Policies")):
            yield from _statements(policy.get("PolicyDocument") if isinstance(policy, dict) else None, "may also")
        yield from (f"is in the group {_short(group)}" for group in _list(properties.get("Groups")))
    elif type_ in _OWN_POLICIES:
        yield from _statements(properties.get("PolicyDocument"), "lets its owners also")
        owners = (owner for key in ("Roles", "Users", "Groups") for owner in _list(properties.get(key)))
        yield from (f"belongs to {_short(owner)}" for owner in owners)
    elif type_ == "AWS::Lambda::Permission":
        source = properties.get("SourceArn") or properties.get("SourceAccount") or properties.get("PrincipalOrgID")
        who, what = _who(properties.get("Principal")), _short(properties.get("FunctionName"))
        whose = f" for {_short(source)}" if source else "" if who == "everybody" else " for whoever asks it to"
        yield f"{who} may call {what}{whose}"
    else:
        for key in _POLICIES:
            yield from _statements(properties.get(key), "lets others also")
    for arn in _list(properties.get("ManagedPolicyArns")):
        yield f"has the managed policy {_short(arn)}"


def denied(resource: Json) -> Iterator[Told]:
    """The denials of a resource's policies; where one goes, a right may come."""
    properties = properties_of(resource)
    documents = [each.get("PolicyDocument") for each in _list(properties.get("Policies")) if isinstance(each, dict)]
    for document in (*documents, *(properties.get(key) for key in _POLICIES)):
        yield from _statements(document, "no longer denies", "Deny")


def changed(before: Json, after: Json) -> Iterator[str]:
    """That a role or user loses its permissions boundary or gets another one, or that a function runs as another role."""
    role = _RUNS_AS.get(str(after.get("Type")), "")
    was, becomes = (properties_of(each).get(role) for each in (before, after))
    if was and was != becomes:
        yield f"runs as {_short(becomes)} instead of {_short(was)}"
    bound, other = (properties_of(each).get("PermissionsBoundary") for each in (before, after))
    if bound and other and other != bound:
        yield f"has the permissions boundary {_short(other)} instead of {_short(bound)}"
    elif bound and not other:
        yield f"loses its permissions boundary {_short(bound)}"


def _statements(document: Any, verb: str, effect: str = "Allow") -> Iterator[Told]:
    for statement in _statements_of(document):
        if not isinstance(statement, dict) or not _may_be(statement.get("Effect"), effect):
            continue
        condition = statement.get("Condition")
        if_ = f" under the condition {_short(condition)}" if condition else ""
        if verb == "is a role for":
            yield from (f"{verb} {_who(each)}{if_}" for each in _principals(statement))
            continue
        who = "".join(f" for {_who(each)}" for each in _principals(statement))
        actions = _list(statement.get("Action")) or [{"all but": statement.get("NotAction")}]
        on = _list(statement.get("Resource")) or [{"all but": statement.get("NotResource")}]
        for action in actions:
            yield from (Right(verb, _short(action), _short(each), f"{who}{if_}") for each in on)


def _statements_of(document: Any) -> list[Any]:
    documents = [each for each in _list(document) if isinstance(each, dict)]
    return [statement for each in documents for statement in _list(each.get("Statement"))]


def _who(principal: Any) -> str:
    return "everybody" if principal == "*" else _short(principal)


def _principals(statement: Json) -> list[Any]:
    told = [each for each in _list(statement.get("Principal")) if each]
    maps = [each for each in told if isinstance(each, dict) and not _is_call(each)]
    named = [each for some in maps for value in some.values() for each in _list(value)]
    return [*(each for each in told if each not in maps), *named]


def _is_call(value: Json) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref", "undecided"))


def opened(resource: Json) -> Iterator[Told]:
    """What a resource opens to everybody."""
    type_, properties = resource.get("Type"), properties_of(resource)
    if type_ == "AWS::Lambda::Url" and _may_be(properties.get("AuthType"), "NONE"):
        yield f"the function's address {_OPEN}"
    elif type_ == "AWS::ApiGateway::Method":
        keyed = _is_true(properties.get("ApiKeyRequired"))
        if (
            _may_be(properties.get("AuthorizationType"), "NONE", "NONE")
            and not keyed
            and properties.get("HttpMethod") != "OPTIONS"
        ):
            yield f"{properties.get('HttpMethod')} on {_short(properties.get('ResourceId'))} {_OPEN}"
    elif type_ == "AWS::ApiGatewayV2::Route" and _may_be(properties.get("AuthorizationType"), "NONE", "NONE"):
        yield f"{_short(properties.get('RouteKey'))} {_OPEN}"
    elif type_ in ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"):
        yield from (
            [f"every path {_OPEN}"] if properties.get("Target") else ()
        )  # a quick create, whose one route is open
        yield from _open_paths(properties.get("Body"))
    elif type_ == "AWS::S3::Bucket":
        yield from _open_bucket(properties)
    elif type_ in ("AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"):
        yield from _open_ports([properties, *_list(properties.get("SecurityGroupIngress"))])
    if type_ not in _OWN_POLICIES:
        yield from _open_policies(properties)


def _open_bucket(properties: Json) -> Iterator[str]:
    """New buckets are closed (since April 2023): what opens one is said in its template."""
    for control in _list(properties.get("AccessControl")):
        if control in _OPEN_CONTROLS:
            yield f"the bucket {_OPEN}: {control}"
    block = properties.get("PublicAccessBlockConfiguration")
    off = [key for key, value in block.items() if str(value).lower() == "false"] if isinstance(block, dict) else []
    if off:
        yield f"the bucket may be opened to everybody: {', '.join(sorted(off))} is off"


def _open_ports(rules: list[Any]) -> Iterator[str]:
    for rule in rules:
        if isinstance(rule, dict) and (rule.get("CidrIp") == "0.0.0.0/0" or rule.get("CidrIpv6") == "::/0"):
            first, last = str(rule.get("FromPort", "all")), str(rule.get("ToPort", rule.get("FromPort", "all")))
            yield f"{'port' if first == last else 'ports'} {first if first == last else f'{first} to {last}'} open to everybody"


def _open_policies(properties: Json) -> Iterator[str]:
    """Policies of a resource that let in whoever comes."""
    for key in _POLICIES:
        document = properties.get(key)
        for statement in _statements_of(document):
            if not isinstance(statement, dict) or statement.get("Effect") == "Deny" or statement.get("Condition"):
                continue
            if "*" in _principals(statement):
                actions = _list(statement.get("Action")) or ["everything but some actions"]
                yield from (f"{_short(each)} {_OPEN}" for each in actions)


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


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
    """The items of a list, or the one that stands for it; of what a condition chooses, all that it may choose."""
    some = value if isinstance(value, list) else [] if value is None else [value]
    chosen = [branch for each in some for branch in branches(each)]
    return [item for each in chosen for item in (_list(each) if isinstance(each, list) else [each])]


def _may_be(value: Any, wanted: str, default: str | None = None) -> bool:
    """Whether a property is just this, or may be, as only CloudFormation knows what it is."""
    found = _list(value) or [default]
    return any(each == wanted or (isinstance(each, dict) and "undecided" not in each) for each in found)


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


def properties_of(resource: Json) -> Json:
    found = resource.get("Properties")
    return found if isinstance(found, dict) else {}
