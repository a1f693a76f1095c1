"""Push images that a registry lacks, and prove that it serves what was built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stages.contract import StageError
from stages.images import engine, parallel, registry
from stages.log import log

if TYPE_CHECKING:
    import threading

    from docker import APIClient

    from stages.images.layout import LayoutImage
    from stages.images.registry import Manifest, Repository


@dataclass(frozen=True)
class Destination:
    """A repository: its name with its host as AWS has it, what the engine is told instead, and a client of ours."""

    name: str
    engine_name: str
    repository: Repository


@dataclass(frozen=True)
class Push:
    """One image for one repository, for one or more functions: a layout's, or by its id in the engine."""

    functions: tuple[str, ...]
    config: str
    to: Destination
    image: LayoutImage | str

    @property
    def shown(self) -> str:
        return f"{self.to.name}:{self.tag}"

    @property
    def tag(self) -> str:
        """A tag for people. It holds the config digest, so another image has another tag, and tags need not move."""
        function = re.sub(r"[^a-z0-9]+", "-", self.functions[0].lower()).strip("-")[:100]
        return f"{function}-{self.config.removeprefix('sha256:')[:12]}"


def publish(pushes: list[Push], client: APIClient | None, jobs: int) -> dict[str, str]:
    """Push what is missing, and return each function's manifest digest, read back and proven. Raises StageError."""
    try:
        digests = parallel.run({push.shown: partial(_publish, push, client) for push in pushes}, jobs)
    finally:
        for push in pushes:
            if client and isinstance(push.image, str):
                engine.untag(client, f"{push.to.engine_name}:{push.tag}")
    return {function: digests[push.shown] for push in pushes for function in push.functions}


def _publish(push: Push, client: APIClient | None, stop: threading.Event) -> str:
    if stop.is_set():
        raise parallel.Stopped
    shown = ", ".join(push.functions)
    try:
        there = registry.manifest(push.to.repository, push.tag)
        if there is not None:
            log(f"{push.shown} is there already, {there.digest}", function=shown)
            return _proven(push, there)
        digest = _push(push, client)
        log(f"pushed {push.shown}, {digest}", function=shown)
        return _proven(push, _read_back(push, digest))
    except StageError as error:
        error.args = (f"{shown}: {error.message}",)
        error.message = error.args[0]
        raise


def _push(push: Push, client: APIClient | None) -> str:
    if not isinstance(push.image, str):
        return registry.push(push.to.repository, push.image, push.tag)
    if client is None:
        raise StageError("an image is in the engine, but there is no connection to it", cls="fault")
    return engine.push(client, push.image, push.to.engine_name, push.tag, push.to.repository.login)


def _read_back(push: Push, digest: str) -> Manifest:
    """The manifest by its digest, which the client checks, and the tag, which must name it."""
    by_digest = registry.manifest(push.to.repository, digest)
    by_tag = registry.manifest(push.to.repository, push.tag)
    if by_digest is None or by_tag is None:
        raise StageError(f"the registry does not serve {digest} after it was pushed", cls="retryable")
    if by_tag.digest != digest:
        raise StageError(f"the tag {push.tag} names {by_tag.digest}, not {digest}, which was pushed", cls="mismatch")
    return by_digest


def _proven(push: Push, manifest: Manifest) -> str:
    """The manifest's digest, if it is the manifest of the very image that was built."""
    if manifest.type not in registry.MANIFEST_TYPES:
        raise StageError(
            f"the registry has a {manifest.type} under {push.tag}, and Lambda takes the manifest of one image only",
            hint="Build without attestations and for one platform.",
            cls="mismatch",
        )
    if manifest.config != push.config:
        raise StageError(
            f"the registry has the image {manifest.config} under {push.tag}, but {push.config} was built",
            hint="Somebody else pushed to this repository. Nothing was overwritten; use a repository of your own.",
            cls="mismatch",
        )
    return manifest.digest
