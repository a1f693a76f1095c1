"""Build images, several at a time, each line of their logs live."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING

from stages.build import builders, buildkit, classic, clients
from stages.build.order import Order
from stages.contract import StageError
from stages.images import engine, parallel
from stages.images.refusals import refusal
from stages.log import log

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from stages.build.builders import Builder
    from stages.build.order import Told
    from stages.build.settings import Settings
    from stages.build.sources import Source
    from stages.images.engine import EngineImage

    Build = Callable[[Order, Callable[[str], None], threading.Event], Told]

SHOWN_LINES = 10
TAG_CHARACTERS = 128
"""Of a function in the name of an image. An engine takes names of at most 255 in all, and a logical id alone may have so many."""


def build_all(sources: list[Source], settings: Settings, home: Path | None) -> tuple[Builder, dict[str, EngineImage]]:
    """Build every source; gives the builder, and the images by recipe. Raises StageError that names each function that failed.

    `home` is the folder of the kind's cache. With `fail_fast` nothing new is started after a failure, and builds that run are ended; else the others are finished.
    """
    builder = choose(settings, sources, home)
    log(builder.told)
    if builder.name == "buildkit":
        try:
            return builder, _run(partial(buildkit.build, builder), sources, settings)
        except StageError:
            clients.forget(home)
            raise
    with engine.connect(settings.jobs) as client:
        return builder, _run(partial(classic.build, client), sources, settings)


def _run(build: Build, sources: list[Source], settings: Settings) -> dict[str, EngineImage]:
    tasks = {source.recipe: partial(_build, build, settings, source) for source in sources}
    return parallel.run(tasks, settings.jobs, fail_fast=settings.fail_fast)


def choose(settings: Settings, sources: list[Source], home: Path | None) -> Builder:
    """Find the builder. Raises StageError if it cannot be had, or does not know what is asked for."""
    docker = builders.engine_here()
    asked = docker.is_docker and settings.builder != "classic"
    builder = builders.choose(settings.builder, docker, clients.find(home) if asked else [])
    if builder.name == "classic":
        _refuse_buildkits(builder, settings, sources)
    return builder


def _refuse_buildkits(builder: Builder, settings: Settings, sources: list[Source]) -> None:
    """The classic builder would do something else than is asked for, without a word."""
    wanted = [flag.partition("=")[0].removeprefix("--") for flag in settings.flags]
    wanted += [f"DockerBuildExtraParams of {source.name}" for source in sources if extra(source)]
    if wanted:
        raise StageError(
            f"{wanted[0]} needs BuildKit, and this is the {builder.told}",
            hint="Install the docker client with its buildx plugin, or do without.",
        )


def extra(source: Source) -> tuple[str, ...]:
    """The template's further flags for BuildKit."""
    return source.definition.image.extra_params


def _build(build: Build, settings: Settings, source: Source, stop: threading.Event) -> EngineImage:
    if stop.is_set():
        raise parallel.Stopped
    log("building", function=source.name, state="building")

    def say(line: str) -> None:
        log(line, function=source.name)

    told = build(_order(source, settings), say, stop)
    if told.image is None:
        log("failed", function=source.name, state="failed")
        raise _failure(source, told)
    image = next((found for name in told.image.split("\n") if (found := engine.look(name))), None)
    if image is None:
        raise StageError(f"{source.name}: its image {told.image} vanished from the engine", cls="retryable")
    _refuse_other_platform(source, image)
    _refuse_changed(source, told)
    log(f"built {image.config}", function=source.name, state="built")
    return image


def _order(source: Source, settings: Settings) -> Order:
    return Order(
        context=source.context.root,
        listed=source.context.listed,
        left_out=source.context.left_out,
        dockerfile=source.definition.dockerfile,
        text=source.text,
        args=source.definition.args,
        target=source.definition.image.target,
        platform=source.definition.function.platform,
        tag=tag(source),
        pull=settings.pull,
        no_cache=settings.no_cache,
        flags=(*settings.flags, *extra(source)),
    )


def tag(source: Source) -> str:
    """A name for people, and against the engine's pruning. Nothing is ever found by it."""
    function = re.sub(r"[^a-z0-9]+", "-", source.functions[0].lower()).strip("-")
    if len(function) > TAG_CHARACTERS:
        cut = hashlib.sha256(source.functions[0].encode()).hexdigest()[:12]
        function = f"{function[: TAG_CHARACTERS - 13].rstrip('-')}-{cut}"
    return f"towpath/{function}:{source.recipe.removeprefix('sha256:')[:16]}"


def _failure(source: Source, told: Told) -> StageError:
    error = told.error or "the builder ended without saying which image it built"
    text = f"{source.name}: the image cannot be built: {error}"
    if told.instruction:
        text += f"\n  at: {told.instruction}"
    text += "".join(f"\n  | {each}" for each in list(told.last)[-SHOWN_LINES:])
    known = None if _by_its_own_program(error) else refusal(error)
    where = f"{source.definition.shown}:{told.line}" if told.line else source.definition.shown
    return StageError(
        text,
        where=where,
        hint=known.hint if known else None,
        cls=known.cls if known else "terminal",
    )


def _by_its_own_program(error: str) -> bool:
    """Whether a program of a RUN failed: what it said is not the engine's word."""
    return bool(re.search(r"returned a non-zero code|executor failed running|did not complete successfully", error))


def _refuse_other_platform(source: Source, image: EngineImage) -> None:
    wanted = source.definition.function.platform
    if image.platform != wanted:
        raise StageError(
            f"{source.name}: the template asks for {wanted}, but the image built is for {image.platform}",
            hint="Use a base image for that platform, or correct Architectures of the function.",
        )


def _refuse_changed(source: Source, told: Told) -> None:
    """Nobody could say of which source an image is that was built while its source changed."""
    if told.context != source.context.digest:
        raise StageError(
            f"{source.name}: files of its build context changed while it was built",
            where=source.definition.shown,
            hint="Run this again once they are as they are to be, or leave them out by .dockerignore.",
            cls="retryable",
        )
