from __future__ import annotations

import pytest

from stages.local import documents


def test_an_event_is_given_as_it_is_but_for_its_byte_order_mark() -> None:
    assert documents.event(b'\xef\xbb\xbf {"a": "\xc3\xa9"}\n') == b' {"a": "\xc3\xa9"}\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b'{"a": NaN}', "NaN is no value"),
        (b"-Infinity", "-Infinity is no value"),
        ('{"a": 1}'.encode("utf-16"), "can't decode"),
        (b"\xff", "can't decode"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_lambda_does_not_take(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        documents.event(data)
