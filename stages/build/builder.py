"""Build images with the engine's classic builder, several at a time, each line of its log live."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.build.transcript import Transcript
from stages.contract import StageError
from stages.images import engine, parallel
from stages.images.dockerfile import instructions
from stages.images.refusals import refusal
from stages.log import log

if TYPE_CHECKING:
    import threading

    from docker import APIClient

    from stages.build.sources import Source, Sources
    from stages.images.engine import EngineImage

LABELS = {"towpath.built": "true"}
"""On every image that we build, and the same on each: a label is part of an image, so one that named the attempt or the
source would give the same image another identity each time."""

SHOWN_LINES = 10
TAG_CHARACTERS = 128
"""Of a function in the name of an image. An engine takes names of at most 255 in all, and a logical id alone may have so many."""


def build_all(sources: Sources, jobs: int) -> dict[str, EngineImage]:
    """Build every source and return the images by source hash. Raises StageError that names each function that failed.

    After a failure nothing new is started, and builds that run are ended at their next line.
    """
    with engine.connect(jobs) as client:
        _announce(client)
        return parallel.run({source.hash: partial(_build, client, source) for source in sources.builds}, jobs)


def _announce(client: APIClient) -> None:
    version = client.version()
    log(f"engine {version.get('Version', '?')} at {engine.host()}, classic builder")


def _build(client: APIClient, source: Source, stop: threading.Event) -> EngineImage:
    name = ", ".join(source.functions)
    transcript = Transcript(lambda line: log(line, function=name))
    _run(client, source, transcript, stop)
    if transcript.error or transcript.image is None:
        raise _failure(source, transcript)
    image = engine.inspect(client, transcript.image)
    if image is None:
        raise StageError(f"{name}: its image {transcript.image} vanished from the engine", cls="retryable")
    _refuse_other_platform(source, image)
    log(f"built {image.config}", function=name)
    return image


def _run(client: APIClient, source: Source, transcript: Transcript, stop: threading.Event) -> None:
    """Have the engine build, and feed the transcript."""
    import requests  # it comes with the client; both are imported late, as they cost 100 ms
    from docker.credentials.errors import StoreError
    from docker.errors import APIError, StreamParseError

    if stop.is_set():
        raise parallel.Stopped
    try:
        with source.archive.open("rb") as archive:
            stream: Any = client.build(
                fileobj=archive,
                custom_context=True,
                dockerfile=source.definition.dockerfile,
                buildargs=dict(source.definition.args),  # the client adds proxy variables to it
                target=source.definition.image.target,
                platform=source.definition.function.platform,
                labels=LABELS,
                tag=tag(source),
                cache_from=_cache(client, source),
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in stream:
                transcript.add(event)
                if stop.is_set():
                    stream.close()  # hanging up ends the build
                    raise parallel.Stopped
    except APIError as error:
        # Its text has the request's address, and so the build arguments: only what the engine said is told on.
        transcript.error = str(error.explanation or "the engine refused to build").strip()
    except StoreError as error:
        transcript.error = f"a credential helper that the Docker configuration names does not work: {error}"
    except (requests.RequestException, StreamParseError, OSError) as error:
        transcript.error = f"the connection to the engine broke: {type(error).__name__}: connection broken"
    transcript.end()


def tag(source: Source) -> str:
    """A name for people, and against the engine's pruning. It holds the source hash; nothing is ever found by it."""
    function = re.sub(r"[^a-z0-9]+", "-", source.functions[0].lower()).strip("-")
    if len(function) > TAG_CHARACTERS:
        cut = hashlib.sha256(source.functions[0].encode()).hexdigest()[:12]
        function = f"{function[: TAG_CHARACTERS - 13].rstrip('-')}-{cut}"
    return f"towpath/{function}:{source.hash.removeprefix('sha256:')[:16]}"


def _cache(client: APIClient, source: Source) -> list[str] | None:
    """The image built from the same source before, if the engine still has it, so that nothing changed is the same image.

    Builds that run at the same time leave equal steps twice in the engine's cache, and left to itself it takes the newest:
    the steps that follow are then built anew, to another digest. It still compares every step with those of the image named.
    """
    before = engine.find(client, tag(source))
    return [before] if before else None


def _failure(source: Source, transcript: Transcript) -> StageError:
    name = ", ".join(source.functions)
    path = source.definition.context / source.definition.dockerfile
    error = transcript.error or "the engine ended the build without saying which image it built"
    line = _line(path.read_text(encoding="utf-8", errors="replace"), transcript.step, error)
    text = f"{name}: the image cannot be built: {error}"
    if transcript.step:
        text += f"\n  at step {transcript.step}: {transcript.instruction}"
    text += "".join(f"\n  | {each}" for each in list(transcript.last)[-SHOWN_LINES:])
    known = None if "returned a non-zero code" in error else refusal(error)
    where = f"{source.definition.shown}:{line}" if line else source.definition.shown
    return StageError(text, where=where, hint=known.hint if known else None, cls=known.cls if known else "terminal")


def _line(text: str, step: int, error: str) -> int | None:
    """The line of the Dockerfile that a build failed at."""
    if match := re.search(r"(?:parse error|Syntax error)\D{0,20}line (\d+)", error, re.IGNORECASE):
        return int(match[1])
    steps = instructions(text)
    return steps[step - 1].line if 0 < step <= len(steps) else None


def _refuse_other_platform(source: Source, image: EngineImage) -> None:
    wanted = source.definition.function.platform
    if image.platform != wanted:
        raise StageError(
            f"{', '.join(source.functions)}: the template asks for {wanted}, but the image built is for {image.platform}",
            hint="Use a base image for that platform, or correct Architectures of the function.",
        )
