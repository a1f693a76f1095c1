"""The engine's classic builder, through its API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stages.build.order import LABELS, Told
from stages.build.transcript import Transcript
from stages.contract import StageError
from stages.images import context, engine, parallel
from stages.images.dockerfile import instructions
from stages.images.ignore import NAME as IGNORE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator

    from docker import APIClient

    from stages.build.order import Order


SENT_AT_ONCE_BYTES = 1 << 16
_LOST = re.compile(r"(unable to find image|No such image:?) .?sha256:[0-9a-f]{64}")
"""Steps of different builds that are equal are one image, and go with the image that somebody removes."""


def build(client: APIClient, order: Order, say: Callable[[str], None], stop: threading.Event) -> Told:
    """Have an image built; each line of the log is said as soon as it is there. Raises parallel.Stopped, StageError."""
    transcript = Transcript(say)
    sent = _run(client, order, transcript, stop)
    if _LOST.search(transcript.error or ""):
        say("an image of one of its steps was removed meanwhile: building again")
        transcript = Transcript(say)
        sent = _run(client, order, transcript, stop)
    line = _line(order.text.decode(errors="replace"), transcript)
    return Told(transcript.image, transcript.error, line, transcript.instruction, transcript.last, sent)


def _run(client: APIClient, order: Order, transcript: Transcript, stop: threading.Event) -> str | None:
    """Have the engine build, and feed the transcript. Gives the digest of the context that it was sent."""
    import requests  # it comes with the client; both are imported late, as they cost 100 ms
    from docker.credentials.errors import StoreError
    from docker.errors import APIError, StreamParseError

    archive = _Archive(order)
    before = engine.find(client, order.tag)
    try:
        stream: Any = client.build(
            fileobj=archive,  # type: ignore[arg-type] # it is handed on as it is, and requests takes what gives bytes
            custom_context=True,
            dockerfile=order.dockerfile,
            buildargs=dict(order.args),  # the client adds proxy variables to it
            target=order.target,
            platform=order.platform,
            labels=LABELS,
            tag=order.tag,
            # The image built from the same source before, so that nothing changed is the same image. Builds that run at the
            # same time leave equal steps twice in the engine's cache, and left to itself it takes the newest: the steps that
            # follow are then built anew, to another digest. It still compares every step with those of the image named.
            cache_from=[before] if before else None,
            pull=order.pull,
            nocache=order.no_cache,
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
    if archive.failure and not transcript.image:
        raise archive.failure
    return archive.digest


class _Archive:
    """The context as the engine is sent it, piece by piece: nothing is kept on disk. `digest` is that of what was sent."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.digest: str | None = None
        self.failure: StageError | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Give the archive. What goes wrong in the middle of a request would be told as a broken connection."""
        try:
            held = bytearray()
            for piece in self._stream():
                held += piece
                if len(held) >= SENT_AT_ONCE_BYTES:
                    yield bytes(held)
                    held.clear()
            yield bytes(held)
        except StageError as error:
            self.failure = error
            raise OSError(error.message) from error

    def _stream(self) -> Generator[bytes, None, None]:
        order = self._order
        named = {entry.name for entry in order.listed}
        files = {}
        if order.dockerfile not in named:  # the engine takes it out again, by the patterns that left it out
            files[order.dockerfile] = order.text
            if IGNORE not in named:
                files[IGNORE] = "\n".join(order.left_out.lines).encode(errors="surrogateescape")
        self.digest = yield from context.stream(order.context, order.listed, files)


def _line(text: str, transcript: Transcript) -> int | None:
    """The line of the Dockerfile that a build failed at."""
    error = transcript.error or ""
    if match := re.search(r"(?:parse error|Syntax error)\D{0,20}line (\d+)", error, re.IGNORECASE):
        return int(match[1])
    steps = instructions(text)
    if (
        0 < transcript.step <= len(steps)
        and steps[transcript.step - 1].word == transcript.instruction[:20].split(" ")[0]
    ):
        return steps[transcript.step - 1].line
    same = [each.line for each in steps if each.text.split() == transcript.instruction.split()]
    return same[0] if same else None
