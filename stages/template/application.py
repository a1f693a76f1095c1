"""An application: a template and those nested in it, at any depth, with the image functions of all of them.

A nested template is known by the path of its stack: the logical ids that lead to it, `Child/Grand`; the root's is empty.
Two stacks may be of one file. Nothing here reads a file: whoever loads an application says how.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import InvalidInput, Problem
from stages.limits import LIMITS
from stages.template import functions, tree
from stages.template.functions import SLOTS, Function, full_id
from stages.template.resolve import Scope, Unresolvable, call, resolve, substitute, text
from stages.template.resources import Resource, Slot, find, in_order, resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.template.tree import Node, Template

Reader: TypeAlias = "Callable[[str], bytes]"
"""Gives the bytes of a file, named by its path from the project's root. Raises Unreadable."""

NESTED = {"AWS::Serverless::Application": "Location", "AWS::CloudFormation::Stack": "TemplateURL"}
"""Resources that are templates of their own, and the property that says where."""

_REMOTE = ("https://", "http://", "s3://")


class Unreadable(Exception):
    """A file that cannot be had: "the template x" and this make a sentence."""


@dataclass(frozen=True)
class Stack:
    """One template of an application, at one place in it. `slot` and `node` are where its parent names it, and
    `passed` the parameters that its parent sets, None if that is not written out. The root has none of them.
    """

    path: str
    template: Template
    scope: Scope
    slot: Slot | None = None
    passed: tuple[str, ...] | None = None
    node: Node | None = field(default=None, compare=False, repr=False)
    resources: list[Resource] = field(default_factory=list, compare=False, repr=False)

    @property
    def parent(self) -> str | None:
        return self.slot.stack if self.slot else None


@dataclass(frozen=True)
class Application:
    """`stacks` are by path, each after its parent. `parameters` are the root's, as they were stated."""

    stacks: dict[str, Stack]
    functions: list[Function]
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Template:
        return self.stacks[""].template


def load(read: Reader, file: str, parameters: dict[str, str] | None = None) -> tuple[Application, list[Problem]]:
    """Load the application whose root template is `file`, and every mistake found in it.

    A function with a mistake is left out. Raises InvalidInput if the root is no template.
    """
    loader = _Loader(read, dict(parameters or {}))
    try:
        root = loader.template(file)
    except Unreadable as error:
        hint = "Correct the option `template`: it is a path from the project's root."
        raise InvalidInput([Problem(f"the template {file} {error}", file, hint=hint)]) from error
    loader.add(Stack("", root, Scope(root.root, loader.parameters)), (root.file,))
    application = Application(loader.stacks, loader.functions, loader.parameters)
    return application, list(in_order([*loader.unknown_parameters(root), *loader.problems]))


def assemble(templates: dict[str, Template], parameters: dict[str, str]) -> dict[str, Stack]:
    """The stacks of templates that were packaged, by path: which of them are nested in which, and what names stand for.

    Those that nothing in the root leads to are left out.
    """
    stacks: dict[str, Stack] = {}

    def add(stack: Stack) -> None:
        stacks[stack.path] = stack
        stack.resources.extend(resources(stack.template, stack.scope)[0])
        for resource in stack.resources:
            path = full_id(stack.path, resource.id)
            if resource.type in NESTED and path in templates:
                add(_child(stack, resource, templates[path]))

    add(Stack("", templates[""], Scope(templates[""].root, parameters)))
    return stacks


def _child(parent: Stack, resource: Resource, template: Template, node: Node | None = None) -> Stack:
    slot = Slot(parent.path, (*resource.path, "Properties", NESTED[resource.type]), resource.scope.loops)
    path = full_id(parent.path, resource.id)
    return Stack(path, template, _inner_scope(template, resource), slot, _passed(resource), node)


