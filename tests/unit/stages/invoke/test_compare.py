from __future__ import annotations

from typing import Any

import pytest

from stages.invoke import requests
from stages.invoke.compare import SHOWN, Answer, differences, subset


def call(text: str) -> requests.Call:
    [made] = requests.parse(text.encode(), "smoke.yaml", lambda _: b"{}")
    return made


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}),
        ([], []),
        (1, 1.0),
        (None, None),
    ],
)
def test_what_is_within(expected: Any, actual: Any) -> None:
    assert list(subset(expected, actual, "json")) == []


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ({"a": 1}, {}, "json.a: expected 1, got nothing"),
        ({"a": 1}, {"a": 2}, "json.a: expected 1, got 2"),
        ({"a": 1}, {"a": "1"}, 'json.a: expected 1, got "1"'),
        ({"a": True}, {"a": 1}, "json.a: expected true, got 1"),
        ({"a": 0}, {"a": False}, "json.a: expected 0, got false"),
        ({"a": None}, {}, "json.a: expected null, got nothing"),
        ({"a": [1]}, {"a": [1, 2]}, "json.a: expected [1], got [1, 2]"),
        ({"a": [1, 2]}, {"a": [2, 1]}, "json.a[0]: expected 1, got 2"),
        ({"a": {}}, {"a": []}, "json.a: expected {}, got []"),
        ({"a": 1}, "text", 'json: expected {"a": 1}, got "text"'),
    ],
)
def test_what_is_not_within(expected: Any, actual: Any, difference: str) -> None:
    assert next(iter(subset(expected, actual, "json"))) == difference


ENDPOINT = "- {endpoint: A, expect: %s}"
FUNCTION = "- {function: A, expect: %s}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("- endpoint: A", Answer(b"anything", status=200)),
        (ENDPOINT % "{status: 404}", Answer(b"", status=404)),
        (ENDPOINT % "{json: {m: hi}}", Answer(b'{"m": "hi", "n": 1}', status=200)),
        (ENDPOINT % "{text: hi}", Answer(b"hi", status=200)),
        (ENDPOINT % "{contains: [h, i]}", Answer(b"hi", status=200)),
        ("- function: A", Answer(b"null")),
        (FUNCTION % "{json: null}", Answer(b"null")),
        (FUNCTION % "{error: true}", Answer(b"{}", error="ValueError: bad")),
        (FUNCTION % "{error: bad}", Answer(b"{}", error="ValueError: bad")),
        (FUNCTION % "{error: ValueError}", Answer(b"{}", error="ValueError: bad")),
    ],
)
def test_answers_as_expected(text: str, answer: Answer) -> None:
    assert differences(call(text), answer) == []


@pytest.mark.parametrize(
    ("text", "answer", "difference"),
    [
        ("- endpoint: A", Answer(b"oops", status=500), 'status: expected 200, got 500 with "oops"'),
        (ENDPOINT % "{json: {}}", Answer(b"<html>", status=200), 'json: expected {}, got what is not JSON: "<html>"'),
        (ENDPOINT % "{text: hi}", Answer(b"hi\n", status=200), 'text: expected "hi", got "hi\\n"'),
        (ENDPOINT % "{contains: ho}", Answer(b"hi", status=200), 'contains: expected "ho" in it, got "hi"'),
        ("- function: A", Answer(b"{}", error="E: bad"), "error: expected none, got E: bad"),
        (FUNCTION % "{error: true}", Answer(b"1"), 'error: expected an error, got the answer "1"'),
        (FUNCTION % "{error: false}", Answer(b"1", error="E: x"), "error: expected none, got E: x"),
        (FUNCTION % "{error: good}", Answer(b"{}", error="E: bad"), 'error: expected one with "good", got E: bad'),
        (FUNCTION % "{error: good}", Answer(b"1"), 'error: expected an error with "good", got the answer "1"'),
        (FUNCTION % "{json: null}", Answer(b"1"), "json: expected null, got 1"),
    ],
)
def test_answers_not_as_expected(text: str, answer: Answer, difference: str) -> None:
    assert differences(call(text), answer) == [difference]


def test_a_long_answer_is_cut() -> None:
    [difference] = differences(call("- endpoint: A"), Answer(b"x" * 100_000, status=500))
    assert len(difference) < SHOWN + 100
