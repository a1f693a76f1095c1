"""The classic builder, at its edge: an engine that says what a real one said once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.build import classic
from stages.build.order import Order
from stages.images.ignore import Ignore

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = 'unable to find image "sha256:' + "e" * 64 + '"'


class Engine:
    """Answers builds by what it is given, one after the other, and knows no image."""

    def __init__(self, *builds: list[dict[str, Any]]) -> None:
        self.builds = list(builds)

    def build(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield from self.builds.pop(0)

    def inspect_image(self, _name: str) -> None:
        from docker.errors import ImageNotFound

        raise ImageNotFound("none")


def _build(engine: Engine) -> tuple[Any, list[str]]:
    said: list[str] = []
    order = Order(Path(), [], Ignore(), "Dockerfile", b"FROM scratch\n", {}, None, "linux/amd64", "towpath/fn:1")
    return classic.build(engine, order, said.append, threading.Event()), said  # type: ignore[arg-type]


def test_a_step_whose_image_somebody_removed_is_built_again_once() -> None:
    told, said = _build(Engine([{"error": LOST}], [{"aux": {"ID": "sha256:1"}}]))
    assert told.image == "sha256:1"
    assert said == ["an image of one of its steps was removed meanwhile: building again"]
    told, _ = _build(Engine([{"error": LOST}], [{"error": LOST}]))
    assert told.error == LOST


def test_another_error_is_no_reason_to_build_again() -> None:
    told, said = _build(Engine([{"error": "returned a non-zero code: 3"}]))
    assert (told.image, told.error, said) == (None, "returned a non-zero code: 3", [])
