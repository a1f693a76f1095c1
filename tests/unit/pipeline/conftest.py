from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.plans import House

from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A project with an empty store."""
    project = tmp_path / "project"
    project.mkdir()
    return House(project, open_store(tmp_path / "store", create=True))
