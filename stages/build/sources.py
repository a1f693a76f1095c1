"""What images are built from: contexts, Dockerfiles and base images, by digest, and one build for equal definitions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stages.build import flags
from stages.contract import StageError
from stages.images import context, dockerfile
from stages.images.statcache import StatCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from stages.build.definitions import Definition
    from stages.images.context import Entry
    from stages.images.dockerfile import Reading
    from stages.images.engine import Images
    from stages.images.ignore import Ignore

VERSION = 2
"""Of the source hash, see docs/reference/hand-over.md."""


@dataclass(frozen=True)
class Context:
    """A build context as it was listed, and its digest."""

    root: Path
    left_out: Ignore
    listed: list[Entry]
    digest: str


@dataclass(frozen=True)
class Source:
    """One image to build, and the functions that share it.

    `recipe` is the digest of all that we give to the builder; `bases` are the images that it begins with, by reference: the
    engine's id, or None for what the engine does not have. `bases` is None where a build must not be skipped: `doubt` says why.
    """

    definition: Definition
    functions: tuple[str, ...]
    context: Context
    text: bytes
    reading: Reading
    recipe: str
    bases: dict[str, str | None] | None = None
    doubt: str | None = None

    @property
    def hash(self) -> str:
        """The source hash: the digest of the recipe's parts and the base images."""
        return _digest_of({"v": VERSION, "recipe": self.recipe, "bases": self.bases})

    @property
    def name(self) -> str:
        """The functions, as the log names them."""
        return ", ".join(self.functions)

    @property
    def base(self) -> str | None:
        """The engine's id of the image that this one grows from, where that is known."""
        return (self.bases or {}).get(self.reading.base or "")


def gather(definitions: Iterable[Definition], deciding: tuple[str, ...], home: Path | None) -> list[Source]:
    """Look at all that is built. Raises StageError for what cannot be read. `home` is where digests of contexts are kept.

    `deciding` names options of the stage that decide what is built.
    """
    contexts: dict[tuple[Path, str], Context] = {}
    grouped: dict[str, Source] = {}
    for definition in definitions:
        ignored = _ignore_file(definition)
        key = (definition.context, ignored)
        if key not in contexts:
            contexts[key] = _look(definition.context, ignored, home)
        source = _source(definition, contexts[key], deciding)
        known = grouped.get(source.recipe)
        grouped[source.recipe] = replace(known, functions=known.functions + source.functions) if known else source
    return list(grouped.values())


def _ignore_file(definition: Definition) -> str:
    """The file that says what is left out: `<Dockerfile>.dockerignore` if there is one."""
    own = f"{definition.dockerfile}.dockerignore"
    return own if (definition.context / own).is_file() else ".dockerignore"


def _look(root: Path, ignored: str, home: Path | None) -> Context:
    left_out = context.ignored(root, ignored)
    listed = context.entries(root, left_out)
    digest = StatCache(home, root, "\n".join(left_out.lines)).digest(listed)
    return Context(root, left_out, listed, digest)


def _source(definition: Definition, found: Context, deciding: tuple[str, ...]) -> Source:
    path = definition.context / definition.dockerfile
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StageError(
            f"{definition.function.id}: its Dockerfile cannot be read: {error.strerror or error}",
            where=definition.shown,
        ) from error
    reading = dockerfile.read(text.decode(errors="replace"), definition.args, definition.image.target)
    recipe = _digest_of(
        {
            "v": VERSION,
            "context": found.digest,
            "dockerfile": f"sha256:{hashlib.sha256(text).hexdigest()}",
            "args": definition.args,
            "target": definition.image.target,
            "platform": definition.function.platform,
            "flags": [*deciding, *definition.image.extra_params],
        }
    )
    return Source(definition, (definition.function.id,), found, text, reading, recipe)


def bases(found: Iterable[Source]) -> set[str]:
    """The images that these begin with, as their Dockerfiles name them."""
    return {reference for source in found for reference in source.reading.images}


def on(source: Source, images: Images) -> Source:
    """The source with its base images as an engine has them."""
    doubt = source.reading.doubt
    if flags.rebuilds(source.definition.image.extra_params):
        doubt = "its DockerBuildExtraParams ask for it"
    if doubt:
        return replace(source, bases=None, doubt=doubt)
    return replace(source, bases={reference: images.find(reference) for reference in source.reading.images}, doubt=None)


def after(source: Source, images: Images) -> Source:
    """The source once it is built, its base images as the engine has them now: some were pulled, and none may have moved."""
    now = on(source, images)
    moved = [
        name for name, was in (source.bases or {}).items() if was is not None and (now.bases or {}).get(name) != was
    ]
    return replace(now, bases=None, doubt=f"{moved[0]} became another image while it was built") if moved else now


def _digest_of(value: Mapping[str, object]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"
