"""pyyaml-include takes URLs, wildcards, parameters and any path; through our one module it takes plain names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.beneath import Refused
from pipeline.definition import include
from pipeline.definition.loading import CoreLoader


def included(text: str) -> tuple[Any, list[str]]:
    """What the node of `text` includes, and every name that was asked for."""
    asked: list[str] = []

    def read(name: str) -> bytes:
        asked.append(name)
        return b"content of " + name.encode()

    node = yaml.compose(text, Loader=CoreLoader)
    assert node is not None
    return include.include(node, CoreLoader(""), read=read, build=lambda name, data: (name, data)), asked


def test_a_plain_name_is_read_once_and_built() -> None:
    assert included("!include d/a.yaml") == (("d/a.yaml", b"content of d/a.yaml"), ["d/a.yaml"])


@pytest.mark.parametrize(
    "text",
    [
        "!include ../a.yaml",
        "!include /etc/passwd",
        "!include file:///etc/passwd",
        "!include http://127.0.0.1/a.yaml",
        "!include '*.yaml'",
        "!include ''",
        "!include",
        "!include [a.yaml]",
        "!include [a.yaml, 2]",
        "!include {urlpath: a.yaml}",
        "!include {urlpath: file:///etc/passwd, compression: gzip}",
        "!include {urlpath: '**/*.yaml', glob: {maxdepth: 9}, flatten: true}",
    ],
)
def test_everything_else_is_refused_before_anything_is_read(text: str) -> None:
    with pytest.raises(Refused):
        included(text)


@given(st.text(max_size=40))
def test_what_is_read_is_just_the_name_that_is_written(name: str) -> None:
    """No part of pyyaml-include may take a name for more than one file, or for another."""
    node = yaml.ScalarNode(include.TAG, name)
    asked: list[str] = []

    def read(each: str) -> bytes:
        asked.append(each)
        return b""

    try:
        include.include(node, CoreLoader(""), read=read, build=lambda *_: None)
    except Refused:
        assert asked == []
    else:
        assert asked == [name]


def test_the_file_system_confines_by_itself() -> None:
    """Should pyyaml-include ever ask for another name than the one that was looked at."""
    files = include._Files(lambda _name: b"")
    with pytest.raises(Refused):
        files.open("../a.yaml")


def test_one_module_knows_pyyaml_include() -> None:
    """The licence page promises that one module is all that has to be replaced."""
    root = Path(pipeline.__file__).parents[1]
    importing = [
        path.relative_to(root).as_posix()
        for package in ("pipeline", "stages")
        for path in (root / package).rglob("*.py")
        if re.search(r"^\s*(import|from) (yaml_include|fsspec)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == ["pipeline/definition/include.py"]
