from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline import doctor
from pipeline.signing import keys, signers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_line_that_enrols_this_machines_key_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOWPATH_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert doctor._key().state == "note"
    assert not list(tmp_path.iterdir())  # looking makes nothing
    keys.make(tmp_path / "towpath/runner.key")
    found = doctor._key()
    public = keys.load(tmp_path / "towpath/runner.key").public
    assert public.fingerprint in found.found
    line = (found.repair or "").partition("--trust FILE: ")[2]
    assert signers.trust(line, "trust").key("builder", public.fingerprint)


def test_a_key_that_cannot_be_used_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_KEY", str(tmp_path / "none"))
    assert doctor._key().state == "bad"
    keys.make(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    monkeypatch.setenv("TOWPATH_KEY", str(tmp_path / "key"))
    found = doctor._key()
    assert found.state == "bad"
    assert found.repair == f"chmod 600 {tmp_path / 'key'}"


def test_it_tells_whether_stages_are_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor._isolation()
    assert (found.state, found.repair) == ("note", "sudo apt-get install bubblewrap")
    assert "A stage can read this user's files" in found.found
    monkeypatch.setenv("TOWPATH_ISOLATION", "maybe")
    assert doctor._isolation().state == "bad"
