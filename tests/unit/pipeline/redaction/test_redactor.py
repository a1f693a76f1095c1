from __future__ import annotations

import base64
import io

import pytest

from pipeline.errors import StageFailed
from pipeline.redaction import MOST_STREAMS, Redactor

VALUE = b"correct-horse-battery"
TEXT = VALUE.decode()
BASE64 = base64.b64encode(VALUE).decode()


@pytest.fixture
def redactor() -> Redactor:
    return Redactor({"TOKEN": VALUE, "PIN": b"12345678"})


def test_without_secrets_all_is_given_as_it_is() -> None:
    none = Redactor({})
    document = {"a": [TEXT, 12345678, None, True, 1.5, "\x1b[1m"]}
    assert none.value(document) == document
    assert none.text("\x1b[1mx") == "\x1b[1mx"
    assert none.line("stdout", b"\x1b[1mx\n", 1) == [(b"\x1b[1mx\n", 1)]
    assert none.held_by(document) is None
    assert not none


def test_texts_are_masked_where_they_stand_and_the_structure_stays(redactor: Redactor) -> None:
    document = {"a": [f"<{TEXT}>", 12345678, 7, None, True, {TEXT: BASE64}], "b": "plain", "c": "two\nlines"}
    assert redactor.value(document) == {"a": ["<***>", "***", 7, None, True, {"***": "***"}], "b": "plain", "c": "two\nlines"}  # fmt: skip


def test_the_beginning_of_a_secret_at_the_end_of_a_text_is_no_secret(redactor: Redactor) -> None:
    assert redactor.text("this is correct") == "this is correct"


def test_a_secret_of_bytes_that_are_no_text_may_end_within_a_character() -> None:
    assert Redactor({"B": b"\xa9 secret \xc3"}).text("é secret é") == "\\xc3***\\xa9"


def test_who_holds_a_secret_is_told_its_name(redactor: Redactor) -> None:
    assert redactor.held_by({"x": [{"y": f"a {TEXT[:5]}\n{TEXT[5:]} b"}]}) == "TOKEN"
    assert redactor.held_by({"x": [{TEXT: 1}]}) == "TOKEN"
    assert redactor.held_by([12345678]) == "PIN"
    assert redactor.held_by({"x": ["nothing", 1, None]}) is None


@pytest.mark.parametrize("at", [0, 1, (1 << 20) - 5, (1 << 20) - 1, 1 << 20, 3_000_000])
def test_a_file_is_searched_wherever_it_is_read_in_pieces(redactor: Redactor, at: int) -> None:
    wrapped = BASE64[:9] + "\r\n" + BASE64[9:]
    assert redactor.held_by_file(io.BytesIO(b"\xff" * at + wrapped.encode() + b"\xff" * 10)) == "TOKEN"
    assert redactor.held_by_file(io.BytesIO(b"\xff" * at + BASE64[:20].encode() + b"\xff" * 10)) is None


def test_streams_do_not_mix_and_their_number_is_bounded(redactor: Redactor) -> None:
    half = VALUE[:10]
    assert redactor.line("stdout", half, 1) == []
    assert redactor.line("stderr", b"x", 2) == [(b"x", 2)]
    for number in range(2 * MOST_STREAMS):
        redactor.line(number, b"x", 3)
    assert len(redactor._streams) <= MOST_STREAMS + 1
    assert redactor.line("stdout", VALUE[10:], 4) == [(b"***", 1), (b"***", 4)]
    assert redactor.line("stdout", half, 5) == []
    assert redactor.end() == [(b"***", 5)]


def test_exceptions_say_no_secret_nor_do_those_that_led_to_them(redactor: Redactor) -> None:
    error = StageFailed(f"it said {BASE64}", hint=TEXT)
    error.__cause__ = ValueError(f"bad {TEXT}", 3)
    error.__cause__.__context__ = error  # a circle ends nobody's patience
    redactor.error(error)
    assert (str(error), error.message, error.hint) == ("it said ***", "it said ***", "***")
    assert error.__cause__.args == ("bad ***", 3)
