"""Gather what images are built from: contexts packed once, source hashes, and one build for equal definitions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.contract import StageError
from stages.images import context

if TYPE_CHECKING:
    from pathlib import Path

    from stages.build.definitions import Definition


@dataclass(frozen=True)
class Source:
    """One image to build: the digest of all that goes into it, its packed context, and the functions that share it."""

    hash: str
    archive: Path
    definition: Definition
    functions: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """`hashes` has the source hash of every function, by its id."""

    builds: list[Source]
    hashes: dict[str, str]


def gather(definitions: list[Definition], folder: Path) -> Sources:
    """Pack the contexts into `folder` and hash what is built. Raises StageError if a context cannot be packed."""
    packed: dict[tuple[Path, str], tuple[Path, str]] = {}
    hashes: dict[str, str] = {}
    grouped: dict[str, list[Definition]] = {}
    for definition in definitions:
        key = (definition.context, definition.dockerfile)
        if key not in packed:
            packed[key] = _pack(definition, folder / f"{len(packed)}.tar")
        hashes[definition.function.id] = source_hash(definition, packed[key][1])
        grouped.setdefault(hashes[definition.function.id], []).append(definition)
    builds = [
        Source(
            digest,
            packed[group[0].context, group[0].dockerfile][0],
            group[0],
            tuple(each.function.id for each in group),
        )
        for digest, group in grouped.items()
    ]
    return Sources(builds, hashes)


def _pack(definition: Definition, archive: Path) -> tuple[Path, str]:
    try:
        with archive.open("wb") as out:
            return archive, context.pack(definition.context, definition.dockerfile, out)
    except OSError as error:
        raise StageError(
            f"{definition.function.id}: its build context cannot be packed: {error.strerror or error}",
            hint="A .dockerignore file beside the Dockerfile keeps out of the context what is not needed to build.",
        ) from error


def source_hash(definition: Definition, context_digest: str) -> str:
    """The digest of all that decides what is built, the base image aside: context, Dockerfile, arguments, target, platform."""
    parts = {
        "v": 1,
        "context": context_digest,
        "dockerfile": definition.dockerfile,
        "args": definition.args,
        "target": definition.image.target,
        "platform": definition.function.platform,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
