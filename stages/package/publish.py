"""Push images that a registry lacks, and prove that it serves what was built.

For an image that is there already it takes one request, and less in ECR, which is asked for a hundred at a time. The
manifest itself is asked for, not whether there is one: it takes as long, and says which image it is.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from stages.aws import ecr
from stages.contract import StageError
from stages.images import engine, parallel, registry, uploads
from stages.images.refusals import RegistryError
from stages.images.registry import Manifest
from stages.images.uploads import Copy
from stages.log import log
from stages.package.registries import READERS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from concurrent.futures import Future

    from docker import APIClient

    from stages.package.carriers import Source
    from stages.package.progress import Progress
    from stages.package.registries import Destination, Registries
    from stages.package.repositories import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Push:
    """One image for one repository, for one or more functions."""

    functions: tuple[str, ...]
    config: str
    place: Place

    @property
    def shown(self) -> str:
        return ", ".join(self.functions)

    @property
    def name(self) -> str:
        return f"{self.place.uri}:{self.tag}"

    @property
    def tag(self) -> str:
        """A tag for people. It holds the config digest, so another image has another tag, and tags need not move."""
        return tag(self.functions[0], self.config)


def tag(function: str, digest: str) -> str:
    """A tag of a function's name and the beginning of a digest."""
    name = re.sub(r"[^a-z0-9]+", "-", function.lower()).strip("-")[:100]
    return f"{name}-{digest.removeprefix('sha256:')[:12]}"


def pushes(configs: dict[str, str], places: dict[str, Place]) -> list[Push]:
    """What has to be where: an image that several functions of a repository share is there once.

    `configs` and `places` are by function.
    """
    shared: dict[tuple[Place, str], list[str]] = {}
    for function, config in configs.items():
        shared.setdefault((places[function], config), []).append(function)
    return [Push(tuple(functions), config, place) for (place, config), functions in shared.items()]


def look(wanted: list[Push], registries: Registries) -> dict[Push, Manifest]:
    """The manifests of those that are there already. Raises StageError: the registry has something else under a name of ours."""
    by_place: dict[Place, list[Push]] = {}
    for push in wanted:
        by_place.setdefault(push.place, []).append(push)
    for place in by_place:
        if place.ecr:
            registries.prepare(*place.ecr)
    answers = parallel.run(
        {place: partial(_ask_ecr, some, registries) for place, some in by_place.items() if place.ecr}, registries.jobs
    )
    singly = [push for place, some in by_place.items() for push in some if answers.get(place) is None]
    opened = {push.place: registries.open(push.place) for push in singly}
    asked = parallel.run({push: partial(_ask, push, opened[push.place]) for push in singly}, registries.jobs)
    there = {push: found for push, found in asked.items() if found}
    for answer in answers.values():
        there |= answer or {}
    for push in wanted:
        if push in there:
            _require_same(push, there[push])
            log(f"{push.name} is there already, {there[push].digest}", function=push.shown)
    return there


def _ask_ecr(some: list[Push], registries: Registries, stop: threading.Event) -> dict[Push, Manifest] | None:
    """What ECR has of a repository's images; None if it may not be asked so."""
    if stop.is_set():
        raise parallel.Stopped
    place = some[0].place
    account, region = place.ecr or ("", "")
    types = (*registry.MANIFEST_TYPES, *registry.INDEX_TYPES)
    tags = [push.tag for push in some]
    found = ecr.manifests(registries.session(account, region), account, place.name, tags, types)
    if found is None:
        return None
    return {push: Manifest(found[push.tag].content, found[push.tag].type) for push in some if push.tag in found}


def _ask(push: Push, to: Destination, stop: threading.Event) -> Manifest | None:
    if stop.is_set():
        raise parallel.Stopped
    return _naming(push, lambda: registry.manifest(to.repository, push.tag))


