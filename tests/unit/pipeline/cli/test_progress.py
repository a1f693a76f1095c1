from __future__ import annotations

import pytest

from pipeline.cli.progress import label, plain


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
