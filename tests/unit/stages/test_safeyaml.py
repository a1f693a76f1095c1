"""Each test names, by what it feeds in, the bug that it would catch: text that costs time or memory, or is misread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml

from stages import safeyaml
from stages.limits import LIMITS

if TYPE_CHECKING:
    from stages.contract import Problem

BOMB = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _both_parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML without libyaml falls back on its own parser: both have to refuse the same."""
    monkeypatch.setattr(safeyaml, "_Loader", getattr(yaml, request.param))


def refused(text: str | bytes) -> Problem:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(safeyaml.UnsafeYaml) as caught:
        safeyaml.check(data, "f.yaml")
    return caught.value.problem


def passes(text: str | bytes) -> str:
    return safeyaml.check(text.encode() if isinstance(text, str) else text, "f.yaml")


# Hostile text


def within(limit_s: float, text: str) -> Problem:
    """Refused, and soon: in time of this process, the best of three, so that a busy machine does not fail the test."""
    times = []
    for _ in range(3):
        start = time.process_time()
        refused(text)
        times.append(time.process_time() - start)
    assert min(times) < limit_s
    return refused(text)


@pytest.mark.parametrize("brackets", ["[", "{", "- ", "? ", "[{a: "])
def test_open_brackets_are_refused_at_once(brackets: str) -> None:
    problem = within(0.5, brackets * 100_000)
    assert problem.message == f"nested deeper than {LIMITS.yaml_depth} levels"
    assert problem.line == 1


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    problem = within(0.1, BOMB)
    assert problem.message == f"more than {LIMITS.yaml_nodes:,} nodes once its aliases are expanded"
    assert problem.where.startswith("f.yaml:6:")


def test_a_bomb_of_long_texts_is_refused() -> None:
    text = "a: &a " + "x" * 100_000 + "\nb: [" + "*a," * 10_000 + "]"  # 1 GB from 130 KB, and only 10,000 nodes
    assert "nodes once its aliases are expanded" in within(0.5, text).message


def test_a_bomb_of_merge_keys_is_refused() -> None:
    text = BOMB.replace("lol", "{k: v}") + "z:\n  <<: [*a8, *a8]\n"
    assert "nodes once" in within(0.1, text).message


def test_tag_directives_are_not_compared_with_each_other_for_seconds() -> None:
    assert "%TAG" in within(0.3, "".join(f"%TAG !t{n}! x\n" for n in range(50_000)) + "---\na").message


def test_many_nodes_do_not_cost_more_than_each_its_part() -> None:
    """Quoting the line of every node, needed or not, once made this quadratic: minutes instead of a second."""
    start = time.process_time()
    passes("".join(f"k{n}: v\n" for n in range(50_000)))
    assert time.process_time() - start < 20


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    problem = refused(b"[" * (LIMITS.yaml_bytes + 1))
    assert problem.message == "the file has 1,048,577 bytes; at most 1,048,576 are read"


def test_a_file_as_large_as_allowed_passes() -> None:
    passes(b"#" * LIMITS.yaml_bytes)


def test_nesting_as_deep_as_allowed_passes() -> None:
    levels = LIMITS.yaml_depth - 1
    passes("[" * levels + "]" * levels)
    refused("[" * (levels + 1) + "]" * (levels + 1))


# Aliases


@pytest.mark.parametrize("text", ["a: &a [*a]", "&a {b: {c: *a}}", "a: &a {? *a : 1}"])
def test_an_alias_inside_what_it_names_is_refused(text: str) -> None:
    """PyYAML builds a list that holds itself: whoever walks it never comes back."""
    assert refused(text).message == "the alias *a stands inside what it names"


def test_an_alias_of_an_anchor_that_was_given_anew_is_no_loop() -> None:
    passes("a: &a [&a x, *a]")


def test_an_alias_of_nothing_is_refused() -> None:
    problem = refused("a: 1\nb: *c\n")
    assert problem.message == "the alias *c names nothing: no &c stands before it"
    assert problem.where == "f.yaml:2:4"


def test_an_anchor_ends_with_its_document() -> None:
    assert "names nothing" in refused("a: &x 1\n---\nb: *x\n").message


