"""Where the bytes of the images are that have to be pushed, each found and proven to be the image meant."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import StageError
from stages.images import engine, layout, parallel, registry
from stages.images.uploads import FromLayout, FromRegistry
from stages.package.handed import base_name
from stages.package.repositories import Place

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from docker import APIClient

    from stages.images.registry import Repository
    from stages.package.handed import Image, Images
    from stages.package.registries import Registries

Source: TypeAlias = FromLayout | FromRegistry | str
"""An image that we copy ourselves, or one that the engine pushes, by its id there."""


def is_pinned(image: Image) -> bool:
    """Whether the image was built elsewhere and is in a registry already: it stays there."""
    return image.source is None and image.carrier.get("type") == "registry"


def needs_engine(images: list[Image]) -> bool:
    """Whether any of the images is in the engine."""
    return any(image.carrier.get("type") == "engine" for image in images)


def find(images: Images, wanted: list[Image], client: APIClient | None, registries: Registries) -> dict[str, Source]:
    """Find the wanted images by their config digest: verified in the layout, by its id in the engine, or in the registry that
    holds it. Raises StageError: one is not there, or not the image that was handed over."""
    here = engine.engine_id(client) if client else ""
    tasks: dict[str, Callable[[threading.Event], Source]] = {}
    for image in wanted:
        kind = image.carrier.get("type")
        if kind == "engine" and client:
            tasks.setdefault(image.config, partial(_in_engine, image, client, here))
        elif kind == "oci-layout":
            tasks.setdefault(image.config, partial(_in_layout, image, images.folder))
        elif kind == "registry":
            repository = registries.open(_place(image)).repository
            tasks.setdefault(image.config, partial(_held, image, repository))
        else:
            raise StageError(
                f"{image.function}: its image is carried by {kind!r}, which package cannot read",
                hint="Build with the carrier `engine` or `oci-layout`.",
            )
    return parallel.run(tasks, registries.jobs)


def _in_layout(image: Image, folder: Path, stop: threading.Event) -> Source:
    if stop.is_set():
        raise parallel.Stopped
    return FromLayout(layout.read(folder / base_name(str(image.carrier["path"])), image.config))


_OTHER_ENGINE = (
    "Run package on the machine that built, or build with `carrier: oci-layout`, so that images travel in the record."
)


def _in_engine(image: Image, client: APIClient, here: str, stop: threading.Event) -> Source:
    if stop.is_set():
        raise parallel.Stopped
    name = str(image.carrier.get("image"))
    if image.carrier.get("engine") != here:
        raise StageError(
            f"{image.function}: its image was built in the engine {image.carrier.get('engine')}, and this is {here}",
            hint=_OTHER_ENGINE,
        )
    known = engine.inspect(client, name)
    if known is None:
        raise StageError(
            f"{image.function}: its image {name} is no longer in this machine's engine",
            hint="Somebody removed it (`docker image prune`?). Start a new run: towpath run",
        )
    if known.config != image.config:
        raise StageError(f"{image.function}: the engine has {known.config}, not {image.config}", cls="mismatch")
    return known.id


def _place(image: Image) -> Place:
    host, _, path = str(image.carrier.get("name")).partition("/")
    return Place(host, path)


def _held(image: Image, repository: Repository, stop: threading.Event) -> Source:
    """The image in the repository that holds it, asked for by the digest that was handed over."""
    if stop.is_set():
        raise parallel.Stopped
    name, digest = str(image.carrier.get("name")), str(image.carrier.get("manifest"))
    manifest = registry.manifest(repository, digest) if digest.startswith("sha256:") else None
    if manifest is None:
        raise StageError(
            f"{image.function}: its image {name}@{digest} is no longer in the registry that holds it",
            hint="Somebody removed it (a lifecycle policy?). Start a new run: towpath run",
        )
    if manifest.type not in registry.MANIFEST_TYPES or manifest.config != image.config:
        raise StageError(
            f"{image.function}: the registry holds a {manifest.type} of {manifest.config}, not of {image.config}",
            cls="mismatch",
        )
    return FromRegistry(repository, manifest)
