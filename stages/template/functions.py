"""Find the functions of a template that are container images, and what their Metadata says about building them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from stages.template.tree import Mapping, Scalar, Sequence, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.contract import Problem
    from stages.template.tree import Node, Template

SERVERLESS = "AWS::Serverless::Function"
LAMBDA = "AWS::Lambda::Function"

NESTED = {"AWS::Serverless::Application": "Location", "AWS::CloudFormation::Stack": "TemplateURL"}
"""Resources that are templates of their own, and the property that says where."""

PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
"""Lambda's names of architectures, and Docker's of platforms."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # the distribution specification's grammar of a tag
_ID = re.compile(r"[A-Za-z0-9]{1,255}")
_ID_RULE = "CloudFormation's logical ids are 1 to 255 of the letters A-Z and a-z and the digits."
_MACRO = "Fn::"  # Fn::ForEach::Name and Fn::Transform stand where resources do
_NOT_YET = ("DockerBuildExtraParams", "SkipBuild")
_STR_TAGS = (None, "!", "tag:yaml.org,2002:str")
_resolver: Any = yaml.resolver.Resolver()  # the stubs do not type it
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class Function:
    """A function that is built as an image.

    `id` names it in options, artifacts and logs: its logical id. `path` is where its resource stands in the template.
    `dockerfile` is relative to `context`, `context` to the template's folder. `nodes` are the places of its parts, for
    problems: `resource`, and the Metadata keys that are given.
    """

    id: str
    path: tuple[str, ...]
    type: str
    platform: str
    dockerfile: str
    context: str
    tag: str | None = None
    build_args: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    nodes: dict[str, Node] = field(default_factory=dict, compare=False, repr=False)


def functions(template: Template) -> tuple[list[Function], list[Problem]]:
    """The image functions of a template, and every mistake found in how they are written.

    A function with a mistake is left out of the list. Everything that is no function is left alone.
    """
    found: list[Function] = []
    problems = list(_global_problems(template))
    resources = template.root.get("Resources")
    if not isinstance(resources, Mapping):
        return [], [*problems, _no_resources(template, resources)]
    for node, resource in resources.pairs:
        key = node if isinstance(node, Scalar) else None
        wrong = _id_problem(template, node, key)
        if key is None or wrong is not None:
            problems += [wrong] if wrong else []
        elif key.value.startswith("Fn::ForEach::"):
            problems += _for_each_problems(template, key, resource)
        elif not isinstance(resource, Mapping) and not key.value.startswith(_MACRO):
            problems.append(
                template.problem(resource, f"{key.value}: a resource must be a map", "It begins with Type.")
            )
        elif isinstance(resource, Mapping) and _text(resource.get("Type")) in NESTED:
            problems += _nested_problems(template, key, resource)
        elif isinstance(resource, Mapping) and _text(resource.get("Type")) in {SERVERLESS, LAMBDA}:
            reader = _Reader(template, key, resource)
            function = reader.read()
            problems += reader.problems
            if function is not None:
                found.append(function)
    return found, problems


def _no_resources(template: Template, node: Node | None) -> Problem:
    if node is None:
        return template.problem(template.root, "the template has no Resources")
    return template.problem(node, "Resources must be a map", "It maps logical ids to resources.")


def _id_problem(template: Template, node: Node, key: Scalar | None) -> Problem | None:
    """What is wrong with a logical id by CloudFormation's rules, which it would tell only after the images were built."""
    if key is None:
        return template.problem(node, "a logical id must be a text", _ID_RULE)
    if key.value.startswith(_MACRO):
        return None
    if not _ID.fullmatch(key.value):
        shown = key.value if len(key.value) <= 60 else f"{key.value[:60]}... ({len(key.value)} characters)"
        return template.problem(key, f"{shown!r} cannot be a logical id", _ID_RULE)
    if key.plain and key.tag is None and _resolver.resolve(yaml.ScalarNode, key.value, (True, False)) != _STR_TAGS[-1]:
        message = f"the logical id {key.value} is no text in YAML but a number, a boolean or null"
        return template.problem(key, message, f'Write it in quotes: "{key.value}"')
    return None


