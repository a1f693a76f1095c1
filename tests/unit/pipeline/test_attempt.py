from __future__ import annotations

import pytest

from pipeline.attempt import parse_line


@pytest.mark.parametrize(
    ("line", "text", "fields"),
    [
        (b"plain", "plain", {}),
        (b'{"message": "built", "function": "Hello"}', "built", {"function": "Hello"}),
        (b'{"message": 3}', '{"message": 3}', {}),
        (b'{"other": "x"}', '{"other": "x"}', {}),
        (b"{broken", "{broken", {}),
        (b"[1]", "[1]", {}),
        (b"\xff\xfe", "\\xff\\xfe", {}),
        (b'{"message":' + b"[" * 60_000, '{"message":' + "[" * 60_000, {}),
    ],
)
def test_a_line_is_data_or_text_and_never_more(line: bytes, text: str, fields: dict[str, str]) -> None:
    assert parse_line(line) == (text, fields)
