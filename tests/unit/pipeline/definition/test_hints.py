from __future__ import annotations

import pytest

from pipeline.definition.hints import closest, described, did_you_mean, dotted, in_order
from stages.contract import Problem


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("stagez", ["stages", "name"], "stages"),
        ("NAME", ["stages", "name"], "name"),
        ("x", ["stages"], None),
        ("", [], None),
    ],
)
def test_the_closest_word(word: str, known: list[str], expected: str | None) -> None:
    assert closest(word, known) == expected


def test_a_word_like_none_gets_all_there_are_but_not_thousands() -> None:
    assert did_you_mean("x", ["needs", "uses"], what="keys") == "The keys are: needs, uses."
    assert did_you_mean("x", [f"name{n:04}" for n in range(5000)], what="keys").endswith("name0011, ....")
    assert did_you_mean("x", [], what="stages") == "There are no stages."


def test_a_path_as_people_read_it() -> None:
    assert dotted(("stages", "build", "needs", 0)) == "stages.build.needs[0]"
    assert dotted(()) == "the definition"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "empty"),
        (True, "true"),
        (0, "the number 0"),
        (1.5, "the number 1.5"),
        ([], "a list"),
        ({}, "a map"),
        ("a", "'a'"),
        ("x" * 100, "'" + "x" * 57 + "...'"),
    ],
)
def test_a_value_in_words(value: object, words: str) -> None:
    assert described(value) == words


def test_problems_are_told_in_the_order_of_reading_and_once() -> None:
    first, second, third = Problem("b", "a.yaml", 2, 1), Problem("a", "a.yaml", 10, 1), Problem("a", "b.yaml", 1, 1)
    assert in_order([third, second, first, third], ["a.yaml", "b.yaml"]) == [first, second, third]


def test_a_key_cannot_forge_a_message_or_fill_the_screen() -> None:
    [forged, long] = in_order([Problem("x\nerror: \x1b[2J\u202e"), Problem("y" * 10_000)], [])
    assert forged.message == "x\\nerror: \\x1b[2J\\u202e"
    assert len(long.message) == 400
