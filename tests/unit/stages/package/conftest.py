from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
Resources:
  A: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {Dockerfile: d, DockerContext: .}}
  B: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {Dockerfile: d, DockerContext: .}}
"""


def function(name: str, digit: str) -> dict[str, Any]:
    return {
        "stack": "",
        "path": ["Resources", name],
        "source": "sha256:" + "5" * 64,
        "config": "sha256:" + digit * 64,
        "platform": "linux/amd64",
        "size": 7,
        "base": "sha256:" + "b" * 64,
        "carrier": {"type": "oci-layout", "path": "oci"},
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """The content of images.json, for a test to change before `folder` is written."""
    return {
        "v": 2,
        "templates": {"": "app/template.yaml"},
        "parameters": {},
        "functions": {"A": function("A", "a"), "B": function("B", "b")},
    }


@pytest.fixture
def folder(tmp_path: Path, document: dict[str, Any]) -> Path:
    (tmp_path / "templates" / "app").mkdir(parents=True)
    (tmp_path / "templates" / "app" / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "images.json").write_text(json.dumps(document))
    return tmp_path
