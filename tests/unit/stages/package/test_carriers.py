from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError
from stages.package import carriers, handed
from stages.package.registries import Registries

if TYPE_CHECKING:
    from pathlib import Path


def _find(folder: Path) -> None:
    images = handed.read(folder)
    with Registries(None, None, 2) as registries:
        carriers.find(images, images.images, None, registries)


def test_a_carrier_that_cannot_be_read_has_a_remedy(folder: Path, document: dict[str, Any]) -> None:
    document["functions"]["A"]["carrier"] = {"type": "pigeon"}
    (folder / "images.json").write_text(json.dumps(document))
    with pytest.raises(StageError, match="carried by 'pigeon'") as caught:
        _find(folder)
    assert "oci-layout" in (caught.value.hint or "")


def test_a_layout_that_is_missing_is_a_mismatch(folder: Path) -> None:
    with pytest.raises(StageError) as caught:
        _find(folder)
    assert caught.value.cls == "mismatch"
