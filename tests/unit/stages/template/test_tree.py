from __future__ import annotations

import pytest

from stages.contract import InvalidInput
from stages.template import read
from stages.template.tree import Mapping, Scalar, Template, walk


def _problem(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(data, "template.yaml")
    return str(caught.value.problems[0])


def _scalar(template: Template, key: str) -> Scalar:
    node = template.root.get(key)
    assert isinstance(node, Scalar)
    return node


def test_spans_are_offsets_into_the_text_behind_a_byte_order_mark() -> None:
    template = read("\ufeffé: 1\r\nb: !Ref x # c\r\n".encode(), "t.yaml")
    node = _scalar(template, "b")
    assert template.text[node.span.start : node.span.end] == "!Ref x"
    assert (node.span.line, node.span.column) == (2, 4)


def test_values_stay_what_the_author_wrote() -> None:
    template = read(b"a: 010\nb: 12:30:45\nc: on\nd: '010'\n", "t.yaml")
    assert [_scalar(template, key).value for key in "abcd"] == ["010", "12:30:45", "on", "010"]
    assert [_scalar(template, key).plain for key in "abcd"] == [True, True, True, False]


def test_flow_and_block_mappings_are_told_apart() -> None:
    template = read(b"a: {b: 1}\nc:\n  d: 1\ne: &x {}\n", "t.yaml")
    flows = [node.flow for node in walk(template.root) if isinstance(node, Mapping)]
    assert flows == [False, True, False, True]


def test_json_indented_with_tabs_is_read() -> None:
    template = read(b'{\n\t"a": {\n\t\t"b": "\\u00e9"\n\t}\n}\n', "t.json")
    inner = template.root.get("a")
    assert isinstance(inner, Mapping)
    value = inner.get("b")
    assert isinstance(value, Scalar)
    assert value.value == "é"


def test_an_alias_is_refused_where_it_stands() -> None:
    text = _problem(b"a: &x {b: 1}\nc: *x\n")
    assert text.startswith("template.yaml:2:4: the alias *x cannot be packaged")
    assert "\n    c: *x\n" in text


def test_a_merge_key_is_refused_even_without_alias() -> None:
    assert "the merge key <<" in _problem(b"a:\n  <<: {b: 1}\n")


def test_an_anchor_that_nobody_uses_is_fine() -> None:
    assert read(b"a: &x 1\n", "t.yaml").root.get("a") is not None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: [1\n", "template.yaml:2:1: "),
        (b"- a\n", "this file has no mapping"),
        (b"", "this file has 0 documents"),
        (b"a: 1\n---\nb: 2\n", "this file has 2 documents"),
        (b"[" * 100_000, "nested deeper than"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_template_is_one_problem(data: bytes, message: str) -> None:
    assert message in _problem(data)
