"""What `build` handed over: images.json and the template, read and verified before anything is pushed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages import template as templates
from stages.contract import InvalidInput, StageError
from stages.images import engine, layout

if TYPE_CHECKING:
    from pathlib import Path

    from docker import APIClient

    from stages.contract import Json
    from stages.images.layout import LayoutImage
    from stages.template import Template

VERSION = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """A function's image as it was handed over. `carrier` says where its bytes are."""

    function: str
    path: tuple[str, ...]
    source: str
    config: str
    platform: str
    size: int
    carrier: Json


@dataclass(frozen=True)
class Images:
    template: Template
    images: list[Image]
    folder: Path


def read(folder: Path) -> Images:
    """Read the `images` artifact. Raises StageError of class `mismatch` if it is not of the form build gives it."""
    try:
        document = json.loads((folder / "images.json").read_bytes())
        if document["v"] != VERSION:
            raise StageError(
                f"images.json has format version {document['v']}, and this Towpath reads version {VERSION}",
                hint="Run build and package with the same version of Towpath.",
            )
        images = [_image(name, each) for name, each in sorted(document["functions"].items())]
        file = _base_name(document["template"])
        template = templates.read((folder / file).read_bytes(), file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise StageError(f"the artifact `images` is not what build writes: {error!r}", cls="mismatch") from error
    _compare(template, images)
    return Images(template, images, folder)


def _image(name: str, data: Json) -> Image:
    for key in ("source", "config"):
        if not _DIGEST.fullmatch(data[key]):
            raise ValueError(f"{key} of {name} is no digest")
    return Image(
        function=name,
        path=tuple(str(part) for part in data["path"]),
        source=data["source"],
        config=data["config"],
        platform=str(data["platform"]),
        size=int(data["size"]),
        carrier=dict(data["carrier"]),
    )


def _base_name(name: str) -> str:
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f"{name!r} is no file name")
    return name


def _compare(template: Template, images: list[Image]) -> None:
    """Refuse a template whose functions are not those that images were built for."""
    found, _ = templates.functions(template)
    wanted, given = {(each.id, each.path) for each in found}, {(each.function, each.path) for each in images}
    if wanted != given:
        names = ", ".join(sorted(name for name, _ in wanted ^ given))
        raise StageError(f"the template and the images do not have the same functions: {names}", cls="mismatch")


def find(images: Images, client: APIClient | None) -> dict[str, LayoutImage | str]:
    """Find every image by its config digest: verified in the layout, or by its id in the engine. Raises StageError."""
    here = engine.engine_id(client) if client else ""
    found: dict[str, LayoutImage | str] = {}
    for image in images.images:
        if image.config in found:
            continue
        kind = image.carrier.get("type")
        if kind == "oci-layout":
            found[image.config] = layout.read(images.folder / _base_name(str(image.carrier["path"])), image.config)
        elif kind == "engine" and client:
            found[image.config] = _in_engine(image, client, here)
        else:
            raise StageError(
                f"{image.function}: its image is carried by {kind!r}, which package cannot read",
                hint="Build with the carrier `engine` or `oci-layout`.",
            )
    return found


_OTHER_ENGINE = (
    "Run package on the machine that built, or build with `carrier: oci-layout`, so that images travel in the record."
)


def _in_engine(image: Image, client: APIClient, here: str) -> str:
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
