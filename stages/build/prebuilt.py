"""Images that somebody else built: found, identified by the digest of their config, and refused if Lambda would not take them.

An archive is loaded into the engine, so that it goes on as any other image there. An image of a registry stays where it is and is
pinned by the digest that it has now. All of them are looked at before anything is built, and every mistake is told at once.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from stages.connections import scheme
from stages.contract import InvalidInput, StageError
from stages.images import archive, engine, logins, registry
from stages.images.fitness import unfit
from stages.limits import LIMITS
from stages.log import log
from stages.template.resources import in_order

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from docker import APIClient

    from stages.build.definitions import Plan, Prebuilt
    from stages.contract import Json, Problem
    from stages.images.engine import EngineImage
    from stages.template import Reference

CHUNK_BYTES = 1 << 20
_SAVE = "Make it with `docker save NAME -o FILE`, of one image."
_LOADED = "Loaded image"


class NoSuchImage(Exception):
    """An image that is not there, or is none that a function can run."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Found:
    """An image: what it is, and where it is: in the engine, or in a registry, which is then its carrier.

    `size_bytes` is that of its layers, compressed if it is in a registry.
    """

    config: str
    platform: str
    size_bytes: int
    image: EngineImage | None = None
    carrier: Json | None = None


def check(plan: Plan) -> list[Problem]:
    """What is wrong with the archives of a plan: all that can be told without an engine and a registry."""
    return _each(plan, [each for each in plan.prebuilt if each.archive], lambda each: _read_archive(each.archive))[1]


def find(plan: Plan) -> dict[str, Found]:
    """The pre-built images of a plan, by the function's id. Raises InvalidInput with all that cannot be used."""
    here = sorted(
        (each for each in plan.prebuilt if not each.reference.kind.startswith("registry")),
        key=lambda each: each.archive is not None,  # a loaded archive may take a local name for itself
    )
    elsewhere = [each for each in plan.prebuilt if each.reference.kind.startswith("registry")]
    found, problems = _each(plan, elsewhere, lambda each: _in_registry(each.reference))
    if here:
        with engine.connect() as client:
            more, others = _each(plan, here, lambda each: _in_engine(each, client))
        found, problems = found | more, problems + others
    if problems:
        raise InvalidInput(list(in_order(problems)))
    for name, each in found.items():
        where = f", pinned in its registry as {each.carrier['manifest']}" if each.carrier else ""
        log(f"built elsewhere: {each.config}{where}", function=name)
    return found


def _each(plan: Plan, wanted: list[Prebuilt], look: Any) -> tuple[dict[str, Found], list[Problem]]:
    """Look for each image once, and say of every function what is wrong with its own."""
    known: dict[tuple[Any, ...], Found | NoSuchImage] = {}
    found: dict[str, Found] = {}
    problems: list[Problem] = []
    for each in wanted:
        key = (each.reference, each.archive)
        if key not in known:
            try:
                known[key] = look(each)
            except NoSuchImage as error:
                known[key] = error
            except StageError as error:
                if error.cls != "terminal":  # not a mistake of the template
                    message = f"{each.function.id}: {each.reference.text}: {error.message}"
                    raise StageError(message, hint=error.hint, cls=error.cls) from error
                known[key] = NoSuchImage(error.message, error.hint)
        image = known[key]
        wrong = (image.message, image.hint) if isinstance(image, NoSuchImage) else _unfit(image, each)
        if wrong:
            template = plan.application.stacks[each.function.stack].template
            message = f"{each.function.id}: {each.reference.text}: {wrong[0]}"
            problems.append(template.problem(each.function.nodes["ImageUri"], message, wrong[1]))
        elif isinstance(image, Found):
            found[each.function.id] = image
    return found, problems


def _unfit(image: Found, each: Prebuilt) -> tuple[str, str] | None:
    return unfit(image.platform, image.size_bytes, each.function.platform)


# Archives


