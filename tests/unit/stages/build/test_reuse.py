from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.build.definitions import Definition
from stages.build.reuse import earlier, reusable
from stages.build.sources import Context, Source
from stages.images.dockerfile import Reading
from stages.images.engine import EngineImage, Images
from stages.images.ignore import Ignore
from stages.template import BuiltImage, Function

CONFIG = "sha256:" + "c" * 64
IMAGE = BuiltImage("Dockerfile", ".")
FUNCTION = Function("Fn", "", ("Resources", "Fn"), "AWS::Lambda::Function", "linux/amd64", IMAGE)
SOURCE = Source(
    Definition(FUNCTION, IMAGE, Path(), "Dockerfile", "Dockerfile", {}),
    ("Fn",),
    Context(Path(), Ignore(), [], "sha256:1"),
    b"",
    Reading(),
    "sha256:2",
    bases={},
)
ENTRY: dict[str, Any] = {
    "source": SOURCE.hash,
    "config": CONFIG,
    "platform": "linux/amd64",
    "size": 3,
    "bases": {},
    "builder": "classic",
    "carrier": {"type": "engine", "engine": "e", "image": CONFIG},
}
ENGINE = Images("e", {CONFIG: CONFIG})


def test_an_image_of_the_same_source_that_is_still_there_is_taken() -> None:
    assert reusable([SOURCE], [ENTRY], ENGINE, "auto") == {SOURCE.hash: EngineImage(CONFIG, CONFIG, "linux/amd64", 3)}
    assert reusable([SOURCE], [ENTRY], ENGINE, "classic")


def test_an_image_that_the_record_carries_is_taken_if_the_engine_has_it_too() -> None:
    entry = {**ENTRY, "carrier": {"type": "oci-layout", "path": "oci"}}
    assert reusable([SOURCE], [entry], ENGINE, "auto")
    assert not reusable([SOURCE], [entry], Images("e"), "auto")


@pytest.mark.parametrize(
    "change",
    [
        {"source": "sha256:" + "0" * 64},
        {"bases": None},
        {"platform": "linux/arm64"},
        {"config": "latest"},
        {"size": "3"},
        {"carrier": {"type": "engine", "engine": "e", "image": "sha256:" + "d" * 64}},
        {"carrier": {"type": "engine", "engine": "e", "image": "towpath/fn:1"}},
    ],
)
def test_whatever_does_not_fit_is_built(change: dict[str, Any]) -> None:
    assert not reusable([SOURCE], [{**ENTRY, **change}], ENGINE, "auto")


def test_another_builder_that_is_asked_for_builds() -> None:
    assert not reusable([SOURCE], [ENTRY], ENGINE, "buildkit")


def test_a_source_with_a_doubt_is_built_even_if_it_was_recorded_without_one() -> None:
    doubtful = replace(SOURCE, bases=None)
    assert not reusable([doubtful], [{**ENTRY, "source": doubtful.hash}], ENGINE, "auto")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"v": 1, "functions": {}}', '{"v": 2}', '{"v": 2, "functions": {"a": 1}}']
)
def test_an_images_json_that_is_none_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.json").write_text(text)
    assert earlier(tmp_path) == []


def test_what_was_handed_on_is_read(tmp_path: Path) -> None:
    assert earlier(None) == earlier(tmp_path) == []
    (tmp_path / "images.json").write_text(json.dumps({"v": 2, "functions": {"Fn": ENTRY}}))
    assert earlier(tmp_path) == [ENTRY]