def image_slot(resource: Mapping) -> tuple[str, ...] | None:
    """The path below a function's resource where its image URI belongs, or None if it is no function."""
    return {SERVERLESS: ("Properties", "ImageUri"), LAMBDA: ("Properties", "Code", "ImageUri")}.get(
        _text(resource.get("Type")) or ""
    )


def _text(node: Node | None) -> str | None:
    """The value of a string that is written out; None for anything else, such as `!Ref`."""
    return node.value if isinstance(node, Scalar) and node.tag in _STR_TAGS else None


def _global_function(template: Template) -> Mapping | None:
    section = template.root.get("Globals")
    function = section.get("Function") if isinstance(section, Mapping) else None
    return function if isinstance(function, Mapping) else None


def _global_problems(template: Template) -> Iterator[Problem]:
    section = _global_function(template)
    for key, _ in section.named() if section else ():
        if key.value == "PackageType":
            yield template.problem(
                key,
                "PackageType cannot stand in Globals: SAM refuses it there",
                "Give each image function `PackageType: Image` in its own Properties.",
            )


def _for_each_problems(template: Template, key: Scalar, body: Node) -> Iterator[Problem]:
    if any(isinstance(node, Mapping) and _text(node.get("PackageType")) == "Image" for node in walk(body)):
        yield template.problem(
            key,
            f"{key.value} makes image functions, which cannot be built from a loop yet",
            "Write the functions out.",
        )


def _nested_problems(template: Template, key: Scalar, resource: Mapping) -> Iterator[Problem]:
    name = NESTED[_text(resource.get("Type")) or ""]
    properties = resource.get("Properties")
    where = properties.get(name) if isinstance(properties, Mapping) else None
    local = _text(where)
    if where is not None and local is not None and not local.startswith(("https://", "s3://")):
        yield template.problem(
            where,
            f"{key.value}: nested templates such as {local!r} cannot be packaged yet",
            f"Move its functions into this template, or upload it and give {name} its https:// address.",
        )


