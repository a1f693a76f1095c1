"""Read the release that `package` made, and refuse it unless everything in it fits together.

A consumer verifies what it is given before it starts: the templates are the bytes that release.json names, every image in
them is pinned by the very digest that release.json states, every nested template is named by its address, and the release's
digest is that of what it names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.contract import COMMAND, InvalidInput, Problem, StageError
from stages.limits import LIMITS
from stages.template.application import NESTED, assemble
from stages.template.functions import SLOTS, full_id
from stages.template.references import ecr_host, parse
from stages.template.resolve import Unresolvable, resolve
from stages.template.resources import find
from stages.template.tree import Mapping, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json, Target
    from stages.template import Stack
    from stages.template.tree import Node, Template

TEMPLATE = "packaged-template.yaml"
VERSION = 2
NEW_RUN = "Start a new run (`towpath run`): in this one `package` is done, and is not done again."

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_STACK = re.compile(r"(?:[A-Za-z0-9]{1,255}(?:/[A-Za-z0-9]{1,255})*)?")


@dataclass(frozen=True)
class Image:
    """A function's image: where it is, and the two digests that are its identity.

    `account` and `region` are those of a registry of Amazon ECR, None for any other.
    """

    uri: str
    config: str
    manifest: str
    repository: str
    account: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Release:
    """A release that fits together. `images` are by full id; `stacks` by path, each with its packaged template."""

    digest: str
    images: dict[str, Image]
    stacks: dict[str, Stack]

    @property
    def template(self) -> Template:
        """The root's."""
        return self.stacks[""].template

    def is_conditional(self, name: str) -> bool:
        """Whether a function, or a stack that it is nested in, may be left out of the deployment by a Condition."""
        path, _, logical_id = name.rpartition("/")
        stack = self.stacks.get(path)
        if stack is None:
            return False
        own = (resource for resource in stack.resources if resource.id == logical_id)
        return any(resource.node.get("Condition") is not None for resource in own) or (
            bool(path) and self.is_conditional(path)
        )


def load(directory: Path) -> Release:
    """Read and verify the release artifact in `directory`. Raises StageError of class `mismatch`, InvalidInput."""
    document = _document(directory / "release.json")
    data = {path: _bytes(directory / file_name(path)) for path in document["templates"]}
    problems = list(_digest_problems(document, data))
    if problems:
        raise _mismatch(problems)
    templates = {path: read(each, file_name(path)) for path, each in data.items()}
    stacks = assemble(templates, document["parameters"])
    images = {name: _image(name, function) for name, function in document["functions"].items()}
    problems = [
        *_stack_problems(stacks, document),
        *_image_problems(stacks, images),
        *_upload_problems(stacks, document),
    ]
    if problems:
        raise _mismatch(problems)
    return Release(document["digest"], images, stacks)


def not_lambdas(release: Release, target: Target) -> list[Problem]:
    """The images that Lambda does not take, as they are in no registry of Amazon ECR, or in one of another region."""
    hint = "Copy it to a repository of Amazon ECR in the function's account or one that shares it, and name it there."
    there = f"Copy the release there, by a stage of its own: {{uses: package, needs: [...], environment: {target.environment}}}"
    if target.environment == COMMAND:
        there = f"Package it for that region: towpath package --region {target.region} ..."
    return [
        Problem(f"{name}: Lambda runs images of Amazon ECR alone, and this one is {image.uri}", hint=hint)
        for name, image in sorted(release.images.items())
        if image.account is None
    ] + [
        Problem(
            f"{name}: Lambda in {target.region} runs images of that region alone, and this one is {image.uri}",
            hint=there,
        )
        for name, image in sorted(release.images.items())
        if image.region not in (None, target.region)
    ]


