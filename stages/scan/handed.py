"""The images to scan: those that `build` handed on, by config digest, or those of a release, by manifest digest."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.contract import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from stages.contract import Json, Request

VERSION = 2
"""Of images.json and release.json, see docs/reference/hand-over.md."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FUNCTION = re.compile(r"[A-Za-z0-9]{1,255}(?:/[A-Za-z0-9]{1,255})*")


@dataclass(frozen=True)
class Image:
    """One image, and the functions that run it. `carrier` says where its bytes are."""

    functions: tuple[str, ...]
    config: str
    carrier: Json

    @property
    def shown(self) -> str:
        return ", ".join(self.functions)


def read(request: Request, work: Path) -> tuple[list[Image], Path]:
    """Read the one artifact that the stage was given; give its images and its folder. Raises StageError."""
    name = next(iter(request.inputs), None)
    if name not in ("images", "release"):
        raise StageError(f"scan takes images or a release, and was given {name or 'nothing'}", cls="fault")
    folder = work / request.inputs[name]
    file = f"{name if name == 'release' else 'images'}.json"
    try:
        document: Any = json.loads((folder / file).read_bytes())
        if document["v"] != VERSION:
            raise StageError(
                f"{file} has format version {document['v']}, and this Towpath reads version {VERSION}",
                hint="Run all stages with the same version of Towpath.",
            )
        carrier = _released if name == "release" else _built
        carriers = {function: carrier(about) for function, about in document["functions"].items()}
        return _images(document["functions"], carriers), folder
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{file} is not what the stage before writes: {error!r}", cls="mismatch") from error


def _images(functions: Json, carriers: dict[str, Json]) -> list[Image]:
    """Each image once."""
    shared: dict[str, list[str]] = {}
    for name in sorted(functions):
        config = functions[name]["config"]
        if not _FUNCTION.fullmatch(name) or not _DIGEST.fullmatch(config):
            raise ValueError(f"{name!r} with {config!r} is no function with an image")
        shared.setdefault(config, []).append(name)
    return [Image(tuple(names), config, carriers[names[0]]) for config, names in shared.items()]


def _built(function: Json) -> Json:
    return dict(function["carrier"])


def _released(function: Json) -> Json:
    name, _, manifest = function["image"].partition("@")
    if manifest != function["manifest"] or not _DIGEST.fullmatch(manifest) or "/" not in name:
        raise ValueError(f"{function['image']!r} is no image with the digest {function['manifest']!r}")
    return {"type": "registry", "name": name, "manifest": manifest}
