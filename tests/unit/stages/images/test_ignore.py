from __future__ import annotations

import pytest

from stages.contract import StageError
from stages.images.ignore import parse


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("*.md", ["a.md"], ["b/a.md", "a.mdx"]),
        ("**/*.md", ["a.md", "b/a.md", "b/c/a.md"], ["md"]),
        ("a", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("/a", ["a"], ["b/a"]),
        ("a/", ["a", "a/b"], ["ab"]),
        ("./a/../b", ["b"], ["a"]),
        ("a/**", ["a/b", "a/b/c"], ["a"]),
        ("**/b", ["b", "a/b", "a/c/b", "b/x"], ["ab"]),
        ("a/**/d", ["a/d", "a/b/d", "a/b/c/d"], ["d"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("a[b-d]", ["ab", "ad"], ["ae", "a"]),
        ("a[^b]", ["ac"], ["ab"]),
        (r"a\*", ["a*"], ["ab"]),
        ("a b", ["a b"], ["a"]),
        ("  a  ", ["a"], []),
        ("a.b", ["a.b"], ["axb"]),
        ("a+(b)", ["a+(b)"], ["aab"]),
        ("# comment\n#a\nb", ["b"], ["#a", "a"]),
        (" # x", ["# x"], ["x"]),
        ("\ufeffa", ["a"], []),
        ("a\r\nb\r\n", ["a", "b"], []),
        ("*\n!a", ["b"], ["a", "a/b"]),
        ("!a\n*", ["a", "b"], []),
        ("a\n!a/b\n", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("a\n!a/b\na/b/c", ["a/b/c"], ["a/b"]),
        ("*\n!**/keep", ["x", "a/x"], ["keep", "a/keep", "a/b/keep"]),
        ("**\n! a", ["b"], ["a"]),
        ("", [], ["a"]),
        (".", [], ["a"]),
        ("../x", [], ["x"]),
    ],
)
def test_patterns(text: str, ignored: list[str], kept: list[str]) -> None:
    left_out = parse(text)
    assert [name for name in ignored if not left_out.ignores(name)] == []
    assert [name for name in kept if left_out.ignores(name)] == []


def test_a_folder_is_only_looked_into_where_something_may_be_let_through() -> None:
    left_out = parse("*\n!a/b/c\n!d*/e")
    assert [name for name in ("a", "a/b", "a/x", "dd", "f") if left_out.descends(name)] == ["a", "a/b", "dd"]
    assert not parse("node_modules").descends("node_modules")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n!\n", "line 2: `!` alone"), ("[a", "line 1: .* a \\[ without"), ("a\\", "ends with a backslash")],
)
def test_a_line_that_is_no_pattern_is_told(text: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        parse(text)


def test_the_patterns_can_be_written_again() -> None:
    left_out = parse("# c\n /a/ \n!b\n", ("own",))
    assert left_out.lines == ["a", "!b", "own"]
    assert parse("\n".join(left_out.lines)).patterns == left_out.patterns
