from __future__ import annotations

import base64
import textwrap

import pytest

from pipeline.redaction.finder import Finder
from pipeline.redaction.forms import forms
from pipeline.redaction.lines import MOST_HELD, Lines

VALUE = b"correct-horse-battery"
PEM = b"-----BEGIN KEY-----\nMIIBVwIBADANBgkqhkiG9w0BAQEFAASCAUEw\nab\nggE9AgEAAkEAq7BFUpkGp3\n-----END KEY-----\n"


def lines(*values: bytes) -> Lines:
    return Lines(Finder({form: "S" for value in values or (VALUE,) for form in forms(value)}))


def masked(given: list[bytes], *values: bytes) -> list[bytes]:
    one = lines(*values)
    return [text for line in given for text, _ in one.add(line)] + [text for text, _ in one.end()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([b"nothing here"], [b"nothing here"]),
        ([b"token=" + VALUE + b";"], [b"token=***;"]),
        ([VALUE + VALUE], [b"***"]),
        ([b"x" + VALUE[:9], VALUE[9:] + b"y"], [b"x***", b"***y"]),
        ([b"x" + VALUE[:9], b"", b"", VALUE[9:] + b"y"], [b"x***", b"", b"", b"***y"]),
        ([b"x" + VALUE[:3], VALUE[3:]], [b"xcor", b"***"]),
        ([VALUE[:7], VALUE[7:14], VALUE[14:], b"next"], [b"***", b"***", b"***", b"next"]),
        ([VALUE[:12], b"other", VALUE[12:]], [VALUE[:12], b"other", VALUE[12:]]),
        ([b"cut off: " + VALUE[:9]], [b"cut off: ***"]),
        ([b"cut off: " + VALUE[:3]], [b"cut off: cor"]),
        ([b"corr", b"cor" + VALUE], [b"corr", b"cor***"]),
        ([b"\x1b[1mcolour\x1b[0m"], [b"colour"]),
        ([VALUE[:5] + b"\x1b[3", b"1m" + VALUE[5:]], [b"***", b"***"]),
        ([b"two\nlines " + VALUE[:8] + b"\n" + VALUE[8:]], [b"two\nlines ***\n***"]),
        ([], []),
    ],
)
def test_lines_come_out_masked_and_in_order(given: list[bytes], expected: list[bytes]) -> None:
    assert masked(given) == expected


def test_a_value_of_several_lines_is_masked_with_its_short_ones() -> None:
    assert masked([b"> " + PEM.splitlines()[0], *PEM.splitlines()[1:], b"ab"], PEM) == [b"> ***", *[b"***"] * 4, b"ab"]


@pytest.mark.parametrize("width", [1, 4, 19, 64, 76])
def test_base64_is_found_however_it_is_wrapped(width: int) -> None:
    value = bytes(range(100, 200))
    wrapped = textwrap.wrap(base64.b64encode(b"user:" + value + b"tail").decode(), width)
    said = b"".join(masked([each.encode() for each in wrapped], value)).replace(b"***", b"")
    assert len(said) <= len("user:tail") * 4 / 3 + 6
    encoded = base64.b64encode(b"user:" + value + b"tail")
    assert not any(encoded[at : at + 6] in said for at in range(8, 130))


def test_overlapping_values_leave_nothing_between_them() -> None:
    assert masked([b"<abcdefghijkl>"], b"abcdefgh", b"efghijkl") == [b"<***>"]
    assert masked([b"<abcdefgh", b"ijkl>"], b"abcdefgh", b"efghijklm", b"ghijkl") == [b"<***", b"***>"]


def test_what_is_masked_in_a_line_stays_so_however_long_the_line_is_held() -> None:
    given = [b"<abcd", b"efgh-qrst", b"uv", b"wx>"]
    assert masked(given, b"abcdefgh", b"qrstuvwx") == [b"<***", b"***-***", b"***", b"***>"]


def test_a_line_is_given_at_once_unless_its_end_may_go_on() -> None:
    one = lines(VALUE, PEM)
    assert one.add(b"normal", 1) == [(b"normal", 1)]
    assert one.add(b"ends with corr", 2) == []
    assert one.add(b"and goes on", 3) == [(b"ends with corr", 2), (b"and goes on", 3)]
    assert one.add(b"ends with cor", 4) == [(b"ends with cor", 4)]
    assert one.add(b"-----BEGIN KEY-----", 5) == []
    assert one.add(b"another", 6) == [(b"***", 5), (b"another", 6)]
    assert one.end() == []


def test_who_says_a_beginning_and_nothing_more_is_not_kept_for_ever() -> None:
    one = lines()
    given = one.add(b"x" + VALUE[:10])
    for _ in range(MOST_HELD):
        given += one.add(b"")
    assert given[0] == (b"x***", None)
    assert one.add(VALUE[10:] + b"y") == [(b"***y", None)]


def test_a_needle_of_one_letter_repeated_ends_in_time() -> None:
    """Catches a search for what may go on that takes the square of a line's length."""
    said = masked([b"a" * 65_536] * 4, b"a" * 5_000)
    assert set(said) == {b"***"}


@pytest.mark.parametrize("size", range(1, 8))
def test_a_form_may_go_on_after_any_of_its_bytes(size: int) -> None:
    one = Lines(Finder({b"abcdefgh": "S"}))
    given = [*one.add(b"abcdefgh"[:size]), *one.add(b"abcdefgh"[size:]), *one.end()]
    assert [text for text, _ in given] == [b"abc"[:size] if size < 4 else b"***", b"***"]