@functools.cache
def _read_archive(path: Path) -> Found:
    """The one image of an archive, as far as the archive itself tells. Read once, as it may be large."""
    try:
        with contextlib.closing(_chunks(path)) as chunks:
            images = archive.images(chunks, _size)
        configs = [json.loads(image.config) for image in images]
        platforms = [f"{config['os']}/{config['architecture']}" for config in configs]
    except (StageError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        reason = error.message if isinstance(error, StageError) else repr(error)
        raise NoSuchImage(f"it is no archive of an image: {reason}", _SAVE) from error
    if len(images) != 1:
        raise NoSuchImage(f"it holds {len(images)} images, and a function runs one", _SAVE)
    return Found(images[0].digest, platforms[0], sum(images[0].layers))


def _chunks(path: Path) -> Generator[bytes, None, None]:
    """A file's bytes, decompressed if they are compressed, as they come."""
    with path.open("rb") as raw:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        file: Any = gzip.GzipFile(fileobj=raw) if compressed else raw
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _size(layer: IO[bytes]) -> int:
    """How large a layer is, uncompressed; past the limit it does not matter how large."""
    data: Any = layer
    head = layer.read(2)
    if head == b"\x1f\x8b":
        unzip, size, chunk = zlib.decompressobj(31), 0, head + layer.read(CHUNK_BYTES)
        while chunk and size <= LIMITS.lambda_image_bytes:
            size += len(unzip.decompress(chunk))
            chunk = layer.read(CHUNK_BYTES)
        return size
    size = len(head)
    while chunk := data.read(CHUNK_BYTES):
        size += len(chunk)
    return size


# The engine


def _in_engine(each: Prebuilt, client: APIClient) -> Found:
    if each.archive is None:
        image = engine.inspect(client, each.reference.text)
        if image is None:
            raise NoSuchImage(
                "the engine of this machine has no such image",
                "Build or pull it first, or name it with the host of its registry.",
            )
        return Found(image.config, image.platform, image.size_bytes, image)
    told = _read_archive(each.archive)
    image = _load(client, each.archive, told.config)
    return Found(image.config, image.platform, image.size_bytes, image)


def _load(client: APIClient, path: Path, config: str) -> EngineImage:
    """Have the engine load an archive that holds the image of that config. Raises StageError."""
    from docker.errors import APIError

    load: Any = client.load_image
    try:
        with path.open("rb") as file:
            said = "".join(str(event.get("stream", "")) for event in load(file))
    except APIError as error:
        raise StageError(f"the engine does not load {path.name}: {error.explanation}") from error
    names = [line.partition(": ")[2].strip() for line in said.splitlines() if line.startswith(_LOADED)]
    for name in names:
        image = engine.inspect(client, name)
        if image is not None and image.config == config:
            return image
    raise StageError(
        f"the engine loaded {path.name} as {', '.join(names) or 'nothing'}, which is not {config}", cls="mismatch"
    )


# Registries


def _in_registry(reference: Reference) -> Found:
    """The image that a registry has under a tag or digest now, named by digest."""
    host = str(reference.host)
    url = f"{scheme(host)}://{'registry-1.docker.io' if host == 'docker.io' else host}/v2/{reference.name}"
    repository = registry.Repository(url, registry.connections(url, 1), logins.Auth(logins.configured(host)))
    try:
        manifest = registry.manifest(repository, reference.digest or str(reference.tag))
        if manifest is None:
            raise NoSuchImage(
                "its registry has no such image", f"Is it pushed, and is the name right? {reference.repository}"
            )
        if manifest.type in registry.INDEX_TYPES:
            raise _index(reference, json.loads(manifest.content))
        if manifest.type not in registry.MANIFEST_TYPES or manifest.config is None:
            raise NoSuchImage(
                f"its registry has a {manifest.type or 'document without type'} there, which is no image", ""
            )
        return _pinned(reference, repository, manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{reference.text}: its registry serves no image: {error!r}", cls="mismatch") from error
    finally:
        repository.http.clear()


def _pinned(reference: Reference, repository: registry.Repository, manifest: registry.Manifest) -> Found:
    document = json.loads(manifest.content)
    size = int(document["config"]["size"])
    if size > archive.JSON_BYTES:
        raise NoSuchImage(f"its config has {size:,} bytes", "That is no image's config.")
    config = json.loads(b"".join(registry.blob(repository, str(manifest.config), size)))
    return Found(
        config=str(manifest.config),
        platform=f"{config['os']}/{config['architecture']}",
        size_bytes=sum(int(layer["size"]) for layer in document["layers"]),
        carrier={"type": "registry", "name": reference.repository, "manifest": manifest.digest},
    )


def _index(reference: Reference, document: Json) -> NoSuchImage:
    """An index of images for several platforms: Lambda takes one image, so one of them has to be named."""
    listed = [
        f"{platform['os']}/{platform['architecture']} {reference.repository}@{each['digest']}"
        for each in document["manifests"]
        if (platform := each.get("platform") or {}).get("os", "unknown") != "unknown"
    ]
    hint = "Name one of them by its digest: " + ", ".join(listed) if listed else "Name an image of one platform."
    return NoSuchImage(f"it is an index of {len(document['manifests'])} images, and Lambda takes one image only", hint)
