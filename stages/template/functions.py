"""The functions of a template that are container images, and what says which image each of them is."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stages.template import references
from stages.template.references import Reference
from stages.template.resolve import NULL, Unresolvable, call, resolve, scalar_type, text
from stages.template.resources import Path, Slot, find
from stages.template.tree import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.contract import Problem
    from stages.template.resolve import Value
    from stages.template.resources import Resource
    from stages.template.tree import Node, Template

SERVERLESS = "AWS::Serverless::Function"
LAMBDA = "AWS::Lambda::Function"

SLOTS: dict[str, Path] = {SERVERLESS: ("Properties", "ImageUri"), LAMBDA: ("Properties", "Code", "ImageUri")}
"""Where below its resource a function's image URI stands."""

PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
"""Lambda's names of architectures, and Docker's of platforms."""

CDK = {
    "DockerContext": "aws:asset:path",
    "Dockerfile": "aws:asset:dockerfile-path",
    "DockerBuildArgs": "aws:asset:docker-build-args",
    "DockerBuildTarget": "aws:asset:docker-build-target",
    "DockerBuildExtraParams": "aws:asset:docker-build-extra-params",
}
"""What CDK writes for SAM's keys, https://docs.aws.amazon.com/cdk/v2/guide/cli.html and aws-cdk-lib/cx-api."""

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class BuiltImage:
    """An image that is built: `dockerfile` is relative to `context`, `context` to the template's folder.

    `tag` and `name` are DockerTag and DockerImage, for names in an engine alone. `extra_params` are further arguments of
    `docker build`.
    """

    dockerfile: str
    context: str
    tag: str | None = None
    name: str | None = None
    build_args: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    extra_params: tuple[str, ...] = ()


Image: TypeAlias = BuiltImage | Reference


@dataclass(frozen=True)
class Function:
    """A function that is a container image.

    `id` names it in options, artifacts and logs: its logical id, after those of the stacks it is nested in
    (`Child/Grand/Fn`). `stack` is the path of its stack (`Child/Grand`, empty for the root), `path` where its resource stands in
    that stack's template. `image` is what is built, or the reference of an image that somebody else built. `nodes` are the
    places of its parts, for problems: `resource`, `ImageUri`, and the keys of its Metadata that are given, by SAM's names.
    """

    id: str
    stack: str
    path: Path
    type: str
    platform: str
    image: Image
    loops: tuple[tuple[str, str], ...] = ()
    nodes: dict[str, Node] = field(default_factory=dict, compare=False, repr=False)

    @property
    def slot(self) -> Slot:
        """Where its image URI belongs."""
        return Slot(self.stack, self.path + SLOTS[self.type], self.loops)


def read(template: Template, stack: str, resource: Resource) -> tuple[Function | None, list[Problem]]:
    """The image function that a resource is, if it is one and has no mistakes, and the mistakes."""
    reader = _Reader(template, stack, resource)
    return reader.read(), reader.problems


def full_id(stack: str, name: str) -> str:
    """A logical id after those of the stacks that it is nested in."""
    return f"{stack}/{name}" if stack else name


def global_problems(template: Template) -> Iterator[Problem]:
    """What SAM would refuse in Globals only after the images were built."""
    section = _global_function(template)
    for key, _ in section.named() if section else ():
        if key.value == "PackageType":
            yield template.problem(
                key,
                "PackageType cannot stand in Globals: SAM refuses it there",
                "Give each image function `PackageType: Image` in its own Properties.",
            )


def own_or_global(template: Template, resource: Resource, name: str) -> Node | None:
    """A property of a function, its default taken from Globals as SAM takes it."""
    own = find(resource.node, ("Properties", name))
    return global_default(template, resource, name) if own is None else own


def global_default(template: Template, resource: Resource, name: str) -> Node | None:
    """What Globals says of a property of a function, unless the function ignores it."""
    section = _global_function(template)
    if section is None or resource.type != SERVERLESS:
        return None
    ignored = resource.node.get("IgnoreGlobals")
    names = [text(item) for item in ignored.items] if isinstance(ignored, Sequence) else [text(ignored)]
    return None if "*" in names or name in names else section.get(name)


def _global_function(template: Template) -> Mapping | None:
    node = find(template.root, ("Globals", "Function"))
    return node if isinstance(node, Mapping) else None


