"""Write the release: the packaged template, and release.json, which says what is in it and names it by its digest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from stages.contract import Json
    from stages.package.handed import Images

VERSION = 1
TEMPLATE = "packaged-template.yaml"


def write(folder: Path, images: Images, manifests: dict[str, str], uris: dict[str, str], packaged: bytes) -> str:
    """Write the release into `folder` and return its digest."""
    functions: dict[str, Json] = {
        image.function: {
            "path": list(image.path),
            "source": image.source,
            "config": image.config,
            "manifest": manifests[image.function],
            "platform": image.platform,
            "size": image.size,
            "image": uris[image.function],
        }
        for image in images.images
    }
    template = {"source": sha256(images.template.data), "packaged": sha256(packaged)}
    release = digest(template["source"], functions)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TEMPLATE).write_bytes(packaged)
    document = {"v": VERSION, "functions": functions, "template": template, "digest": release}
    (folder / "release.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return release


def digest(template: str, functions: dict[str, Json]) -> str:
    """The digest that names a release wherever it is copied: it covers no registry's host, and no repository."""
    content = {
        "v": VERSION,
        "template": template,
        "functions": {
            name: {key: each[key] for key in ("path", "config", "manifest")} for name, each in functions.items()
        },
    }
    return sha256(canonical(content))


def canonical(document: Any) -> bytes:
    """JSON with its keys sorted and no spaces, in UTF-8: the same document gives the same bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
