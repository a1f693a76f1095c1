"""What a builder is asked for, and what it answers: the same for each of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from stages.images.context import Entry
    from stages.images.ignore import Ignore

LABELS = {"towpath.built": "true"}
"""On every image that we build, and the same on each: a label is part of an image, so one that named the attempt or the
source would give the same image another identity each time."""

LAST_LINES = 20


@dataclass(frozen=True)
class Order:
    """One image to build: `listed` is what its context has, `dockerfile` the name in it, `text` the Dockerfile's bytes.

    `tag` is a name for people. `flags` are further ones for BuildKit.
    """

    context: Path
    listed: list[Entry]
    left_out: Ignore
    dockerfile: str
    text: bytes
    args: dict[str, str]
    target: str | None
    platform: str
    tag: str
    pull: bool = False
    no_cache: bool = False
    flags: tuple[str, ...] = ()


@dataclass
class Told:
    """What a builder said: `image` is the engine's id of what was built, `error` why nothing was.

    `line` is the Dockerfile's line that it failed at, `instruction` what stands there, `last` the last lines of its log.
    `context` is the digest of the context as it was sent, None if it was not sent to its end.
    """

    image: str | None = None
    error: str | None = None
    line: int | None = None
    instruction: str = ""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    context: str | None = None
