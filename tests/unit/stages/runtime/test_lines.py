from __future__ import annotations

from stages.runtime.lines import Lines

OUT, ERR = 1, 2


def test_no_line_stands_in_the_middle_of_anothers() -> None:
    heard: list[bytes] = []
    lines = Lines(0, heard.append)
    for stream, piece in [(ERR, b"to std"), (OUT, b"to stdout\nmore"), (ERR, b"err"), (ERR, b"\n"), (OUT, b"\n")]:
        lines.add(stream, piece)
    assert heard == [b"to stdout\n", b"to stderr\n", b"more\n"]
    assert lines.take() == "to stdout\nto stderr\nmore\n"
    assert lines.take() == ""


def test_what_does_not_end_waits_until_it_is_taken() -> None:
    heard: list[bytes] = []
    lines = Lines(0, heard.append)
    lines.add(OUT, b"50 %")
    lines.add(ERR, b"x")
    assert (heard, lines.peek()) == ([], "50 %x")
    assert lines.take() == "50 %x"
    assert heard == [b"50 %", b"x"]
    lines.add(OUT, b" done\n")
    assert heard[2:] == [b" done\n"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    heard: list[bytes] = []
    lines = Lines(0, heard.append)
    for _ in range(3):
        lines.add(OUT, b"x" * 40_000)
    assert [len(each) for each in heard] == [80_000]
    lines.mute()
    lines.end()
    assert len(heard) == 1