# Keys given twice


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2\na: 3\n",
        "{b: 1, a: 1, 'a': 2}",
        "&k a: 1\n*k : 2\n",  # an alias stands for a key's text
        "x: &k a\nm: {a: 1, *k : 2}\n",
        "m:\n  a: {x: 1}\n  a: {y: 1}\n",
        "m:\n  a: &m [1]\n  b: *m\n  a: 1\n",
        "? [complex]\n: 1\na: 1\na: 2\n",  # a key that is a list must not shift what counts as a key
        "? {a: 1}\n: {a: 1}\na: 1\na: 2\n",
        "- a: 1\n  a: 2\n",
        "--- {a: 1}\n--- {a: 1, a: 2}\n",
    ],
)
def test_a_key_given_twice_is_refused(text: str) -> None:
    assert refused(text).message == "the key 'a' is given twice"


def test_the_second_key_is_shown_and_the_first_is_named() -> None:
    problem = refused("x: 1\nstages: {}\nname: n\nstages: {}\n")
    assert (problem.where, problem.quote) == ("f.yaml:4:1", "stages: {}")
    assert problem.hint == "The first is in line 2. Remove one of them."


@pytest.mark.parametrize(
    "text",
    [
        "a: {a: {a: 1}}",
        "- a: 1\n- a: 1\n",
        "a: a",
        "[a, a]",
        "a: 1\n---\na: 1\n",
        "base: &b {a: 1}\nm:\n  <<: *b\n  a: 2\n",  # a merged key may be overridden: that is what merging is for
        "b: &b {a: 1}\nc: &c {a: 2}\nm: {<<: [*b, *c]}\n",
        "? [a]\n: 1\n? [a]\n: 2\n",  # keys that are no text are the loader's to judge
    ],
)
def test_the_same_key_elsewhere_passes(text: str) -> None:
    passes(text)


def test_two_merge_keys_are_refused_with_the_remedy() -> None:
    problem = refused("b: &b {}\nc: &c {}\nm:\n  <<: *b\n  <<: *c\n")
    assert problem.message == "the key '<<' is given twice"
    assert problem.hint == "The first is in line 4. Merge several with one key: `<<: [*a, *b]`."


# What is not YAML


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "a: 1\n---\nb: 2\n...\n", "\ufeffa: 1\n"])
def test_any_number_of_documents_passes(text: str) -> None:
    assert passes(text) == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1,\nb: 2\n", "f.yaml:3:1"),
        ("a: b: c\n", "f.yaml:1:5"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1"),
        ("'", "f.yaml:1:2"),
    ],
)
def test_broken_syntax_is_a_problem_with_its_place(text: str, where: str) -> None:
    assert refused(text).where == where


def test_what_is_never_closed_names_the_line_where_it_begins() -> None:
    assert refused("x: 1\na: [1,\nb: 2\n").hint == "What is not finished here begins in line 2."


def test_tabs_have_a_hint() -> None:
    assert "spaces" in (refused("a:\n\tb: 1\n").hint or "")


def test_bytes_that_are_not_utf_8_name_their_line() -> None:
    problem = refused(b"a: 1\nb: \xff\n")
    assert (problem.message, problem.where) == ("byte 8 is not UTF-8", "f.yaml:2")


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\nb: \x1b[2J", "f.yaml:2:4"), ("a: \x00", "f.yaml:1:4"), ("\ufffe", "f.yaml:1:1")],
)
def test_a_character_that_yaml_does_not_allow_is_named_and_not_printed(text: str, place: str) -> None:
    problem = refused(text)
    assert problem.where == place
    assert "is not allowed in YAML" in problem.message
    assert str(problem).replace("\n", "").isprintable()


def test_utf_16_is_a_problem_with_a_remedy() -> None:
    assert refused("a: 1".encode("utf-16-le")).hint == "Save the file as UTF-8 text."


# Quoting


def test_a_quoted_line_cannot_move_the_cursor_or_hide_its_order() -> None:
    assert safeyaml.quote("a\n\x1b[2Jb\u202ec\td", 2) == "\\x1b[2Jb\\u202ec d"


@pytest.mark.parametrize("line", [0, -1, 3])
def test_a_line_that_is_not_there_is_not_quoted(line: int) -> None:
    assert safeyaml.quote("a\nb", line) is None


def test_a_long_line_is_quoted_around_its_column() -> None:
    quoted = safeyaml.quote("x" * 5000 + "HERE" + "x" * 5000, 1, 5001)
    assert quoted is not None
    assert len(quoted) == 200
    assert "HERE" in quoted


def test_lines_are_counted_as_the_parser_counts_them() -> None:
    """`str.splitlines` would make two lines of U+001F's kind, and the quote would be of another line."""
    assert safeyaml.quote("a\r\nb\rc\u2028d", 4) == "d"
    assert refused("a: 1\r\n\u2028b: [\n").line is not None