def for_target(release: Release, target: Target) -> Release:
    """The release as far as the target's parameters make it: loops go through other items with other parameters.

    Raises InvalidInput if they make functions for which the release has no image.
    """
    known = {"AWS::Region": target.region, "AWS::AccountId": target.account, "AWS::Partition": target.partition}
    templates = {path: stack.template for path, stack in release.stacks.items()}
    stacks = assemble(templates, known | target.parameters)
    problems: list[Problem] = []
    images: dict[str, Image] = {}

    def missing(stack: Stack, node: Node | None, what: str) -> None:
        message = f"with the parameters of {target.environment} there is {what}"
        hint = "Build with the values that environments have: give `build` the option `parameters`."
        problems.append(stack.template.problem(node or stack.template.root, message, hint))

    for stack in stacks.values():
        for name, node, loops in image_uris(stack):
            image = release.images.get(name)
            if image is not None and _text(node, stack, loops) == image.uri:
                images[name] = image
            else:
                missing(stack, node, f"a function {name}, of which the release has no image")
        for resource in stack.resources:
            path = full_id(stack.path, resource.id)
            if resource.type in NESTED and resource.scope.loops and path not in stacks:
                missing(stack, resource.key, f"a nested stack {path}, of which the release has no template")
    if problems:
        raise InvalidInput(problems)
    return dataclasses.replace(release, images=images, stacks=stacks)


def release_digest(document: Json) -> str:
    """The digest that names a release wherever it is copied: of what it is made of, never of where that lies."""
    identity = {
        "v": VERSION,
        "templates": {path: each["source"] for path, each in document["templates"].items()},
        "parameters": document["parameters"],
        "functions": {
            name: {key: function[key] for key in ("stack", "path", "config", "manifest")}
            for name, function in document["functions"].items()
        },
        "uploads": [{key: each[key] for key in ("stack", "path", "sha256")} for each in document.get("uploads", [])],
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def file_name(stack: str) -> str:
    """The file of a stack's packaged template in the artifact."""
    return f"nested/{stack}.yaml" if stack else TEMPLATE


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.yaml_bytes + 1)
    except FileNotFoundError as error:
        raise _mismatch([f"{path.name} is missing"]) from error
    if len(data) > LIMITS.yaml_bytes:
        raise _mismatch([f"{path.name} is larger than {LIMITS.yaml_bytes:,} bytes"])
    return data


