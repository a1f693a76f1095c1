"""What a scan is given: images from build, or a release from package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import Request, StageError
from stages.scan import handed

if TYPE_CHECKING:
    from pathlib import Path

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NAME = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/app"
ENGINE = {"type": "engine", "engine": "E", "image": A}
BUILT = {
    "F": {"config": A, "carrier": ENGINE},
    "G": {"config": A, "carrier": ENGINE},
    "H": {"config": B, "carrier": ENGINE},
}


def read(folder: Path, name: str, functions: Any, **more: Any) -> list[handed.Image]:
    (folder / name).mkdir()
    (folder / name / f"{name}.json").write_text(json.dumps({"v": 2, "functions": functions, **more}))
    return handed.read(Request("scan", "apply", "h", inputs={name: name}), folder)[0]


def test_an_image_that_functions_share_is_one(tmp_path: Path) -> None:
    images = read(tmp_path, "images", BUILT)
    assert [(image.functions, image.config) for image in images] == [(("F", "G"), A), (("H",), B)]


def test_a_release_is_read_from_its_registry(tmp_path: Path) -> None:
    (image,) = read(tmp_path, "release", {"F": {"config": A, "manifest": B, "image": f"{NAME}@{B}"}})
    assert image.carrier == {"type": "registry", "name": NAME, "manifest": B}


@pytest.mark.parametrize(
    ("name", "functions", "more"),
    [
        ("images", BUILT, {"v": 1}),
        ("images", [], {}),
        ("images", {"F": {"config": "sha256:x", "carrier": ENGINE}}, {}),
        ("images", {"../F": {"config": A, "carrier": ENGINE}}, {}),
        ("images", {"F": {"config": A}}, {}),
        ("release", {"F": {"config": A, "manifest": B, "image": f"{NAME}@{A}"}}, {}),
        ("release", {"F": {"config": A, "manifest": B, "image": f"{NAME}:latest"}}, {}),
        ("release", {"F": {"config": A, "image": NAME}}, {}),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, name: str, functions: Any, more: dict[str, Any]) -> None:
    with pytest.raises(StageError):
        read(tmp_path, name, functions, **more)
