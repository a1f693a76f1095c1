"""A project directory to write definitions into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from pipeline import definition
from pipeline.errors import InvalidDefinition

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.definition import Definition
    from stages.contract import Problem

HEAD = "version: 1\nname: demo\n"


class Load(Protocol):
    """Write a definition (what stands below `version` and `name`) and files beside it, and load it."""

    def __call__(self, text: str, files: dict[str, str] | None = None, *, head: str = HEAD) -> Definition: ...


class Problems(Protocol):
    """Do the same, and give what is wrong with it."""

    def __call__(self, text: str, files: dict[str, str] | None = None, *, head: str = HEAD) -> list[Problem]: ...


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def _load(text: str, files: dict[str, str] | None = None, *, head: str = HEAD) -> Definition:
        for name, content in {"pipeline.yaml": head + text, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return definition.load(tmp_path / "pipeline.yaml", tmp_path)

    return _load


@pytest.fixture
def problems(load: Load) -> Problems:
    def _problems(text: str, files: dict[str, str] | None = None, *, head: str = HEAD) -> list[Problem]:
        with pytest.raises(InvalidDefinition) as caught:
            load(text, files, head=head)
        return caught.value.problems

    return _problems
