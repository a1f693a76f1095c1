"""Read images from wherever they are carried, and prove that what was read is the image that its config names.

An image's identity is its config, the config names each layer's content by digest, and the layers are hashed while they
are read: so it does not matter who carried them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.bom import layers
from stages.contract import StageError
from stages.images import archive, engine, layout, registry
from stages.images.logins import Auth, Login, configured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker import APIClient

    from stages.aws.session import Session
    from stages.bom.layers import Contents, Layer
    from stages.contract import Json, Request
    from stages.images.registry import Repository
    from stages.scan.handed import Image


@dataclass
class _Reading:
    """What the images of one stage share: what they may cost together, and layers that several have."""

    budget: layers.Budget = field(default_factory=layers.Budget)
    layers: dict[str, Layer] = field(default_factory=dict)


def contents(images: list[Image], folder: Path, request: Request) -> dict[str, Contents]:
    """Give what each image holds, by its config digest. Raises StageError: not to be had, or not the image it should be."""
    reading = _Reading()
    found: dict[str, Contents] = {}
    for kind in ("engine", "oci-layout", "registry"):
        some = [image for image in images if image.carrier.get("type") == kind]
        if some and kind == "engine":
            found |= _from_engine(some, reading)
        elif some and kind == "oci-layout":
            found |= {image.config: _from_layout(image, folder, reading) for image in some}
        elif some:
            found |= _from_registry(some, request, reading)
    for image in images:
        if image.config not in found:
            raise StageError(
                f"{image.shown}: its image is carried by {image.carrier.get('type')!r}, which scan cannot read"
            )
    return found


def _proven(image: Image, config: bytes, read: list[Layer]) -> Contents:
    """What the layers hold, if they are those that the config names, and the config is the image's."""
    try:
        named = [str(each) for each in json.loads(config)["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{image.shown}: the config of its image is none: {error!r}", cls="mismatch") from error
    same = len(named) == len(read) and all(
        layer.diff_id in (None, digest) for layer, digest in zip(read, named, strict=True)
    )
    if f"sha256:{hashlib.sha256(config).hexdigest()}" != image.config or not same:
        raise StageError(f"{image.shown}: what was read is not the image {image.config}", cls="mismatch")
    return layers.stack(read)


# The engine: one export of all images, so that layers they share are read once


def _from_engine(images: list[Image], reading: _Reading) -> dict[str, Contents]:
    with engine.connect() as client:
        names = {image.config: _in_engine(image, client) for image in images}
        exported = archive.images(
            engine.save(client, sorted(names.values())), lambda data: layers.read(data, reading.budget)
        )
    found = {each.digest: each for each in exported}
    if missing := [image for image in images if image.config not in found]:
        raise StageError(f"the engine's export lacks the image of {missing[0].shown}", cls="mismatch")
    return {image.config: _proven(image, found[image.config].config, found[image.config].layers) for image in images}


def _in_engine(image: Image, client: APIClient) -> str:
    name, here = str(image.carrier.get("image")), engine.engine_id(client)
    if image.carrier.get("engine") != here:
        raise StageError(
            f"{image.shown}: its image was built in the engine {image.carrier.get('engine')}, and this is {here}",
            hint="Run scan on the machine that built, or build with `carrier: oci-layout`, so that images travel in the record.",
        )
    if engine.find(client, name) is None:
        hint = "Somebody removed it (`docker image prune`?). Start a new run: towpath run"
        raise StageError(f"{image.shown}: its image {name} is no longer in this machine's engine", hint=hint)
    return name


# An OCI layout in the record


def _from_layout(image: Image, folder: Path, reading: _Reading) -> Contents:
    name = str(image.carrier.get("path"))
    if "/" in name or name in ("", ".", ".."):
        raise StageError(f"{image.shown}: {name!r} is no folder's name", cls="mismatch")
    found = layout.read(folder / name, image.config)
    blobs = {blob.digest: blob for blob in found.blobs}

    def read(digest: str) -> Layer:
        with found.path(blobs[digest]).open("rb") as file:
            return layers.read(file, reading.budget)

    config = found.path(found.blobs[0]).read_bytes()
    return _proven(image, config, [_once(each["digest"], read, reading) for each in _layers(found.manifest)])


def _once(digest: str, read: Any, reading: _Reading) -> Layer:
    if digest not in reading.layers:
        reading.layers[digest] = read(digest)
    return reading.layers[digest]


def _layers(manifest: bytes) -> list[Json]:
    """The layers that a manifest names, the lowest first. Raises StageError."""
    try:
        return [{"digest": str(each["digest"]), "size": int(each["size"])} for each in json.loads(manifest)["layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"a manifest names no layers: {error!r}", cls="mismatch") from error


# A registry


def _from_registry(images: list[Image], request: Request, reading: _Reading) -> dict[str, Contents]:
    @functools.cache
    def session() -> Session | None:
        from stages.aws.session import connect  # late: images that were built are scanned without AWS
        from stages.contract import Access

        return connect(request.target, request.access or Access()) if request.target else None

    return {image.config: _from_repository(image, session, reading) for image in images}


def _from_repository(image: Image, session: Callable[[], Session | None], reading: _Reading) -> Contents:
    with _repository(image, session) as repository:
        manifest = registry.manifest(repository, str(image.carrier["manifest"]))
        if manifest is None:
            raise StageError(
                f"{image.shown}: the registry does not have {image.carrier['name']}@{image.carrier['manifest']}"
            )
        if manifest.type not in registry.MANIFEST_TYPES or manifest.config != image.config:
            found = f"{manifest.type} of {manifest.config}"
            raise StageError(f"{image.shown}: the registry has a {found}, not of {image.config}", cls="mismatch")
        size = json.loads(manifest.content)["config"].get("size")
        if not isinstance(size, int) or size > archive.JSON_BYTES:
            raise StageError(f"{image.shown}: the config of its image has {size} bytes", cls="mismatch")
        config = b"".join(registry.blob(repository, image.config, size))
        sizes = {each["digest"]: each["size"] for each in _layers(manifest.content)}

        def read(digest: str) -> Layer:
            with contextlib.closing(registry.blob(repository, digest, sizes[digest])) as chunks:
                return layers.read(chunks, reading.budget)

        return _proven(image, config, [_once(each["digest"], read, reading) for each in _layers(manifest.content)])


@contextlib.contextmanager
def _repository(image: Image, session: Callable[[], Session | None]) -> Iterator[Repository]:
    """The repository of an image, wherever its registry answers.

    To one of ECR the session logs in, if there is one; to all others what the user's Docker configuration has.
    """
    from stages.aws import ecr, names
    from stages.contract import Access

    host, _, name = str(image.carrier["name"]).partition("/")
    match = names.ECR_HOST.fullmatch(host)
    ours = session() if match else None
    where = names.registry(host, ours.access if ours else Access())
    url = f"{where.scheme}://{where.host}/v2/{where.repository(name)}"
    if match and ours:
        auth = Auth(Login(*ecr.login(ours.elsewhere(match["account"], match["region"]))))
    else:
        auth = Auth(configured(host))
    repository = registry.Repository(url, registry.connections(url, 1), auth)
    try:
        yield repository
    finally:
        repository.http.clear()
