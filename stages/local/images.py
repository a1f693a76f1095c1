"""Which image a function runs: the one that is named, the one that its template names, or the one that was built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from stages.contract import StageError
from stages.images import engine as engines
from stages.images.direct import Refused
from stages.template import BuiltImage
from stages.template.references import parse

if TYPE_CHECKING:
    from stages.contract import Json
    from stages.images.direct import Engine
    from stages.template import Function

_BUILD = "Build it: towpath build"


@dataclass(frozen=True)
class Wanted:
    """An image by the engine's name for it. `pulls` says whether it may be fetched if the engine lacks it."""

    name: str
    platform: str
    function: str
    pulls: bool = False


def wanted(function: Function, image: str | None, built: Json | None) -> Wanted:
    """The image of a function. `image` is what somebody asked for instead, `built` the last build's images.json.

    Raises StageError: nothing was built for it, or what was built is not in an engine.
    """
    if image is not None:
        return _named(function, image)
    named = function.image
    if not isinstance(named, BuiltImage) and named.kind != "archive":
        return _named(function, named.text)
    entry = (built or {}).get("functions", {}).get(function.id)
    if entry is None:
        what = "no build of this template is recorded" if built is None else "the last build did not build it"
        raise StageError(f"{function.id}: {what}", hint=f"{_BUILD}, or give --build", cls="invalid")
    carrier = entry["carrier"]
    if carrier["type"] == "registry":
        return Wanted(f"{carrier['name']}@{carrier['manifest']}", function.platform, function.id, pulls=True)
    return Wanted(str(carrier.get("image") or entry["config"]), function.platform, function.id)


def _named(function: Function, name: str) -> Wanted:
    try:
        reference = parse(name)
    except ValueError as error:
        raise StageError(f"{name!r} names no image: {error}", cls="invalid") from error
    return Wanted(name, function.platform, function.id, pulls=reference.kind.startswith("registry"))


def find(engine: Engine, image: Wanted) -> str:
    """The engine's id of the image, which is pulled if it may be. Raises StageError."""
    found = _look(engine, image)
    if found is None and image.pulls:
        _pull(image)
        found = _look(engine, image)
    if found is None:
        hint = f"{_BUILD}. One in a registry is named with its host: --image HOST/NAME@sha256:..."
        raise StageError(f"{image.function}: the engine does not have the image {image.name}", hint=hint)
    platform = f"{found['Os']}/{found['Architecture']}"
    if platform != image.platform:
        hint = "Correct Architectures of the function, or build the image for it."
        message = f"{image.function}: the function is {image.platform}, and its image is {platform}"
        raise StageError(message, hint=hint, cls="invalid")
    return str(found["Id"])


def _look(engine: Engine, image: Wanted) -> Json | None:
    try:
        found: Json = engine.call("GET", f"/images/{quote(image.name)}/json")
    except Refused as error:
        if error.status in (400, 404):
            return None
        raise StageError(f"{image.function}: {error.message}") from error
    return found


def _pull(image: Wanted) -> None:
    from docker.errors import APIError

    with engines.connect() as client:
        try:
            client.pull(image.name, platform=image.platform)
        except APIError as error:
            hint = "Is the name right, and is this user logged in there (docker login)?"
            message = f"{image.function}: {image.name} cannot be pulled: {error.explanation}"
            raise StageError(message, hint=hint) from error
