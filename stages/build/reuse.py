"""What an earlier build has made already. The decision is pure; see docs/adr/0012 for what it may rest on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from stages.images.engine import EngineImage

if TYPE_CHECKING:
    from pathlib import Path

    from stages.build.sources import Source
    from stages.contract import Json
    from stages.images.engine import Images

VERSION = 2
"""Of images.json that is read, see docs/reference/hand-over.md."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def earlier(folder: Path | None) -> list[Json]:
    """The functions of an earlier build's images.json: what the runner has verified, or nothing."""
    try:
        document = json.loads((folder / "images.json").read_bytes()) if folder else {}
        functions = document["functions"].values() if document.get("v") == VERSION else ()
        return [dict(each) for each in functions]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def images(known: list[Json]) -> set[str]:
    """The engine's ids of what was built earlier."""
    return {image.id for each in known if (image := _image(each))}


def reusable(sources: list[Source], known: list[Json], images: Images, builder: str) -> dict[str, EngineImage]:
    """The images that need not be built, by source hash. `builder` is the one that must have built them, or `auto`.

    It must be of the very same source, with base images that the engine still has or lacks as it did then, for the platform that
    is wanted, and still in this engine. A source that leaves a doubt is always built.
    """
    by_source = {each.get("source"): each for each in known if isinstance(each.get("bases"), dict)}
    found = {}
    for source in sources:
        entry = by_source.get(source.hash) if source.bases is not None else None
        image = _image(entry) if entry and builder in ("auto", entry.get("builder")) else None
        if image and images.find(image.id) and image.platform == source.definition.function.platform:
            found[source.hash] = image
    return found


def _image(entry: Json) -> EngineImage | None:
    carrier = entry.get("carrier") or {}
    image = carrier.get("image", entry.get("config"))
    size, config, platform = entry.get("size"), entry.get("config"), entry.get("platform")
    if not isinstance(size, int) or not isinstance(platform, str):
        return None
    if not all(isinstance(each, str) and _DIGEST.fullmatch(each) for each in (config, image)):
        return None
    return EngineImage(str(image), str(config), platform, size)
