"""Expressions are looked up, not computed; what a parameter holds is never taken for one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.definition.expressions import ExpressionError, Reference, Scope, as_text, evaluate, is_expression, parse

if TYPE_CHECKING:
    from pipeline.definition.expressions import Value

SCOPE: Scope = {
    "parameters": {"level": "INFO", "count": 3, "flag": True, "nested": "${{ parameters.count }}", "empty": ""},
    "environment": {"name": "staging", "account": "111122223333", "region": "eu-central-1"},
}
VALUES = st.text() | st.integers() | st.booleans()
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True)
TEXTS = st.lists(
    st.text(max_size=5) | st.sampled_from(["$", "{", "}", "${{", "}}", "$${{", "parameters.level", " "])
).map("".join)


def escaped(text: str) -> str:
    return text.replace("${{", "$${{")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ parameters.level }}", "INFO"),
        ("${{parameters.level}}", "INFO"),
        ("${{\tparameters . level\n}}", "INFO"),
        ("${{ parameters.count }}", 3),
        ("${{ parameters.flag }}", True),
        ("n=${{ parameters.count }}", "n=3"),
        ("${{ parameters.flag }} ", "true "),
        ("${{ parameters.level }}${{ parameters.count }}", "INFO3"),
        ("${{ environment.account }}", "111122223333"),
        ("${{ parameters.nested }}", "${{ parameters.count }}"),
        ("x${{ parameters.nested }}", "x${{ parameters.count }}"),
        ("$${{ parameters.level }}", "${{ parameters.level }}"),
        ("$$${{ parameters.level }}", "$${{ parameters.level }}"),
        ("${{ parameters.empty }}", ""),
        ("${ parameters.level }", "${ parameters.level }"),
        ("$(level) {{ level }} }} `level`", "$(level) {{ level }} }} `level`"),
        ("", ""),
    ],
)
def test_texts(text: str, expected: Any) -> None:
    found = evaluate(text, SCOPE)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ parameters.level", "an expression is not closed"),
        ("a ${{", "an expression is not closed"),
        ("${{ }}", "'' is no expression"),
        ("${{ level }}", "'level' is no expression"),
        ("${{ parameters }}", "'parameters' is no expression"),
        ("${{ parameters.a.b }}", "'parameters.a.b' is no expression"),
        ("${{ parameters['a'] }}", "\"parameters['a']\" is no expression"),
        ("${{ 1 + 1 }}", "'1 + 1' is no expression"),
        ("${{ env.PATH }}", "'env.PATH' is no expression"),
        ("${{ parameters.__class__ }}", "'parameters.__class__' is no expression"),
        ("${{ ${{ parameters.level }} }}", "'${{ parameters.level' is no expression"),
        ("${{ parameters.lvl }}", "parameters.lvl is unknown"),
        ("${{ environment.stack }}", "environment.stack is unknown"),
        ("${{ parameters.größe }}", "'parameters.größe' is no expression"),
    ],
)
def test_what_is_no_expression(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, SCOPE)
    assert caught.value.message == message
    assert caught.value.hint


def test_a_misspelt_name_has_a_hint() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate("${{ parameters.levle }}", SCOPE)
    assert caught.value.hint == "Did you mean 'level'?"


def test_without_an_environment_there_is_nothing_to_ask_of_it() -> None:
    with pytest.raises(ExpressionError, match="there is no environment"):
        evaluate("${{ environment.name }}", {"parameters": {}})


def test_values_inside_lists_and_maps_and_no_keys() -> None:
    value = {
        "${{ parameters.level }}": ["${{ parameters.count }}", {"a": "${{ parameters.flag }}"}],
        "n": 1.5,
        "none": None,
    }
    assert evaluate(value, SCOPE) == {"${{ parameters.level }}": [3, {"a": True}], "n": 1.5, "none": None}


# For any text


@given(TEXTS)
def test_evaluation_always_ends_in_a_value_or_in_an_expression_error(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        evaluate(text, SCOPE)


@given(TEXTS)
def test_a_text_without_expressions_is_left_alone(text: str) -> None:
    if not is_expression(text):
        assert evaluate(text, {}) == text


@given(TEXTS)
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert evaluate(escaped(text), {}) == text


@given(NAMES, VALUES)
def test_exactly_one_expression_keeps_value_and_type(name: str, value: Value) -> None:
    found = evaluate(f"${{{{ parameters.{name} }}}}", {"parameters": {name: value}})
    assert found == value
    assert type(found) is type(value)


@given(TEXTS, NAMES, VALUES, TEXTS)
def test_a_value_stands_in_a_text_as_it_is_and_is_not_looked_at_again(
    before: str, name: str, value: Value, after: str
) -> None:
    """A parameter that holds an expression, a quote or a bracket must not become more than its text."""
    text = f"{escaped(before)} ${{{{ parameters.{name} }}}} {escaped(after)}"
    assert evaluate(text, {"parameters": {name: value}}) == f"{before} {as_text(value)} {after}"


@given(
    st.recursive(VALUES | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
)
def test_the_value_given_is_not_changed(value: Any) -> None:
    before = repr(value)
    with contextlib.suppress(ExpressionError):
        evaluate(value, SCOPE)
    assert repr(value) == before


@given(TEXTS)
def test_parts_say_what_evaluation_looks_up(text: str) -> None:
    try:
        parts = parse(text)
    except ExpressionError:
        return
    assert any(isinstance(part, Reference) for part in parts) <= is_expression(text)


def test_many_open_expressions_take_no_time() -> None:
    with pytest.raises(ExpressionError):
        parse("${{" * 100_000)