def _document(path: Path) -> Json:
    try:
        document: Any = json.loads(_bytes(path))
    except ValueError as error:
        raise _mismatch([f"{path.name} is not JSON: {error}"]) from error
    try:
        _check_form(document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _mismatch([f"{path.name} is not of format version {VERSION}: {error!r}"]) from error
    return dict(document)


def _check_form(document: Any) -> None:
    if document["v"] != VERSION:
        raise ValueError(document["v"])
    digests = [document["digest"]]
    if "" not in document["templates"]:
        raise KeyError("")
    for path, template in document["templates"].items():
        digests += [template["source"], template["packaged"]]
        if not _STACK.fullmatch(path) or (path and not isinstance(template["url"], str)):
            raise ValueError(path)
    if not all(isinstance(value, str) for value in document["parameters"].values()):
        raise TypeError(document["parameters"])
    digests += [_upload_digest(upload, document["templates"]) for upload in document.get("uploads", [])]
    for function in document["functions"].values():
        digests += [function["config"], function["manifest"]]
        if not isinstance(function["path"], list) or not isinstance(function["image"], str):
            raise TypeError(function)
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(digest)


def _upload_digest(upload: Any, templates: Any) -> Any:
    if upload["stack"] not in templates or not isinstance(upload["path"], list):
        raise ValueError(upload["path"])
    return upload["sha256"]


def _digest_problems(document: Json, templates: dict[str, bytes]) -> Iterator[str]:
    for path, data in templates.items():
        actual, stated = "sha256:" + hashlib.sha256(data).hexdigest(), document["templates"][path]["packaged"]
        if actual != stated:
            yield f"{file_name(path)} has the digest {actual}, but release.json says {stated}"
    digest = release_digest(document)
    if digest != document["digest"]:
        yield f"what release.json names has the digest {digest}, but it says {document['digest']}"


def _image(name: str, function: Json) -> Image:
    uri, config, manifest = function["image"], function["config"], function["manifest"]
    try:
        reference = parse(uri)
    except ValueError:
        reference = None
    if reference is None or reference.kind != "registry-digest" or reference.digest != manifest:
        raise _mismatch([f"the image of {name} is {uri!r}, not a registry's image @{manifest}"])
    host = ecr_host(str(reference.host))
    if host is None:
        return Image(uri, config, manifest, reference.repository)
    return Image(uri, config, manifest, reference.name, host.account, host.region)


def ecr_place(uri: str) -> tuple[str, str, str, str] | None:
    """Account, region, repository and manifest digest of an image in Amazon ECR; None of any other."""
    try:
        image = _image("", {"image": uri, "config": "", "manifest": uri.rpartition("@")[2]})
    except StageError:
        return None
    return (image.account, image.region, image.repository, image.manifest) if image.account and image.region else None


def _stack_problems(stacks: dict[str, Stack], document: Json) -> Iterator[str]:
    """Nested templates that nothing leads to, or that are named by another address than release.json says."""
    for path, template in document["templates"].items():
        stack = stacks.get(path)
        if stack is None:
            yield f"release.json has the nested template {path}, which no template names"
        elif stack.slot is not None:
            parent = stacks[stack.slot.stack]
            url = _text(find(parent.template.root, stack.slot.path), parent, stack.slot.loops)
            if url != template["url"]:
                yield f"{file_name(parent.path)}: {path} is at {url!r}, but release.json says {template['url']!r}"


def _image_problems(stacks: dict[str, Stack], images: dict[str, Image]) -> Iterator[str]:
    found = {name: (stack, node, loops) for stack in stacks.values() for name, node, loops in image_uris(stack)}
    for name, (stack, node, loops) in found.items():
        file = file_name(stack.path)
        place = f"{file}:{node.span.line}: " if node else f"{file}: "
        uri = _text(node, stack, loops)
        if name not in images:
            yield f"{place}{name} is an image function of which release.json knows nothing"
        elif uri != images[name].uri:
            yield f"{place}{name} has the ImageUri {uri!r}, but release.json says {images[name].uri!r}"
    for name in sorted(set(images) - set(found)):
        yield f"release.json has the function {name}, which is no image function of {TEMPLATE} or those nested in it"


def _upload_problems(stacks: dict[str, Stack], document: Json) -> Iterator[str]:
    """Uploads that the template does not name: an object's key is of its content's digest."""
    for upload in document.get("uploads", []):
        stack = stacks.get(upload["stack"])
        if stack is not None and upload["sha256"].removeprefix("sha256:") not in stack.template.text:
            yield f"{file_name(stack.path)} does not name the {upload['sha256']} of {upload.get('id')}, as release.json says"


def _text(node: Node | None, stack: Stack, loops: tuple[tuple[str, str], ...]) -> str | None:
    """The text that a node comes to, a loop's variables put in; None if it comes to none."""
    try:
        value = resolve(node, dataclasses.replace(stack.scope, loops=loops)) if node is not None else None
    except Unresolvable:
        return None
    return value if isinstance(value, str) else None


def image_uris(stack: Stack) -> Iterator[tuple[str, Node | None, tuple[tuple[str, str], ...]]]:
    """The image functions of a stack: full id, the node of the image URI (None if it has none), the loops around it."""
    for resource in stack.resources:
        slot = SLOTS.get(resource.type)
        if slot is None:
            continue
        node = find(resource.node, slot)
        package_type = _text(find(resource.node, ("Properties", "PackageType")), stack, resource.scope.loops)
        if node is not None or package_type == "Image":
            yield full_id(stack.path, resource.id), node, resource.scope.loops


def below(node: Node | None, *path: str) -> Node | None:
    """The node at a path of keys, or None."""
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _mismatch(problems: list[str]) -> StageError:
    return StageError(
        "the release is not what it says it is:\n" + "\n".join(f"  {problem}" for problem in problems),
        hint=f"It was changed after `package` made it. {NEW_RUN}",
        cls="mismatch",
    )
