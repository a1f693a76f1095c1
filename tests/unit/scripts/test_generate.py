"""scripts/generate.py: a stale file is told, and written anew."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate.py"


@pytest.fixture
def generate() -> Any:
    """The script as a module, anew for each test."""
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(generate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reference that a test may change."""
    copy = tmp_path / "docs" / "reference"
    shutil.copytree(generate.REFERENCE, copy)
    monkeypatch.setattr(generate, "REFERENCE", copy)
    return copy


def test_every_command_has_its_section(generate: Any) -> None:
    page = generate.commands()
    for command in ("towpath run", "towpath stage run", "towpath embedded stop"):
        assert f"\n## {command}\n\n```text\nUsage: {command} " in page


@pytest.mark.parametrize("name", ["commands.md", "pipeline.schema.json"])
def test_a_stale_file_is_told_and_left_alone(
    generate: Any, pages: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pages / name).write_text("old")
    assert generate.main(check=True) == 1
    assert f"stale: docs/reference/{name}" in capsys.readouterr().err
    assert (pages / name).read_text() == "old"


def test_writing_makes_everything_fresh(generate: Any, pages: Path) -> None:
    (pages / "commands.md").unlink()
    assert generate.main(check=False) == 0
    assert generate.main(check=True) == 0
