"""The bill of materials of an image: CycloneDX 1.6, the same bytes for the same image."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from stages.bom.purl import purl

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

    from stages.bom.packages import Distribution, Inventory, Package

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:towpath:sbom")


def sbom(config: str, inventory: Inventory) -> bytes:
    """Give the SBOM of the image with this config digest. It bears no time and no chance: its serial is the digest's."""
    from cyclonedx.model.bom import Bom  # late: it costs 100 ms
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    image = Component(name=config, type=ComponentType.CONTAINER, bom_ref=config)
    components = [_component(package, inventory.distribution) for package in inventory.packages]
    if inventory.distribution:
        name, version = inventory.distribution.id, inventory.distribution.version or None
        components.insert(0, Component(name=name, version=version, type=ComponentType.OPERATING_SYSTEM, bom_ref="os"))
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, config), components=components)
    bom.metadata.component = image
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the library sets now; the schema lets it be left out
    bom.register_dependency(image, components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text.encode() + b"\n"


def _component(package: Package, distribution: Distribution | None) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    url = purl(package, distribution)
    group = url.namespace if package.type == "npm" else None
    reference = url.to_string()
    return Component(
        name=url.name, group=group, version=package.version, type=ComponentType.LIBRARY, purl=url, bom_ref=reference
    )
