from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from stages.contract import StageError
from stages.images import engine

if TYPE_CHECKING:
    from pathlib import Path


def test_an_engine_that_has_locked_up_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens, as a process that hangs does, and never answers."""
    monkeypatch.setattr(engine, "LOOK_TIMEOUT_S", 0.05)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(f"{tmp_path}/docker.sock")
        silent.listen()
        with pytest.raises(StageError, match="no container engine answers") as caught:
            engine.images({"app:v1"})
    assert caught.value.cls == "retryable"
    assert "start it anew" in (caught.value.hint or "")
