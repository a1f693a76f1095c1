from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from pipeline.cli.progress import Live

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def live() -> Live:
    made = Live()
    made._rows = {"build": ("pending", 0.0, 0.0, ""), "scan": ("pending", 0.0, 0.0, "")}
    made.stage_started("build", 1)
    return made


@pytest.fixture
def shown(live: Live) -> Callable[[], list[str]]:
    def draw() -> list[str]:
        console = Console(width=100, force_terminal=False)
        with console.capture() as capture:
            console.print(live.table())
        return [line.rstrip() for line in capture.get().splitlines() if line.strip()]

    return draw


def _build(live: Live, function: str, *states: str) -> None:
    for state in states:
        live.line("build", f"now {state}", {"function": function, "state": state})


def test_functions_at_work_stand_below_their_stage(live: Live, shown: Callable[[], list[str]]) -> None:
    _build(live, "Done", "building", "built")
    _build(live, "Busy", "building")
    live.line("build", "Step 2", {"function": "Busy"})
    lines = shown()
    assert [line.split()[0] for line in lines if not line.startswith("run")] == ["build", "Busy", "Done", "scan"]
    assert "building" in lines[1]
    assert lines[1].endswith("Step 2")


def test_what_is_too_long_for_the_screen_is_seen_to_be_cut(live: Live, shown: Callable[[], list[str]]) -> None:
    live.line("build", "word " * 40, {})
    [line, _] = shown()
    assert (line[-1], len(line)) == ("…", 98)  # two are between columns
    live.line("build", f"built sha256:{'0f' * 32}\nmore", {})
    assert shown()[0].endswith("  built sha256:0f0f0f0f0f0f…")


def test_a_long_line_takes_no_room_from_the_others(live: Live, shown: Callable[[], list[str]]) -> None:
    _build(live, "OrdersFunction", "building")
    live.line("build", "x" * 500, {"function": "OrdersFunction"})
    lines = shown()
    assert lines[0].startswith("build ")
    assert "running" in lines[0]
    assert lines[1].startswith("  OrdersFunction  building ")


def test_many_functions_leave_room_on_the_screen(live: Live, shown: Callable[[], list[str]]) -> None:
    for number in range(40):
        _build(live, f"F{number}", "reused")
    _build(live, "Busy", "building")
    lines = shown()
    assert len(lines) < 20
    assert "Busy" in lines[1]
    assert any("29 more" in line and "29 of them done" in line for line in lines)


def test_a_stage_that_only_names_functions_has_no_rows_for_them(live: Live, shown: Callable[[], list[str]]) -> None:
    live.line("build", "pushed", {"function": "Fn"})
    assert not [line for line in shown() if line.strip().startswith("Fn ")]
