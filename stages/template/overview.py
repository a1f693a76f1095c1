"""What a template asks of whoever deploys it: parameters, image functions, endpoints that anybody may call. Pure."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.template import references
from stages.template.application import NESTED
from stages.template.functions import SERVERLESS, SLOTS, full_id
from stages.template.resolve import Unresolvable, resolve, text
from stages.template.resources import LOOP, find
from stages.template.tree import Mapping, Scalar, Sequence, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.template.application import Application, Stack
    from stages.template.functions import Image
    from stages.template.resources import Resource
    from stages.template.tree import Node, Template

_APIS = {"Api": ("RestApiId", "Api"), "HttpApi": ("ApiId", "HttpApi")}
"""Events that make an endpoint: the property that names the API, and the section of Globals for APIs of that sort."""
_OWN = frozenset({"AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"})
"""APIs whose authorization stands elsewhere."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a template. `default` is None where there is none; `secret`: its value is not to be shown (NoEcho).

    `limits` are MinLength, MaxLength, MinValue and MaxValue, as far as they are set; `rule` is ConstraintDescription.
    """

    name: str
    type: str
    default: str | None
    secret: bool
    allowed: tuple[str, ...] = ()
    description: str | None = None
    pattern: str | None = None
    limits: dict[str, float] = field(default_factory=dict)
    rule: str | None = None

    def wrong(self, value: str) -> Wrong | None:
        """What of a value the template does not allow; None if it may be taken. Pure.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
        """
        if self.type.startswith("AWS::SSM::") or "{{resolve:" in value:  # what it stands for is looked up
            return None
        several = "List" in self.type
        values = [each.strip() for each in value.split(",")] if several else [value]
        found = ((each, self._allows(each, several=several)) for each in values)
        return next(
            (Wrong("the value given" if self.secret else repr(each), allows) for each, allows in found if allows), None
        )

    def _allows(self, value: str, *, several: bool) -> str | None:
        """What is allowed, where a value is not."""
        if self.allowed and value not in self.allowed:
            return f"It allows: {', '.join(self.allowed)}."
        if "Number" in self.type and not _is_number(value):
            return "It is a number."
        if self.pattern and not _matches(self.pattern, value):
            return self.rule or f"It matches {self.pattern}"
        return None if several and "Number" not in self.type else self._exceeds(value)

    def _exceeds(self, value: str) -> str | None:
        """Which limit a value, or its length, does not keep."""
        number = "Number" in self.type
        size, of, unit = (float(value), "Value", "") if number else (len(value), "Length", " characters")
        if size < (least := self.limits.get(f"Min{of}", size)):
            return self.rule or f"It is at least {least:g}{unit}."
        if size > (most := self.limits.get(f"Max{of}", size)):
            return self.rule or f"It is at most {most:g}{unit}."
        return None


@dataclass(frozen=True)
class Wrong:
    """A value that a parameter does not take: the value as it may be shown, and in a sentence what is allowed."""

    value: str
    allows: str


_LIMITS = ("MinLength", "MaxLength", "MinValue", "MaxValue")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text) is not None


def _matches(pattern: str, value: str) -> bool:
    """Whether a value matches, as far as Python reads the expression: CloudFormation's are Java's, which has more in its sets."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.fullmatch(pattern, value) is not None
    except (re.error, FutureWarning, DeprecationWarning):
        return True


def parameters(template: Template) -> dict[str, Parameter]:
    """The parameters that a template declares, in its order."""
    section = template.root.get("Parameters")
    pairs = section.named() if isinstance(section, Mapping) else ()
    return {key.value: _parameter(key.value, node) for key, node in pairs if isinstance(node, Mapping)}


def _parameter(name: str, node: Mapping) -> Parameter:
    allowed = node.get("AllowedValues")
    values = [text(each) for each in allowed.items] if isinstance(allowed, Sequence) else []
    return Parameter(
        name,
        text(node.get("Type")) or "String",
        text(node.get("Default")),
        (text(node.get("NoEcho")) or "").lower() == "true",
        tuple(each for each in values if each is not None),
        text(node.get("Description")),
        text(node.get("AllowedPattern")) or None,
        {name: float(limit) for name in _LIMITS if (limit := text(node.get(name)) or "") and _is_number(limit)},
        text(node.get("ConstraintDescription")) or None,
    )


def images(application: Application) -> dict[str, references.Reference | None]:
    """The image functions by their full ids, each with the image that its ImageUri names, whatever its Metadata says of building one."""
    found: dict[str, references.Reference | None] = {}
    for stack in application.stacks.values():
        for resource in stack.resources:
            if _is_image(resource):
                found[full_id(stack.path, resource.id)] = _reference(resource)
    return found


def _is_image(resource: Resource) -> bool:
    if resource.type not in SLOTS:
        return False
    return _resolved(find(resource.node, ("Properties", "PackageType")), resource) == "Image"


