from __future__ import annotations

import pytest

from pipeline.cli.progress import Lines, Live, label, plain
from pipeline.record.chain import Head
from pipeline.record.replay import Attempt
from stages.contract import Failure


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("over\rwritten\x08", "overwritten"),
        ("\x9b31mred", "31mred"),
        ("tab\tstays, ümläut too", "tab\tstays, ümläut too"),
    ],
)
def test_a_log_cannot_drive_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_label_names_the_function() -> None:
    assert label("build", {"function": "Hello"}) == "build Hello |"
    assert label("build", {}) == "build |"


def test_how_far_something_is_shows_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a CI log of a line for every second of an upload."""
    Lines().line("package", "34.2 MB sent", {"progress": True})
    assert capsys.readouterr().err == ""
    live = Live()
    live.stage_started("package", 1)
    live.line("package", "pushed it", {})
    live.line("package", "34.2 MB sent", {"progress": True})
    assert live._rows["package"][3] == "34.2 MB sent"
    assert list(live._tails["package"]) == ["pushed it"]


def test_why_a_stage_failed_is_said_at_once_only_where_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with that very message."""
    lines, failure = Lines(), Failure("terminal", "no such file\n  at: COPY x")
    ended = {
        name: Attempt(name, 1, Head("x", "sha256:0", 1), "", "", {}, {}, None, outcome="failed", failure=failure)
        for name in ("build", "scan")
    }
    for name, attempt in ended.items():
        lines.stage_started(name, attempt.number)
    for attempt in ended.values():
        lines.stage_ended(attempt)
    assert capsys.readouterr().err.splitlines()[2:] == ["build | failed: no such file", "scan | failed"]
