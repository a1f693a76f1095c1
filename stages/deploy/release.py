"""Read the release that `package` made, and refuse it unless everything in it fits together.

A consumer verifies what it is given before it starts: the template is the bytes that release.json names, every image in
it is pinned by the very digest that release.json states, and the release's digest is that of what it names.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.contract import StageError
from stages.limits import LIMITS
from stages.template.functions import image_slot
from stages.template.tree import Mapping, Scalar, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json
    from stages.template.tree import Node, Template

TEMPLATE = "packaged-template.yaml"
VERSION = 1
NEW_RUN = "Start a new run (`towpath run`): in this one `package` is done, and is not done again."

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9][a-z0-9._/-]*)@(?P<digest>sha256:[0-9a-f]{64})"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """A function's image: where it is, and the two digests that are its identity."""

    uri: str
    config: str
    manifest: str
    account: str
    region: str
    repository: str


@dataclass(frozen=True)
class Release:
    """A release that fits together. `images` are by logical id."""

    digest: str
    images: dict[str, Image]
    template: Template


def load(directory: Path) -> Release:
    """Read and verify the release artifact in `directory`. Raises StageError of class `mismatch`, InvalidInput."""
    document = _document(directory / "release.json")
    data = _bytes(directory / TEMPLATE)
    problems = list(_digest_problems(document, data))
    if problems:
        raise _mismatch(problems)
    template = read(data, TEMPLATE)
    images = {name: _image(name, function) for name, function in document["functions"].items()}
    problems = list(_image_problems(template, images))
    if problems:
        raise _mismatch(problems)
    return Release(document["digest"], images, template)


def release_digest(document: Json) -> str:
    """The digest that names a release wherever it is copied: of what it is made of, never of where that lies."""
    identity = {
        "v": VERSION,
        "template": document["template"]["source"],
        "functions": {
            name: {key: function[key] for key in ("path", "config", "manifest")}
            for name, function in document["functions"].items()
        },
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


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
    digests = [document["digest"], document["template"]["source"], document["template"]["packaged"]]
    for function in document["functions"].values():
        digests += [function["config"], function["manifest"]]
        if not isinstance(function["path"], list) or not isinstance(function["image"], str):
            raise TypeError(function)
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(digest)


def _digest_problems(document: Json, template: bytes) -> Iterator[str]:
    actual = "sha256:" + hashlib.sha256(template).hexdigest()
    if actual != document["template"]["packaged"]:
        yield f"{TEMPLATE} has the digest {actual}, but release.json says {document['template']['packaged']}"
    digest = release_digest(document)
    if digest != document["digest"]:
        yield f"what release.json names has the digest {digest}, but it says {document['digest']}"


def _image(name: str, function: Json) -> Image:
    match = _IMAGE.fullmatch(function["image"])
    if match is None or match["digest"] != function["manifest"]:
        raise _mismatch([f"the image of {name} is {function['image']!r}, not an ECR image @{function['manifest']}"])
    uri, config, manifest = function["image"], function["config"], function["manifest"]
    return Image(uri, config, manifest, match["account"], match["region"], match["repository"])


def _image_problems(template: Template, images: dict[str, Image]) -> Iterator[str]:
    found = dict(image_uris(template))
    for name, node in found.items():
        place = f"{TEMPLATE}:{node.span.line}: " if node else f"{TEMPLATE}: "
        uri = node.value if isinstance(node, Scalar) else None
        if name not in images:
            yield f"{place}{name} is an image function of which release.json knows nothing"
        elif uri != images[name].uri:
            yield f"{place}{name} has the ImageUri {uri!r}, but release.json says {images[name].uri!r}"
    for name in sorted(set(images) - set(found)):
        yield f"release.json has the function {name}, which is no image function of {TEMPLATE}"


def image_uris(template: Template) -> Iterator[tuple[str, Node | None]]:
    """The image functions of a template, with the node of each one's image URI (None if it has none)."""
    resources = template.root.get("Resources")
    for key, resource in resources.named() if isinstance(resources, Mapping) else ():
        slot = image_slot(resource) if isinstance(resource, Mapping) else None
        if slot is None:
            continue
        node = below(resource, *slot)
        package_type = below(resource, "Properties", "PackageType")
        if node is not None or (isinstance(package_type, Scalar) and package_type.value == "Image"):
            yield key.value, node


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