class _Reader:
    """Reads one function's resource, and gathers what is wrong with it."""

    def __init__(self, template: Template, key: Scalar, resource: Mapping) -> None:
        self.template = template
        self.key = key
        self.resource = resource
        self.type = _text(resource.get("Type")) or ""
        self.properties = self._section("Properties")
        self.metadata = self._section("Metadata")
        self.problems: list[Problem] = []

    def _section(self, name: str) -> Mapping | None:
        node = self.resource.get(name)
        return node if isinstance(node, Mapping) else None

    def _wrong(self, node: Node | None, message: str, hint: str | None = None) -> None:
        self.problems.append(self.template.problem(node or self.key, f"{self.key.value}: {message}", hint))

    def read(self) -> Function | None:
        if _text(self.properties.get("PackageType") if self.properties else None) != "Image":
            self._read_other()
            return None
        if self.metadata is None:
            self._wrong(
                None,
                "an image function needs Metadata that says how to build its image",
                "Add Metadata with Dockerfile and DockerContext beside Properties. Images built elsewhere cannot be "
                "used yet.",
            )
            return None
        self._refuse_not_yet(self.metadata)
        dockerfile, context = self._required("Dockerfile"), self._required("DockerContext")
        tag, target = self._tag(), self._optional("DockerBuildTarget")
        build_args, platform = self._build_args(), self._platform()
        if self.problems or dockerfile is None or context is None:
            return None
        nodes: dict[str, Node] = {"resource": self.key}
        nodes.update((key.value, value) for key, value in self.metadata.named())
        return Function(
            id=self.key.value,
            path=("Resources", self.key.value),
            type=self.type,
            platform=platform,
            dockerfile=dockerfile,
            context=context,
            tag=tag,
            build_args=build_args,
            target=target,
            nodes=nodes,
        )

    def _read_other(self) -> None:
        """Not an image function: refuse what would otherwise be deployed without its code."""
        if self.metadata is not None and self.metadata.get("Dockerfile") is not None:
            self._wrong(
                None,
                "it has a Dockerfile, but is not of PackageType Image",
                "Add `PackageType: Image` to its Properties, or remove the Dockerfile from its Metadata.",
            )
            return
        code = self._own_or_global("CodeUri") if self.type == SERVERLESS else self._own("Code")
        local = _text(code)
        if local is not None and not local.startswith(("s3://", "https://")):
            self._wrong(
                code,
                f"its code is in {local!r} here, and only image functions can be packaged so far",
                "Use PackageType Image, or upload the code and name it by its s3:// address.",
            )

    def _own(self, name: str) -> Node | None:
        return self.properties.get(name) if self.properties else None

    def _own_or_global(self, name: str) -> Node | None:
        """A property, its default taken from Globals as SAM takes it."""
        own, section = self._own(name), _global_function(self.template)
        if own is not None or section is None or self.type != SERVERLESS:
            return own
        ignored = self.resource.get("IgnoreGlobals")
        names = [_text(item) for item in ignored.items] if isinstance(ignored, Sequence) else [_text(ignored)]
        return None if "*" in names or name in names else section.get(name)

    def _refuse_not_yet(self, metadata: Mapping) -> None:
        for key, _ in metadata.named():
            if key.value in _NOT_YET:
                self._wrong(key, f"{key.value} is not supported yet, and ignoring it would build another image")

    def _required(self, name: str) -> str | None:
        metadata = self.metadata
        if metadata is None or metadata.get(name) is None:
            given = [key.value for key, _ in metadata.named()] if metadata else []
            close = difflib.get_close_matches(name, given, n=1, cutoff=0.8)
            hint = f"Did you mean {name} where it says {close[0]}?" if close else f"Add {name} to its Metadata."
            self._wrong(None, f"its Metadata lacks {name}", hint)
            return None
        value = self._string(metadata.get(name), name)
        if value is not None and not value.strip():
            self._wrong(metadata.get(name), f"{name} is empty")
            return None
        return value

    def _optional(self, name: str) -> str | None:
        node = self.metadata.get(name) if self.metadata else None
        return self._string(node, name) if node is not None else None

    def _string(self, node: Node | None, name: str) -> str | None:
        value = _text(node)
        if value is None:
            hint = "Functions such as !Ref and !Sub are not resolved here yet."
            self._wrong(node, f"{name} must be a string that is written out", hint)
        return value

    def _tag(self) -> str | None:
        tag = self._optional("DockerTag")
        if tag is not None and not _TAG.fullmatch(tag):
            hint = "A tag has at most 128 of the characters A-Z a-z 0-9 _ . - and starts with none of . -"
            self._wrong(self.metadata and self.metadata.get("DockerTag"), f"DockerTag {tag!r} is not a tag", hint)
        return tag

    def _build_args(self) -> dict[str, str]:
        """Build arguments as they are written: a number or a boolean is its own text, as on a command line."""
        node = self.metadata.get("DockerBuildArgs") if self.metadata else None
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            self._wrong(node, "DockerBuildArgs must be a mapping of names to values")
            return {}
        arguments = {}
        for key, value in node.named():
            text = self._string(value, f"the build argument {key.value}")
            if isinstance(value, Scalar) and value.plain and text in _NULLS:
                self._wrong(key, f"the build argument {key.value} has no value", 'Write "" for an empty one.')
            elif text is not None:
                arguments[key.value] = text
        return arguments

    def _platform(self) -> str:
        default = PLATFORMS["x86_64"]
        node = self._own_or_global("Architectures")
        if node is None:
            return default
        names = [_text(item) for item in node.items] if isinstance(node, Sequence) else [None]
        if len(names) != 1:
            self._wrong(node, f"a function has one architecture, and here are {len(names)}", "Keep one of them.")
        elif names[0] not in PLATFORMS:
            self._wrong(node, "Architectures must be a list of x86_64 or arm64, written out")
        else:
            return PLATFORMS[names[0]]
        return default
