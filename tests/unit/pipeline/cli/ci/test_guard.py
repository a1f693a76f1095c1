from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from support.github_log import read

from pipeline.cli.ci.guard import Guard, harmless, harmless_json

COMMANDS = ["::set-output name=x::y", "::add-mask::x", "##[set-output name=x;]y", "##[group]x", "::stop-commands::x"]
BEFORE = ["", " ", "\t ", "\u200b", "\u00ad ", "\u00a0", "\u2028", "\ufeff", "\x1b", "\x85"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_model_takes_these_for_commands(command: str) -> None:
    assert [each.name for each in read(command).acted] == [command.strip(":#[").split()[0].split(":")[0].split("]")[0]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("before", BEFORE)
def test_none_of_them_is_one_behind_the_guard(command: str, before: str) -> None:
    assert read(harmless(before + command)).acted == []


@pytest.mark.parametrize("line", [":\u200b:add-mask::x", "#\u00ad#[add-mask]x", "build | #\u200b#\u200b[add-mask]x"])
def test_what_cannot_be_seen_does_not_help(line: str) -> None:
    assert read(line).acted
    assert read(harmless(line)).acted == []


@pytest.mark.parametrize("line", ["build | a::b", "# a [link]", "## title", "ratio 1::2", "", "std::string"])
def test_all_else_stays_as_it_is(line: str) -> None:
    assert harmless(line) == line


PIECES = some.sampled_from(
    ["::", ":", "#", "##[", "[", "]", "error", "add-mask", " ", "\t", "\u200b", "\u00ad", "\r", "x"]
)


@settings(max_examples=500)
@given(some.lists(PIECES, max_size=12).map("".join))
def test_no_line_is_a_command(line: str) -> None:
    assert all(read(harmless(each)).acted == [] for each in line.split("\r"))


@settings(max_examples=200)
@given(some.lists(PIECES, max_size=12).map("".join), some.lists(some.integers(0, 30), max_size=4))
def test_however_it_is_cut_into_pieces(text: str, cuts: list[int]) -> None:
    into = io.BytesIO()
    guard = Guard(into)
    data, at = f"{text}\n{text}".encode(), 0
    for cut in [*sorted(cuts), len(data)]:
        guard.write(data[at:cut])
        guard.flush()
        at = max(at, cut)
    guard.finish()
    assert read(into.getvalue().decode()).acted == []


@settings(max_examples=300)
@given(some.lists(PIECES, max_size=12).map("".join))
def test_json_means_the_same_and_is_no_command(text: str) -> None:
    written = json.dumps({"said": text}, ensure_ascii=False, indent=2)
    assert json.loads(harmless_json(written)) == {"said": text}
    assert read(harmless_json(written)).acted == []
    assert harmless(harmless_json(written).splitlines()[1]) == harmless_json(written).splitlines()[1]


def test_bytes_that_are_no_text_pass() -> None:
    into = io.BytesIO()
    guard = Guard(into)
    guard.write(b"\xff\xfe::x\n")
    guard.trusted(b"::group::ours\n")
    assert into.getvalue() == b"\xff\xfe::x\n::group::ours\n"