class _Reader:
    """Reads one function's resource, and gathers what is wrong with it."""

    def __init__(self, template: Template, stack: str, resource: Resource) -> None:
        self.template = template
        self.resource = resource
        self.id = full_id(stack, resource.id)
        self.stack = stack
        self.uri = find(resource.node, SLOTS[resource.type])
        self.metadata = dict(self._metadata())
        self.problems: list[Problem] = []

    def _metadata(self) -> Iterator[tuple[str, Node]]:
        """The Metadata by SAM's names, whoever wrote it."""
        section = self.resource.section("Metadata")
        if section is None:
            return
        yield from ((key.value, value) for key, value in section.named())
        if (text(section.get("aws:asset:property")) or "").endswith("ImageUri") and section.get(
            "DockerContext"
        ) is None:
            for name, cdk in CDK.items():
                node = section.get(cdk)
                if node is not None:
                    yield name, node

    def read(self) -> Function | None:
        if not self._is_image():
            return None
        image = self._image()
        platform = self._platform()
        if self.problems or image is None:
            return None
        nodes: dict[str, Node] = {"resource": self.resource.key, **self.metadata}
        if self.uri is not None:
            nodes["ImageUri"] = self.uri
        resource = self.resource
        return Function(self.id, self.stack, resource.path, resource.type, platform, image, resource.scope.loops, nodes)

    def _wrong(self, node: Node | None, message: str, hint: str | None = None) -> None:
        self.problems.append(self.template.problem(node or self.resource.key, f"{self.id}: {message}", hint))

    def _is_image(self) -> bool:
        """Whether it is an image function; refuses what would otherwise be deployed without its code."""
        node = find(self.resource.node, ("Properties", "PackageType"))
        try:
            package_type = resolve(node, self.resource.scope) if node is not None else None
        except Unresolvable as error:
            self._wrong(error.node, f"PackageType cannot be told: {error.message}", error.hint)
            return False
        if package_type == "Image":
            return True
        what = "a Dockerfile" if "Dockerfile" in self.metadata else "an ImageUri" if self.uri is not None else None
        if what is not None:
            hint = "Add `PackageType: Image` to its Properties, or remove what only an image function has."
            self._wrong(None, f"it has {what}, but is not of PackageType Image", hint)
        return False

    def _image(self) -> Image | None:
        if self._skips_build():
            if self.uri is None:
                self._wrong(self.metadata["SkipBuild"], "SkipBuild is set, and no ImageUri says which image to use")
            return self._prebuilt(self.uri)
        if self._is_built():
            return self._built()
        if self.uri is None:
            self._wrong(
                None,
                "an image function needs Metadata that says how to build its image, or an ImageUri",
                "Add Metadata with Dockerfile and DockerContext beside Properties.",
            )
        return self._prebuilt(self.uri)

    def _skips_build(self) -> bool:
        node = self.metadata.get("SkipBuild")
        value = self._string(node, "SkipBuild") if node is not None else "false"
        if value is not None and value.lower() not in _BOOLEANS:
            self._wrong(node, f"SkipBuild is {value!r}, and must be true or false")
        return _BOOLEANS.get((value or "").lower(), False)

    def _is_built(self) -> bool:
        """Whether the Metadata says how to build; a misspelt key does so too, and is told as that."""
        if self.uri is None:
            return bool(self.resource.section("Metadata"))
        return any(
            difflib.get_close_matches(key, ("Dockerfile", "DockerContext"), n=1, cutoff=0.8) for key in self.metadata
        )

    def _prebuilt(self, node: Node | None) -> Reference | None:
        name = self._string(node, "ImageUri") if node is not None else None
        if name is None:
            return None
        try:
            return references.parse(name)
        except ValueError as error:
            hint = "An ImageUri is a local name:tag, an image's id, an archive, or an image of a registry."
            self._wrong(node, f"ImageUri {name!r} names no image: {error}", hint)
            return None

    def _built(self) -> BuiltImage | None:
        dockerfile, context = self._required("Dockerfile"), self._required("DockerContext")
        tag, name, target = self._tag(), self._name(), self._optional("DockerBuildTarget")
        build_args, extra_params = self._build_args(), self._extra_params()
        if dockerfile is None or context is None:
            return None
        return BuiltImage(dockerfile, context, tag, name, build_args, target, extra_params)

    def _required(self, name: str) -> str | None:
        node = self.metadata.get(name)
        if node is None and name == "Dockerfile" and "aws:asset:path" in self.metadata:
            return "Dockerfile"
        if node is None:
            close = difflib.get_close_matches(name, [*self.metadata], n=1, cutoff=0.8)
            hint = f"Did you mean {name} where it says {close[0]}?" if close else f"Add {name} to its Metadata."
            self._wrong(None, f"its Metadata lacks {name}", hint)
            return None
        value = self._string(node, name)
        if value is not None and not value.strip():
            self._wrong(node, f"{name} is empty")
            return None
        return value

    def _optional(self, name: str) -> str | None:
        node = self.metadata.get(name)
        return self._string(node, name) if node is not None else None

    def _string(self, node: Node, name: str) -> str | None:
        value = self._resolved(node, name)
        if value is not None and not isinstance(value, str):
            self._wrong(node, f"{name} cannot be told: it must be a string")
        return value if isinstance(value, str) else None

    def _resolved(self, node: Node, name: str) -> Value:
        """What a node comes to; None, and a problem, if it comes to nothing."""
        try:
            value = resolve(node, self.resource.scope)
        except Unresolvable as error:
            self._wrong(error.node, f"{name} cannot be told: {error.message}", error.hint)
            return None
        if value is None:
            self._wrong(node, f"{name} has no value")
        return value

    def _tag(self) -> str | None:
        tag = self._optional("DockerTag")
        if tag is not None and not references.TAG.fullmatch(tag):
            hint = "A tag has at most 128 of the characters A-Z a-z 0-9 _ . - and starts with none of . -"
            self._wrong(self.metadata["DockerTag"], f"DockerTag {tag!r} is not a tag", hint)
        return tag

    def _name(self) -> str | None:
        name = self._optional("DockerImage")
        if name is not None and not references.is_name(name.lower()):
            hint = "It is a repository's name without a tag, made of a-z 0-9 . _ - and /"
            self._wrong(self.metadata["DockerImage"], f"DockerImage {name!r} is no image's name", hint)
        return name

    def _build_args(self) -> dict[str, str]:
        """Build arguments as they are written: a number or a boolean is its own text, as on a command line."""
        node = self.metadata.get("DockerBuildArgs")
        if node is None:
            return {}
        if isinstance(node, Mapping) and call(node) is None:
            return self._written_args(node)
        given = self._resolved(node, "DockerBuildArgs")
        if isinstance(given, dict) and all(isinstance(each, str) for each in given.values()):
            return {name: str(each) for name, each in given.items()}
        if given is not None:
            self._wrong(node, "DockerBuildArgs must be a mapping of names to values")
        return {}

    def _written_args(self, node: Mapping) -> dict[str, str]:
        arguments = {}
        for key, value in node.named():
            if isinstance(value, Scalar) and scalar_type(value) == NULL:
                self._wrong(key, f"the build argument {key.value} has no value", 'Write "" for an empty one.')
                continue
            argument = self._string(value, f"the build argument {key.value}")
            if argument is not None:
                arguments[key.value] = argument
        return arguments

    def _extra_params(self) -> tuple[str, ...]:
        node = self.metadata.get("DockerBuildExtraParams")
        if node is None:
            return ()
        value = self._resolved(node, "DockerBuildExtraParams")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._wrong(node, "DockerBuildExtraParams must be a list of strings")
            return ()
        return tuple(str(each) for each in value)

    def _platform(self) -> str:
        default = PLATFORMS["x86_64"]
        node = own_or_global(self.template, self.resource, "Architectures")
        if node is None:
            return default
        names = self._resolved(node, "Architectures")
        if names is None:
            return default
        if isinstance(names, list) and len(names) != 1:
            self._wrong(node, f"a function has one architecture, and here are {len(names)}", "Keep one of them.")
        elif not isinstance(names, list) or not isinstance(names[0], str) or names[0] not in PLATFORMS:
            self._wrong(node, "Architectures must be a list of x86_64 or arm64")
        else:
            return PLATFORMS[names[0]]
        return default
