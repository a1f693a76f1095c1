from __future__ import annotations

import base64
import html
import json
import shlex
import urllib.parse

import pytest

from pipeline.redaction.forms import forms, unfinished, visible

VALUE = "pa$s <w/o>'rd\"\\é&+=100%"
DATA = VALUE.encode()


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        DATA.hex(),
        DATA.hex().upper(),
        base64.b64encode(DATA).decode(),
        base64.b64encode(DATA).decode().rstrip("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.b64encode(DATA + b"\n").decode(),
        urllib.parse.quote(VALUE),
        urllib.parse.quote(VALUE, safe=""),
        urllib.parse.quote_plus(VALUE),
        urllib.parse.quote(VALUE, safe="").replace("%2F", "%2f").replace("%3C", "%3c").replace("%3E", "%3e").replace("%5C", "%5c").replace("%C3%A9", "%c3%a9").replace("%2B", "%2b").replace("%3D", "%3d"),
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(VALUE))[3:-3],
        json.dumps(VALUE)[1:-1].replace("/", "\\/"),
        json.dumps(VALUE)[1:-1].replace("\\u00e9", "\\u00E9"),
        repr(VALUE)[1:-1],
        repr(DATA)[2:-1],
        html.escape(VALUE),
        html.escape(VALUE, quote=False),
        html.escape(VALUE).replace("&#x27;", "&#39;"),
        shlex.quote(VALUE),
        VALUE.replace("'", "''"),
        VALUE.replace('"', '""'),
    ],
)  # fmt: skip
def test_what_programs_write_is_a_form(written: str) -> None:
    assert written.encode() in forms(DATA)


@pytest.mark.parametrize("before", [b"", b"u", b"u:", b"usr", b"user:"])
@pytest.mark.parametrize("after", [b"", b"\n", b"x", b"xy"])
@pytest.mark.parametrize("value", [b"hunter2", b"hunter22", b"hunter222", bytes(range(0x80, 0x90))])
def test_base64_amid_other_bytes_is_found_to_the_last_whole_character(
    before: bytes, after: bytes, value: bytes
) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        written = encode(before + value + after)
        found = max((form for form in forms(value) if form in written), key=len)
        first, last = -(-8 * len(before) // 6), 8 * len(before + value) // 6
        assert len(found) >= last - first


def test_each_line_and_each_leaf_is_sought_by_itself() -> None:
    assert {b"first line", b"third line"} <= forms(b"first line\nabc\nthird line\r\n")
    document = b'{"user": "admin-user", "deep": [{"password": "hunter22"}], "pin": 12345678, "port": 5432, "on": true}'
    found = forms(document)
    assert {b"admin-user", b"hunter22", b"12345678", base64.b64encode(b"hunter22")} <= found
    assert not {b"5432", b"true", b"user", b"password"} & found


def test_what_stands_around_a_value_is_no_part_of_it() -> None:
    assert b"hunter22" in forms(b'  "hunter22"\n')


def test_nothing_short_is_sought() -> None:
    assert forms(b"a\nb\n\x1b[1mc\n") == set()
    assert min(map(len, forms(b"secret"))) >= 6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"plain\ttext \xc3\xa9", b"plain\ttext \xc3\xa9"),
        (b"h\x1b[1;31mu\x1b[0mnter", b"hunter"),
        (b"h\x00u\x00n\x00", b"hun"),
        (b"a\r\nb\x7f", b"ab"),
        ("h\u200bu\u2060n\ufeff\x9b".encode(), b"hun"),
        (b"\x1b]0;title\x07x", b"]0;titlex"),
        ("“quoted”".encode(), "“quoted”".encode()),
    ],
)
def test_what_a_terminal_does_not_show_counts_for_nothing(text: bytes, shown: bytes) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "size"),
    [(b"a", 0), (b"a\x1b", 1), (b"a\x1b[", 2), (b"a\x1b[1;3", 5), (b"a\x1b[1m", 0), (b"a\xe2\x80", 2), (b"a\xef\xbb", 2), (b"\xc2", 1), (b"a\x1b[" + b"1" * 65, 0)],
)  # fmt: skip
def test_the_end_of_a_piece_may_go_on_as_something_invisible(text: bytes, size: int) -> None:
    assert unfinished(text) == size
