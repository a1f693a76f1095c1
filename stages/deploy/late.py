"""Values that CloudFormation looks up elsewhere when it changes the stack: dynamic references, and what they stand for now.

What is proposed may be approved for days, and such a value may be changed in between without any trace in the template. So the
version that it has now is part of the subject, and `apply` looks again. The secret ones are never read: their version tells enough.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from stages.aws import retry
from stages.log import log
from stages.template.functions import full_id
from stages.template.resolve import Unresolvable, resolve_text
from stages.template.tree import Mapping, Scalar, Sequence, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.aws.session import Session
    from stages.contract import Json, Target
    from stages.deploy.release import Release
    from stages.template import Stack
    from stages.template.tree import Node

Service = Literal["ssm", "ssm-secure", "secretsmanager"]

NAMES_A_CALL = 10
"""GetParameters' limit."""
SHOWN_CHARACTERS = 200
_REFERENCE = re.compile(r"\{\{resolve:(ssm|ssm-secure|secretsmanager):((?:\$\{[^}]*\}|[^{}])+)\}\}")
_MISSING = ("ResourceNotFoundException", "ParameterNotFound")
_SECRET_ARN = 7
"""Parts of a secret's ARN between its colons."""


@dataclass(frozen=True)
class Reference:
    """A dynamic reference. `version` is the one that it asks for, `stage` the one of Secrets Manager's labels; without either it is
    the newest. `name` is None if only CloudFormation can tell it.
    """

    service: Service
    name: str | None
    version: str | None = None
    stage: str | None = None


def look(session: Session, release: Release, target: Target) -> Json:
    """Every dynamic reference by its text: where it stands (`at`), its `version` now, and the `value` of a plain one.

    One that nobody can watch has the reason instead (`unwatched`). Raises StageError if AWS cannot be asked at all.
    """
    places = references(release, target)
    parsed = {text: parse(text, stack) for text, (_, stack) in places.items()}
    stored = _parameters(session, sorted({_stored(each) for each in parsed.values() if _is_parameter(each)}))
    return {
        text: {"at": sorted(places[text][0])} | _now(session, each, stored) for text, each in sorted(parsed.items())
    }


def references(release: Release, target: Target) -> dict[str, tuple[set[str], Stack]]:
    """The text of each dynamic reference, with the places that it stands in, and the stack of one of them. Pure."""
    found: dict[str, tuple[set[str], Stack]] = {}
    for stack in release.stacks.values():
        for place, text in _texts(stack.template.root, ()):
            for match in _REFERENCE.finditer(text):
                found.setdefault(match.group(), (set(), stack))[0].add(_place(stack.path, place))
    for name, value in target.parameters.items():
        for match in _REFERENCE.finditer(value):
            found.setdefault(match.group(), (set(), release.stacks[""]))[0].add(f"the parameter {name}")
    return found


def parse(text: str, stack: Stack) -> Reference:
    """What a reference's text asks for; parameters of the template are put in. Pure."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    service: Any = match[1]
    try:
        asked = _put_in(match[2], stack) if "${" in match[2] else match[2]
    except Unresolvable:
        return Reference(service, None)
    if service != "secretsmanager":
        name, _, version = asked.rpartition(":")
        return Reference(service, name, version) if name and version.isdecimal() else Reference(service, asked)
    parts = asked.split(":")
    ends = _SECRET_ARN if asked.startswith("arn:") else 1
    rest = [*parts[ends:], "", "", "", ""]  # the word SecretString, a key, a stage, a version
    return Reference(service, ":".join(parts[:ends]), rest[3] or None, rest[2] or None)


def _put_in(text: str, stack: Stack) -> str:
    """A text with the template's parameters put in, as Fn::Sub does. Raises Unresolvable."""
    (call,) = read(json.dumps({"x": {"Fn::Sub": text}}).encode(), "").root.pairs
    return resolve_text(call[1], stack.scope)


def _texts(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, Scalar):
        yield path, node.value
    elif isinstance(node, Mapping):
        for key, value in node.named():
            yield from _texts(value, (*path, key.value))
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _texts(item, path)


def _place(stack: str, path: tuple[str, ...]) -> str:
    """A path as people name it: `Child/Fn.Environment.Variables.LEVEL`, without what is there for functions of the template."""
    plain = [each for each in path if not each.startswith("Fn::") and each != "Properties"]
    if plain[:1] == ["Resources"] and len(plain) > 1:
        return ".".join([full_id(stack, plain[1]), *plain[2:]])
    return f"{stack}: {'.'.join(plain)}" if stack else ".".join(plain)


def _is_parameter(reference: Reference) -> bool:
    return reference.service != "secretsmanager" and reference.name is not None


def _stored(reference: Reference) -> str:
    return f"{reference.name}:{reference.version}" if reference.version else str(reference.name)


def _now(session: Session, reference: Reference, stored: dict[str, Json] | None) -> Json:
    """What a reference stands for now."""
    if reference.name is None:
        return {"unwatched": "only CloudFormation can tell its name"}
    if reference.service == "secretsmanager":
        return {"version": reference.version} if reference.version else _secret(session, reference)
    if stored is None:
        return {"version": reference.version} if reference.version else {"unwatched": "we may not read it"}
    parameter = stored.get(_stored(reference))
    if parameter is None:
        return {"unwatched": "there is no such parameter"}
    version = {"version": str(parameter["Version"])}
    return version | ({"value": parameter["Value"]} if parameter["Type"] != "SecureString" else {})


def _parameters(session: Session, names: list[str]) -> dict[str, Json] | None:
    """Parameters of Parameter Store by the name asked for, secret ones as ciphertext; None if we may not read them."""
    from botocore.exceptions import ClientError

    doing = "looking at the parameters that the template refers to"
    found: dict[str, Json] = {}
    with retry.explained(doing):
        for start in range(0, len(names), NAMES_A_CALL):
            some = names[start : start + NAMES_A_CALL]
            try:
                answer: Any = retry.call(partial(session.ssm.get_parameters, Names=some), doing=doing)
            except ClientError as error:
                if retry.meaning(error) != "denied":
                    raise
                log(f"not allowed while {doing}; going on without", level="warning", skipped=True)
                return None
            for each in answer["Parameters"]:
                names_of_it = (f"{each[key]}{each.get('Selector', '')}" for key in ("Name", "ARN"))
                found |= {name: each for name in names_of_it if name in some}
    return found


def _secret(session: Session, reference: Reference) -> Json:
    """The version of a secret that has the stage which is asked for; its value is not read."""
    from botocore.exceptions import ClientError

    doing = f"looking at the secret {reference.name}"
    with retry.explained(doing):
        try:
            answer: Any = retry.call(
                lambda: session.secrets_manager.describe_secret(SecretId=str(reference.name)), doing=doing
            )
        except ClientError as error:
            if retry.code(error) in _MISSING:
                return {"unwatched": "there is no such secret"}
            if retry.meaning(error) != "denied":
                raise
            log(f"not allowed while {doing}; going on without", level="warning", skipped=True)
            return {"unwatched": "we may not look at it (secretsmanager:DescribeSecret)"}
    wanted = reference.stage or "AWSCURRENT"
    having = [version for version, stages in (answer.get("VersionIdsToStages") or {}).items() if wanted in stages]
    return {"version": having[0]} if having else {"unwatched": f"it has no version that is {wanted}"}
