"""The resources of a template, those that loops make included: each by its logical id, with its place and its scope."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from stages.template.resolve import Unresolvable, resolve, scalar_type, substitute, text
from stages.template.tree import Mapping, Scalar, Sequence, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.contract import Problem
    from stages.template.resolve import Scope
    from stages.template.tree import Node, Template

Path: TypeAlias = "tuple[str | int, ...]"
"""Where a node stands in a template: keys, and places in lists from 0."""

LANGUAGE_EXTENSIONS = "AWS::LanguageExtensions"
LOOP = "Fn::ForEach::"
LOOP_ITEMS = 1_000
"""Resources that loops make in a template; CloudFormation takes at most 500 in all."""

_MACRO = "Fn::"  # Fn::ForEach::Name and Fn::Transform stand where resources do
_ID = re.compile(r"[A-Za-z0-9]{1,255}")
_ID_RULE = "CloudFormation's logical ids are 1 to 255 of the letters A-Z and a-z and the digits."


@dataclass(frozen=True)
class Slot:
    """A place for a value: the path of its stack, its path in that stack's template, and the loops' variables it is meant for.

    Slots of a loop's items have the same place, and differ in `loops`.
    """

    stack: str
    path: Path
    loops: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Resource:
    """A resource: its logical id, its type, its node and key, its path, and what names stand for in it."""

    id: str
    type: str
    key: Scalar
    node: Mapping
    path: Path
    scope: Scope

    def section(self, name: str) -> Mapping | None:
        node = self.node.get(name)
        return node if isinstance(node, Mapping) else None


def resources(template: Template, scope: Scope) -> tuple[list[Resource], list[Problem]]:
    """All resources of a template, and what is wrong with how they are written."""
    section = template.root.get("Resources")
    if section is None:
        return [], [template.problem(template.root, "the template has no Resources")]
    if not isinstance(section, Mapping):
        hint = "It maps logical ids to resources."
        return [], [template.problem(section, "Resources must be a map", hint)]
    collector = _Collector(template)
    collector.collect(section, ("Resources",), scope)
    return list(collector.resources.values()), collector.problems


def find(node: Node | None, path: Path) -> Node | None:
    """The node at a path, or None."""
    for key in path:
        if isinstance(key, str):
            node = node.get(key) if isinstance(node, Mapping) else None
        else:
            node = node.items[key] if isinstance(node, Sequence) and key < len(node.items) else None
    return node


class _Collector:
    """Collects resources by logical id, and what is wrong with them."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.resources: dict[str, Resource] = {}
        self.problems: list[Problem] = []

    def wrong(self, node: Node, message: str, hint: str | None = None) -> None:
        self.problems.append(self.template.problem(node, message, hint))

    def collect(self, section: Mapping, path: Path, scope: Scope) -> None:
        """Add the resources of a section, or of a loop's body."""
        for node, value in section.pairs:
            if not isinstance(node, Scalar):
                self.wrong(node, "a logical id must be a text", _ID_RULE)
            elif node.value.startswith(LOOP):
                self.loop(node, value, (*path, node.value), scope)
            elif not node.value.startswith(_MACRO):
                self.resource(node, value, (*path, node.value), scope)

    def resource(self, key: Scalar, node: Node, path: Path, scope: Scope) -> None:
        """Add a resource, its logical id checked by CloudFormation's rules, which it would tell only after the build."""
        name = substitute(key.value, scope)
        if not _ID.fullmatch(name):
            shown = name if len(name) <= 60 else f"{name[:60]}... ({len(name)} characters)"
            self.wrong(key, f"{shown!r} cannot be a logical id", _ID_RULE)
        elif scalar_type(key) != "tag:yaml.org,2002:str":
            message = f"the logical id {key.value} is no text in YAML but a number, a boolean or null"
            self.wrong(key, message, f'Write it in quotes: "{key.value}"')
        elif not isinstance(node, Mapping):
            self.wrong(node, f"{key.value}: a resource must be a map", "It begins with Type.")
        elif name in self.resources:
            self.wrong(key, f"there is a second resource {name}", "A loop's variables must be in the ids it makes.")
        else:
            self.resources[name] = Resource(name, text(node.get("Type")) or "", key, node, path, scope)

    def loop(self, key: Scalar, node: Node, path: Path, scope: Scope) -> None:
        """Add the resources of a loop, https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-foreach.html"""
        items = node.items if isinstance(node, Sequence) else ()
        variable, body = (text(items[0]), items[2]) if len(items) == 3 else (None, None)
        if not variable or not isinstance(body, Mapping):
            hint = "It is a list of a variable's name, a list of items, and a map of what is made for each."
            self.wrong(key, f"{key.value} is not a loop", hint)
            return
        if LANGUAGE_EXTENSIONS not in _transforms(self.template):
            hint = f"Write `Transform: [{LANGUAGE_EXTENSIONS}, AWS::Serverless-2016-10-31]`, in that order."
            self.wrong(key, f"{key.value} needs the transform {LANGUAGE_EXTENSIONS}", hint)
        for value in self.loop_items(key, items[1], body, scope):
            if len(self.resources) >= LOOP_ITEMS:
                self.wrong(key, f"the template has more than {LOOP_ITEMS:,} resources, those of its loops included")
                return
            self.collect(body, (*path, 2), scope.within(variable, value))

    def loop_items(self, key: Scalar, node: Node, body: Mapping, scope: Scope) -> list[str]:
        """What a loop goes through. A loop whose items are not known is passed over if nothing in it is packaged."""
        try:
            values = resolve(node, scope)
        except Unresolvable as error:
            if _is_packaged(body):
                message = f"{key.value} makes functions or stacks, and its items are not known: {error.message}"
                self.wrong(error.node, message, error.hint)
            return []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.wrong(node, f"the items of {key.value} are not a list of texts")
            return []
        return [str(value) for value in values]


def _is_packaged(body: Node) -> bool:
    """Whether a loop makes something that has to be packaged."""
    return any(isinstance(node, Mapping) and text(node.get("Type")) in _PACKAGED for node in walk(body))


_PACKAGED = {
    "AWS::Serverless::Function",
    "AWS::Lambda::Function",
    "AWS::Serverless::Application",
    "AWS::CloudFormation::Stack",
}


def _transforms(template: Template) -> set[str | None]:
    node = template.root.get("Transform")
    return {text(item) for item in node.items} if isinstance(node, Sequence) else {text(node)}


def in_order(problems: list[Problem]) -> Iterator[Problem]:
    """Each problem once, in the order of its file."""
    yield from sorted(dict.fromkeys(problems), key=lambda each: (each.file or "", each.line or 0, each.column or 0))
