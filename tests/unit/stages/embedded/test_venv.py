from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from stages.contract import StageError
from stages.embedded import venv

if TYPE_CHECKING:
    from pathlib import Path


def test_every_requirement_is_pinned_with_hashes_from_pypi() -> None:
    text = venv.REQUIREMENTS.read_text()
    blocks = re.split(r"\n(?=[a-z])", text.strip())
    assert any(block.startswith("ministack==1.5.33 ") for block in blocks)
    assert {"docker", "cryptography", "aws-sam-translator"} <= {block.split("==")[0] for block in blocks}
    assert all(re.match(r"[a-z0-9-]+==\S+", block) and "--hash=sha256:" in block for block in blocks)
    assert "index-url" not in text


def test_another_lock_is_another_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = venv.name()
    changed = tmp_path / "requirements.lock"
    changed.write_bytes(venv.REQUIREMENTS.read_bytes() + b"# changed\n")
    monkeypatch.setattr(venv, "REQUIREMENTS", changed)
    assert venv.name() != before


def test_an_environment_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venv, "_places", lambda: [tmp_path / "first", tmp_path / "second"])
    python = tmp_path / "second" / venv.name() / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert venv.interpreter(pytest.fail) == python


def test_no_place_to_write_is_one_clear_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(venv, "_places", lambda: [tmp_path / "file" / "towpath"])
    with pytest.raises(StageError, match="no place") as caught:
        venv.interpreter(pytest.fail)
    assert caught.value.hint is not None


def test_a_failed_installation_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half an environment must not be taken for a whole one by the next start."""
    broken = tmp_path / "requirements.lock"
    broken.write_text("ministack==1.5.33 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(venv, "REQUIREMENTS", broken)
    monkeypatch.setattr(venv, "_places", lambda: [tmp_path / "share"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StageError, match="cannot be made") as caught:
        venv.interpreter(lambda _: None)
    assert caught.value.cls == "retryable"
    assert not [path for path in (tmp_path / "share").iterdir() if path.is_dir()]
