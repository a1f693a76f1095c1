from __future__ import annotations

import pytest

from stages.contract import InvalidInput
from stages.template import read
from stages.template.tree import Alias, Mapping, Scalar, Sequence, Template, walk


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


def test_an_alias_is_the_node_it_stands_for_at_the_place_where_that_stands() -> None:
    template = read(b"a: &x {b: 1}\nc: *x\nd: &x 2\ne: [*x]\n", "t.yaml")
    assert template.root.get("c") is template.root.get("a")
    items = template.root.get("e")
    assert isinstance(items, Sequence)
    assert items.items[0] is template.root.get("d")
    assert isinstance(template.written.get("c"), Alias)


@pytest.mark.parametrize(
    ("merge", "pairs"),
    [
        ("<<: *a", {"x": "1", "y": "2", "own": "0"}),
        ("<<: [*a, *b]", {"x": "1", "y": "2", "z": "4", "own": "0"}),
        ("<<: [*b, *a]", {"x": "3", "y": "2", "z": "4", "own": "0"}),
        ("<<: *a\n  x: mine", {"x": "mine", "y": "2", "own": "0"}),
        ("<<: {q: 5}", {"q": "5", "own": "0"}),
        ("'<<': 6", {"<<": "6", "own": "0"}),
    ],
)
def test_merge_keys_bring_in_what_is_not_there(merge: str, pairs: dict[str, str]) -> None:
    text = f"a: &a {{x: 1, y: 2}}\nb: &b {{x: 3, z: 4}}\nc:\n  own: 0\n  {merge}\n"
    merged = read(text.encode(), "t.yaml").root.get("c")
    assert isinstance(merged, Mapping)
    assert {key.value: value.value for key, value in merged.named() if isinstance(value, Scalar)} == pairs


@pytest.mark.parametrize("value", ["x", "[x]", "[{a: b}, x]", "~"])
def test_merging_what_is_no_mapping(value: str) -> None:
    problem = _problem(f"a:\n  <<: {value}\n".encode())
    assert problem.startswith("template.yaml:2:3: << merges a mapping, or a list of mappings")


def test_aliases_do_not_make_a_document_deeper_than_any_is_read() -> None:
    """Each level is shallow, but each stands in the one after it: walking them would end the stack."""
    lines = ["a0: &a0 [x]"] + [f"a{at}: &a{at} [[[[*a{at - 1}]]]]" for at in range(1, 300)]
    assert "nested deeper than 64 levels once aliases are put in" in _problem("\n".join(lines).encode())


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
