"""Write the release: the packaged templates, and release.json, which says what is in them and names it by its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.s3 import Object
    from stages.contract import Json
    from stages.package.handed import Images
    from stages.template import Slot

VERSION = 2
TEMPLATE = "packaged-template.yaml"
NESTED = "nested"


@dataclass(frozen=True)
class Packaged:
    """A packaged template, and where a nested one was uploaded to: what the template around it names it by."""

    data: bytes
    url: str | None = None


def write(
    folder: Path,
    images: Images,
    uris: dict[str, str],
    packaged: dict[str, Packaged],
    uploads: dict[Slot, Object],
    *,
    commit: str | None = None,
) -> str:
    """Write the release into `folder` and return its digest. `packaged` are the templates by the path of their stack, `commit`
    is the one that all of it was made from."""
    functions: dict[str, Json] = {
        image.function: {
            "stack": image.stack,
            "path": list(image.path),
            "source": image.source,
            "config": image.config,
            "manifest": uris[image.function].rpartition("@")[2],
            "platform": image.platform,
            "size": image.size,
            "base": image.base,
            "image": uris[image.function],
        }
        for image in images.images
    }
    templates: dict[str, Json] = {
        path: {
            "file": file_name(path),
            "source": sha256(stack.template.data),
            "packaged": sha256(packaged[path].data),
            "url": packaged[path].url,
        }
        for path, stack in images.application.stacks.items()
    }
    for path, each in packaged.items():
        file = folder / file_name(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(each.data)
    document = {
        "v": VERSION,
        "commit": commit,
        "functions": functions,
        "templates": templates,
        "parameters": images.application.parameters,
        "uploads": [
            {
                "id": each.artifact.id,
                "stack": each.artifact.stack,
                "path": list(each.artifact.slot.path),
                "name": each.artifact.name,
                "sha256": each.sha256,
                "size": each.size,
                "uri": uploads[each.artifact.slot].uri,
            }
            for each in images.artifacts
        ],
    }
    document["digest"] = digest(document)
    (folder / "release.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return str(document["digest"])


def file_name(stack: str) -> str:
    """The file of a stack's packaged template. Logical ids have no dots, so no two stacks have the same."""
    return f"{NESTED}/{stack}.yaml" if stack else TEMPLATE


def digest(document: Json) -> str:
    """The digest that names a release wherever it is copied: it covers no registry's host, no repository and no bucket."""
    content = {
        "v": VERSION,
        "templates": {path: each["source"] for path, each in document["templates"].items()},
        "parameters": document["parameters"],
        "functions": {
            name: {key: each[key] for key in ("stack", "path", "config", "manifest")}
            for name, each in document["functions"].items()
        },
        "uploads": [{key: each[key] for key in ("stack", "path", "sha256")} for each in document["uploads"]],
    }
    return sha256(canonical(content))


def canonical(document: Any) -> bytes:
    """JSON with its keys sorted and no spaces, in UTF-8: the same document gives the same bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
