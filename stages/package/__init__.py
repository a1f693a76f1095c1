"""Push the images and write the packaged template, its ImageUri values pinned by digest."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from stages import template as templates
from stages.aws import ecr, names
from stages.aws.session import connect
from stages.contract import Access, InvalidInput, Problem, Result, StageError
from stages.images import engine, registry
from stages.images.registry import Login
from stages.log import log
from stages.package import handed, release
from stages.package.publish import Destination, Push, publish

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session
    from stages.contract import Request, Target
    from stages.images.layout import LayoutImage
    from stages.package.handed import Images

_REPOSITORY = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""ECR's own grammar of a repository's name, https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html"""


def apply(request: Request, work: Path) -> Result:
    """Push what the registry lacks, prove what it serves, and write the release.

    Raises InvalidInput for options that do not fit, StageError if an image is not what was built or cannot be pushed.
    """
    if request.target is None:
        raise StageError("package needs a target, and was given none", cls="fault")
    access = request.access or Access()
    images = handed.read(work / request.inputs["images"])
    repositories = choose_repositories(images, request.options.get("repositories") or {}, request.target)
    _pack(images, {image.function: "tried.before.anything.is.pushed" for image in images.images})
    manifests = _push(images, repositories, request.target, access, jobs=max(1, int(request.options.get("jobs", 8))))
    uris = {name: f"{ecr.host(request.target)}/{repositories[name]}@{manifest}" for name, manifest in manifests.items()}
    digest = release.write(work / "outputs" / "release", images, manifests, uris, _pack(images, uris))
    log(f"release {digest}")
    facts = {image.function: {"image": uris[image.function], "config": image.config} for image in images.images}
    return Result("succeeded", outputs=["release"], facts={"release": digest, "functions": facts})


def _pack(images: Images, uris: dict[str, str]) -> dict[str, release.Packaged]:
    """The packaged templates by the path of their stack. Raises InvalidInput."""
    if len(images.application.stacks) > 1:
        raise StageError("nested templates cannot be packaged yet")
    values = {image.slot: uris[image.function] for image in images.images}
    return {"": release.Packaged(templates.packaged(images.application, "", values))}


def _push(images: Images, repositories: dict[str, str], target: Target, access: Access, *, jobs: int) -> dict[str, str]:
    """Verify that every image is there, then push; gives each function's manifest digest."""
    with contextlib.ExitStack() as stack:
        in_engine = any(image.carrier.get("type") == "engine" for image in images.images)
        client = stack.enter_context(engine.connect(jobs)) if in_engine else None
        found = handed.find(images, client)
        session = connect(target, access)
        used = sorted(set(repositories.values()))
        for name in used:
            ecr.ensure_repository(session, name)
        login = Login(*ecr.login(session))
        opened = {name: _open(session, name, login, jobs) for name in used}
        for destination in opened.values():
            stack.callback(destination.repository.http.clear)
        return publish(_pushes(images, repositories, found, opened), client, jobs)


def choose_repositories(images: Images, mapping: dict[str, str], target: Target) -> dict[str, str]:
    """The repository of each function. Raises InvalidInput: unknown function, no repository, not a repository's name."""
    known = [image.function for image in images.images]
    problems = [
        Problem(
            f"`repositories` names {name!r}, and the template has no such image function",
            hint=f"It has: {', '.join(known)}.",
        )
        for name in sorted(set(mapping) - set(known))
    ]
    chosen = {name: mapping.get(name) or target.repository or "" for name in known}
    for name, repository in chosen.items():
        if not repository:
            hint = f"Give the environment {target.environment} a `repository`, or add {name} to `repositories`."
            problems.append(Problem(f"there is no repository for {name}", hint=hint))
        elif not (_REPOSITORY.fullmatch(repository) and 2 <= len(repository) <= 256):
            hint = "It is the name alone, without a host: 2 to 256 of a-z 0-9 . _ - /, such as `shop/frontend`."
            problems.append(Problem(f"{repository!r} is not a repository's name (for {name})", hint=hint))
    if problems:
        raise InvalidInput(problems)
    return chosen


def _open(session: Session, name: str, login: Login, jobs: int) -> Destination:
    """A repository of the target's registry, wherever that answers."""
    host = ecr.host(session.target)
    where = names.registry(host, session.access)
    url = f"{where.scheme}://{where.host}/v2/{where.repository(name)}"
    repository = registry.Repository(url, registry.connections(url, jobs), login)
    full = f"{host}/{name}"
    return Destination(full, names.engine_reference(full, session.access), repository)


def _pushes(
    images: Images,
    repositories: dict[str, str],
    found: dict[str, LayoutImage | str],
    opened: dict[str, Destination],
) -> list[Push]:
    """What to push where: an image that several functions of a repository share is pushed once."""
    shared: dict[tuple[str, str], list[str]] = {}
    for image in images.images:
        shared.setdefault((repositories[image.function], image.config), []).append(image.function)
    return [Push(tuple(functions), config, opened[name], found[config]) for (name, config), functions in shared.items()]
