from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError
from stages.package import handed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_images_come_in_the_order_of_their_names(folder: Path) -> None:
    images = handed.read(folder)
    assert [image.function for image in images.images] == ["A", "B"]
    assert images.images[0].path == ("Resources", "A")
    assert images.application.root.data == (folder / "templates/app/template.yaml").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("functions"),
        lambda document: document["functions"]["A"].pop("config"),
        lambda document: document["functions"]["A"].update(config="latest"),
        lambda document: document["functions"]["A"].update(size="big"),
        lambda document: document["templates"].update({"": "../images.json"}),
        lambda document: document["templates"].update({"": "missing.yaml"}),
        lambda document: document["templates"].update(Child="child.yaml"),
        lambda document: document.update(functions=[]),
    ],
)
def test_an_artifact_that_is_not_builds_is_a_mismatch(
    folder: Path, document: dict[str, Any], change: Callable[[dict[str, Any]], object]
) -> None:
    change(document)
    (folder / "images.json").write_text(json.dumps(document))
    with pytest.raises(StageError, match="is not what build writes") as caught:
        handed.read(folder)
    assert caught.value.cls == "mismatch"


def test_another_version_says_what_to_do(folder: Path) -> None:
    (folder / "images.json").write_text('{"v": 1}')
    with pytest.raises(StageError, match="format version 1") as caught:
        handed.read(folder)
    assert "same version of Towpath" in (caught.value.hint or "")


def test_a_template_with_other_functions_than_were_built_is_refused(folder: Path, document: dict[str, Any]) -> None:
    """Catches a release in which a function is deployed with whatever image its template names."""
    del document["functions"]["B"]
    (folder / "images.json").write_text(json.dumps(document))
    with pytest.raises(StageError, match="do not have the same functions: B"):
        handed.read(folder)
