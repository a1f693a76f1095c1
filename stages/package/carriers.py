"""Where the bytes of the images are that have to be pushed, each found and proven to be the image meant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import StageError
from stages.images import registry
from stages.images.layout import LayoutImage
from stages.images.uploads import FromLayout, FromRegistry
from stages.package import handed
from stages.package.repositories import Place

if TYPE_CHECKING:
    from docker import APIClient

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
    """Find the wanted images by their config digest: in the layout, in the engine, or in the registry that holds them.

    Raises StageError: one is not there, or not the image that was handed over.
    """
    held = [image for image in wanted if image.carrier.get("type") == "registry"]
    here = handed.find(replace(images, images=[image for image in wanted if image not in held]), client)
    found: dict[str, Source] = {
        config: FromLayout(each) if isinstance(each, LayoutImage) else each for config, each in here.items()
    }
    for image in held:
        if image.config not in found:
            found[image.config] = _held(image, registries)
    return found


def _held(image: Image, registries: Registries) -> FromRegistry:
    """The image in the repository that holds it, asked for by the digest that was handed over."""
    name, digest = str(image.carrier.get("name")), str(image.carrier.get("manifest"))
    host, _, path = name.partition("/")
    repository = registries.open(Place(host, path)).repository
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