def send(
    missing: dict[Push, Source], registries: Registries, client: APIClient | None, progress: Progress
) -> dict[Push, Manifest]:
    """Push images, read each one's manifest back, and give it. Raises StageError.

    Reading back is left to others than those that push, so that these go on with the next image.
    """
    opened = {push.place: registries.open(push.place) for push in missing}
    copies = {
        push: Copy(source, opened[push.place].repository, push.shown)
        for push, source in missing.items()
        if not isinstance(source, str)
    }
    uploads.send_blobs(list(copies.values()), registries.jobs, progress.add)
    tasks = {
        push: partial(uploads.put_image, copies[push], push.tag)
        if push in copies
        else partial(_by_engine, push, str(source), opened[push.place], client, progress)
        for push, source in missing.items()
    }
    with ThreadPoolExecutor(READERS) as readers:
        pushed = parallel.run(
            {
                push: partial(_push, push, write, partial(_read_later, readers, push, opened[push.place], client))
                for push, write in tasks.items()
            },
            registries.jobs,
        )
    return _all(pushed)


def _push(
    push: Push, write: Callable[[], str], read_back: Callable[[str | None], Future[Manifest]], stop: threading.Event
) -> Future[Manifest]:
    """Write an image, and have it read back. Where another run was faster with the same image, its manifest stands."""
    if stop.is_set():
        raise parallel.Stopped
    digest = None
    try:
        digest = _naming(push, write)
    except RegistryError as error:
        if error.cls != "mismatch":
            raise
        log(f"{push.name} was written by another run meanwhile", function=push.shown)
    return read_back(digest)


def _by_engine(push: Push, image: str, to: Destination, client: APIClient | None, progress: Progress) -> str:
    if client is None:
        raise StageError("an image is in the engine, but there is no connection to it", cls="fault")
    auth = to.repository.auth
    login = auth.login
    try:
        return engine.push(client, image, to.engine_name, push.tag, login, sent=progress.add)
    except RegistryError as error:
        if not (error.login and auth.replace(login)):
            _untag(push, to, client)
            raise
    try:
        return engine.push(client, image, to.engine_name, push.tag, auth.login, sent=progress.add)
    except RegistryError:
        _untag(push, to, client)
        raise


def _untag(push: Push, to: Destination, client: APIClient | None) -> None:
    """Take off the name by which the engine pushed."""
    if client is not None:
        engine.untag(client, f"{to.engine_name}:{push.tag}")


def _read_later(
    readers: ThreadPoolExecutor, push: Push, to: Destination, client: APIClient | None, digest: str | None
) -> Future[Manifest]:
    return readers.submit(_read_back, push, to, client, digest)


def _read_back(push: Push, to: Destination, client: APIClient | None, digest: str | None) -> Manifest:
    """What the tag names after an image was written; `digest` is what we wrote, None if it was somebody else."""
    _untag(push, to, client)
    found = _naming(push, lambda: registry.manifest(to.repository, push.tag))
    if found is None:
        raise StageError(f"the registry does not serve {push.name} after it was pushed", cls="retryable")
    if digest is not None and found.digest != digest:
        raise StageError(f"the tag {push.tag} names {found.digest}, not {digest}, which was pushed", cls="mismatch")
    _require_same(push, found)
    log(f"pushed {push.name}, {found.digest}", function=push.shown)
    return found


def _all(futures: dict[Push, Future[Manifest]]) -> dict[Push, Manifest]:
    """What came of all; one error for all that failed."""
    if errors := [error for future in futures.values() if (error := future.exception())]:
        raise parallel.together(errors)
    return {push: future.result() for push, future in futures.items()}


def _require_same(push: Push, manifest: Manifest) -> None:
    """Raise StageError unless it is the manifest of the very image that was built."""
    if manifest.type not in registry.MANIFEST_TYPES:
        raise StageError(
            f"{push.shown}: the registry has a {manifest.type} under {push.tag}, and Lambda takes the manifest of one "
            "image only",
            hint="Build without attestations and for one platform.",
            cls="mismatch",
        )
    if manifest.config != push.config:
        raise StageError(
            f"{push.shown}: the registry has the image {manifest.config} under {push.tag}, but {push.config} was built",
            hint="Somebody else pushed to this repository. Nothing was overwritten; use a repository of your own.",
            cls="mismatch",
        )


def _naming(push: Push, do: Callable[[], T]) -> T:
    """Do it; an error of it begins with the functions that it is about."""
    try:
        return do()
    except StageError as error:
        if not error.message.startswith(f"{push.shown}: "):
            error.message = f"{push.shown}: {error.message}"
            error.args = (error.message,)
        raise
