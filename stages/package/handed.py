"""What `build` handed over: images.json and the templates, read and verified before anything is pushed."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages import template as templates
from stages.contract import InvalidInput, StageError
from stages.images import engine, layout

if TYPE_CHECKING:
    from docker import APIClient

    from stages.contract import Json
    from stages.images.layout import LayoutImage
    from stages.template import Application, Slot

VERSION = 2
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """A function's image as it was handed over: where its URI belongs, and in `carrier` where its bytes are.

    `source` is None for an image that somebody else built.
    """

    function: str
    stack: str
    path: tuple[str | int, ...]
    slot: Slot
    source: str | None
    config: str
    platform: str
    size: int
    carrier: Json


@dataclass(frozen=True)
class Images:
    application: Application
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
        application = _application(folder / "templates", document)
        _compare(application, document["functions"])
        slots = {function.id: function.slot for function in application.functions}
        images = [_image(name, each, slots[name]) for name, each in sorted(document["functions"].items())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise StageError(f"the artifact `images` is not what build writes: {error!r}", cls="mismatch") from error
    return Images(application, images, folder)


def _application(folder: Path, document: Json) -> Application:
    """The application, as build read it. Its templates name each other by paths below `folder`, and by none out of it."""
    root = Path(os.path.realpath(folder))

    def read(file: str) -> bytes:
        path = Path(os.path.realpath(root / file))
        if not path.is_relative_to(root) or not path.is_file():
            raise templates.Unreadable("is not in the artifact")
        return path.read_bytes()

    files = {str(path): str(file) for path, file in document["templates"].items()}
    parameters = {str(name): str(value) for name, value in document["parameters"].items()}
    application, problems = templates.load(read, files[""], parameters)
    if problems:
        raise InvalidInput(problems)
    if files != {path: stack.template.file for path, stack in application.stacks.items()}:
        raise ValueError("its templates are not those of the application")
    return application


def _image(name: str, data: Json, slot: Slot) -> Image:
    for key in ("source", "config"):
        if not (_DIGEST.fullmatch(data[key] or "") or (key == "source" and data[key] is None)):
            raise ValueError(f"{key} of {name} is no digest")
    return Image(
        function=name,
        stack=str(data["stack"]),
        path=_path(data),
        slot=slot,
        source=data["source"],
        config=data["config"],
        platform=str(data["platform"]),
        size=int(data["size"]),
        carrier=dict(data["carrier"]),
    )


def _path(data: Json) -> tuple[str | int, ...]:
    return tuple(part if isinstance(part, int) else str(part) for part in data["path"])


def _base_name(name: str) -> str:
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f"{name!r} is no file name")
    return name


def _compare(application: Application, functions: Json) -> None:
    """Refuse templates whose functions are not those that images were built for."""
    wanted = {(each.id, each.stack, each.path) for each in application.functions}
    given = {(name, str(each["stack"]), _path(each)) for name, each in functions.items()}
    if wanted != given:
        names = ", ".join(sorted({name for name, _, _ in wanted ^ given}))
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
