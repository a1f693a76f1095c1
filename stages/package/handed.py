"""What `build` handed over: images.json and the templates, read and verified before anything is pushed."""

from __future__ import annotations

import hashlib
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
    from stages.template import Application, Artifact, Slot

VERSION = 2
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """A function's image as it was handed over: where its URI belongs, and in `carrier` where its bytes are.

    `source` is None for an image that somebody else built, `base` where nothing is known of the image it grows from.
    """

    function: str
    stack: str
    path: tuple[str | int, ...]
    slot: Slot
    source: str | None
    config: str
    platform: str
    size: int
    base: str | None
    carrier: Json


@dataclass(frozen=True)
class Local:
    """Something besides images that a template names, and where its bytes are in the artifact: verified."""

    artifact: Artifact
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Images:
    application: Application
    images: list[Image]
    folder: Path
    artifacts: list[Local]


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
        artifacts = _artifacts(application, document.get("artifacts", []), folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise StageError(f"the artifact `images` is not what build writes: {error!r}", cls="mismatch") from error
    return Images(application, images, folder, artifacts)


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


def _artifacts(application: Application, rows: list[Json], folder: Path) -> list[Local]:
    """What build gathered for the templates, in their order. Raises ValueError if it is not just that."""
    named = templates.artifacts(application)
    wanted = [(each.id, each.stack, list(each.slot.path), each.name) for each in named]
    if wanted != [(row["id"], row["stack"], row["path"], row["name"]) for row in rows]:
        raise ValueError("its artifacts are not those that the templates name")
    return [_local(artifact, row, folder) for artifact, row in zip(named, rows, strict=True)]


def _local(artifact: Artifact, row: Json, folder: Path) -> Local:
    path = folder / "artifacts" / base_name(str(row["file"]).removeprefix("artifacts/"))
    if path.is_symlink():
        raise ValueError(f"{row['file']} is no plain file")
    with path.open("rb") as file:
        sha256 = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if sha256 != row["sha256"] or path.name.partition(".")[0] != sha256.removeprefix("sha256:"):
        raise ValueError(f"{row['file']} holds something else ({sha256})")
    return Local(artifact, path, sha256, path.stat().st_size)


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
        base=str(data["base"]) if data.get("base") else None,
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