def _reference(resource: Resource) -> references.Reference | None:
    name = _resolved(find(resource.node, SLOTS[resource.type]), resource)
    try:
        return references.parse(name) if name else None
    except ValueError:
        return None


def _resolved(node: Node | None, resource: Resource) -> str | None:
    try:
        value = resolve(node, resource.scope) if node is not None else None
    except Unresolvable:
        return None
    return value if isinstance(value, str) else None


def is_packaged(application: Application) -> bool:
    """Whether there are image functions, and each one's image is in a registry: nothing is left to build."""
    found = images(application).values()
    return bool(found) and all(map(is_in_registry, found))


def is_in_registry(image: Image | None) -> bool:
    """Whether an image is one of a registry: there is nothing to build or to push."""
    return isinstance(image, references.Reference) and image.kind.startswith("registry")


def deciding(application: Application) -> frozenset[str]:
    """The root's parameters that may decide which images there are, and of what they are built: those named where that is said.

    Which values other parameters have makes no other release.
    """
    root = application.stacks[""]
    said = [node for resource in root.resources for node in _deciding(resource)]
    said += [
        node for name in ("Conditions", "Globals", "Mappings") if (node := root.template.root.get(name)) is not None
    ]
    said += [item for loop in _loops(root.template.root.get("Resources")) for item in loop.items[:2]]
    texts = {each.value for node in said for each in walk(node) if isinstance(each, Scalar)}
    names = parameters(root.template)
    return frozenset(name for name in names if any(name == text or f"${{{name}" in text for text in texts))


def _loops(section: Node | None) -> Iterator[Sequence]:
    """The loops in a section, those within others too."""
    for key, node in section.named() if isinstance(section, Mapping) else ():
        if key.value.startswith(LOOP) and isinstance(node, Sequence):
            yield node
            yield from _loops(node.items[-1] if node.items else None)


def _deciding(resource: Resource) -> Iterator[Node]:
    """The parts of a resource that say which image it is, or what is nested in it."""
    if resource.type not in SLOTS and resource.type not in NESTED:
        return
    properties = find(resource.node, ("Properties",))
    names = ("PackageType", "ImageUri", "Code", "Architectures", "Parameters", NESTED.get(resource.type, ""))
    parts = [find(properties, (name,)) for name in names]
    yield from (node for node in (*parts, resource.section("Metadata")) if node is not None)


def open_endpoints(application: Application) -> list[str]:
    """What anybody may call, once for each endpoint: `Function`, `Function Function Url`.

    As in SAM, the mere presence of `Auth` counts, on the event, on its API or in Globals; what it says is not judged.
    """
    return [
        full_id(stack.path, name)
        for stack in application.stacks.values()
        for resource in stack.resources
        for name in _open(stack, resource)
    ]


def _open(stack: Stack, resource: Resource) -> Iterator[str]:
    if resource.type == SERVERLESS:
        events = find(resource.node, ("Properties", "Events"))
        for _, event in events.named() if isinstance(events, Mapping) else ():
            kind = text(find(event, ("Type",)))
            if kind in _APIS and not _authorized(stack, event, *_APIS[kind]):
                yield resource.id
        if text(find(resource.node, ("Properties", "FunctionUrlConfig", "AuthType"))) == "NONE":
            yield f"{resource.id} Function Url"
    elif resource.type == "AWS::Lambda::Url" and text(find(resource.node, ("Properties", "AuthType"))) == "NONE":
        yield resource.id


def _authorized(stack: Stack, event: Node, reference: str, section: str) -> bool:
    if _says_auth(find(event, ("Properties",))) or _says_auth(find(stack.template.root, ("Globals", section))):
        return True
    name = _name(find(event, ("Properties", reference)))
    api = next((each for each in stack.resources if each.id == name), None)
    if api is None:
        return False
    properties = find(api.node, ("Properties",))
    return api.type in _OWN or _says_auth(properties) or _says_security(find(properties, ("DefinitionBody",)))


def _says_auth(node: Node | None) -> bool:
    auth = find(node, ("Auth",))
    return auth is not None and not (isinstance(auth, Mapping) and not auth.pairs)


def _says_security(node: Node | None) -> bool:
    """Whether a definition in OpenAPI says, at its top or of one of its methods, how callers prove who they are."""
    paths = find(node, ("paths",))
    methods = [
        method
        for _, path in (paths.named() if isinstance(paths, Mapping) else ())
        for _, method in (path.named() if isinstance(path, Mapping) else ())
    ]
    found = (find(each, ("security",)) for each in (node, *methods))
    return any(isinstance(each, Sequence) and each.items for each in found)


def _name(node: Node | None) -> str | None:
    """The logical id that `!Ref` names, or that is written out."""
    if node is None:
        return None
    if isinstance(node, Mapping):
        return text(node.get("Ref"))
    return getattr(node, "value", None)