class _Loader:
    """Loads templates, each file once, and gathers stacks, functions and mistakes."""

    def __init__(self, read: Reader, parameters: dict[str, str]) -> None:
        self.read = read
        self.parameters = parameters
        self.templates: dict[str, Template] = {}
        self.stacks: dict[str, Stack] = {}
        self.functions: list[Function] = []
        self.problems: list[Problem] = []
        self.size_bytes = 0

    def template(self, file: str) -> Template:
        if file not in self.templates:
            self.templates[file] = tree.read(self.read(file), file)
        return self.templates[file]

    def unknown_parameters(self, root: Template) -> list[Problem]:
        section = root.root.get("Parameters")
        names = [key.value for key, _ in section.named()] if isinstance(section, tree.Mapping) else []
        return [
            Problem(
                f"the option `parameters` names {name!r}, which is no parameter of {root.file}",
                hint=f"Its parameters are {', '.join(names)}." if names else "It has none.",
            )
            for name in sorted(self.parameters)
            if name not in names and not name.startswith("AWS::")
        ]

    def add(self, stack: Stack, files: tuple[str, ...]) -> None:
        """Add a stack and those nested in it. `files` are the templates around it, itself included."""
        path, template = stack.path, stack.template
        found, problems = resources(template, stack.scope)
        stack.resources.extend(found)
        self.stacks[path] = stack
        self.size_bytes += len(template.data)
        self.problems += [*functions.global_problems(template), *problems]
        for resource in found:
            if resource.type in SLOTS:
                function, problems = functions.read(template, path, resource)
                self.problems += problems
                self.functions += [function] if function else []
            elif resource.type in NESTED:
                self._add_nested(stack, resource, files)

    def _add_nested(self, parent: Stack, resource: Resource, files: tuple[str, ...]) -> None:
        location = local_location(resource)
        if location is None:
            return
        node, name = location
        path = full_id(parent.path, resource.id)
        file = posixpath.normpath(posixpath.join(posixpath.dirname(parent.template.file), name))
        try:
            self._refuse(file, files)
            template = self.template(file)
        except Unreadable as error:
            hint = "It is relative to the folder of the template that names it."
            self.problems.append(parent.template.problem(node, f"{path}: the template {file} {error}", hint))
            return
        except InvalidInput as error:
            self.problems += error.problems
            return
        self.add(_child(parent, resource, template, node), (*files, file))

    def _refuse(self, file: str, files: tuple[str, ...]) -> None:
        """Refuse a nested template that is not even to be looked at. Raises Unreadable."""
        if file.startswith(("../", "/")) or file == "..":
            raise Unreadable("is outside the project")
        if file in files:
            raise Unreadable("is nested in itself")
        if len(files) >= LIMITS.nested_depth:
            raise Unreadable(f"is nested more than {LIMITS.nested_depth} deep")
        if len(self.stacks) >= LIMITS.nested_stacks or self.size_bytes > LIMITS.nested_bytes:
            most = f"{LIMITS.nested_stacks:,} templates, or {LIMITS.nested_bytes:,} bytes in all"
            raise Unreadable(f"is one too many: an application has at most {most}")


def local_location(resource: Resource) -> tuple[Node, str] | None:
    """The node and the path of the template that a resource nests, if it is a file here and not an address."""
    node = find(resource.node, ("Properties", NESTED[resource.type]))
    name = text(node)
    metadata = resource.section("Metadata")
    if name is None and metadata is not None and text(metadata.get("aws:asset:property")) == NESTED[resource.type]:
        node = metadata.get("aws:asset:path")
        name = text(node)
    if node is None or name is None or is_remote(name):
        return None
    return node, substitute(name, resource.scope)


def _passed(resource: Resource) -> tuple[str, ...] | None:
    node = find(resource.node, ("Properties", "Parameters"))
    if node is None:
        return ()
    if not isinstance(node, tree.Mapping) or call(node) is not None:
        return None
    return tuple(key.value for key, _ in node.named())


def is_remote(name: str) -> bool:
    """Whether a template names something by its address, and not by a path here."""
    return name.startswith(_REMOTE)


def _inner_scope(template: Template, resource: Resource) -> Scope:
    """What names stand for in a nested template: what its parent passes on, and the pseudo parameters."""
    given = {name: value for name, value in resource.scope.given.items() if name.startswith("AWS::")}
    unknown: dict[str, str] = {}
    passed = find(resource.node, ("Properties", "Parameters"))
    for key, node in passed.named() if isinstance(passed, tree.Mapping) else ():
        try:
            value = resolve(node, resource.scope)
        except Unresolvable as error:
            unknown[key.value] = error.message
        else:
            given[key.value] = ",".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return Scope(template.root, given, unknown)
