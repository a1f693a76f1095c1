from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stages.package import progress

if TYPE_CHECKING:
    import pytest


def test_bytes_are_counted_and_told_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("stages.package.progress.time.monotonic", lambda: now[0])
    told = progress.Progress()
    for at in range(1, 31):
        now[0] = at / 10
        told.add(1_000_000)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines] == ["10.0 MB sent", "20.0 MB sent", "30.0 MB sent"]
    assert all(line["progress"] for line in lines)
