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

if TYPE_CHECKING:
    from stages.contract import Json
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


def base_name(name: str) -> str:
    """The name itself, if it is a file's in the artifact. Raises ValueError."""
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
