from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.images.dockerfile import Instruction, Reading, instructions, read


def test_continued_lines_and_comments_between_them_are_one_instruction() -> None:
    text = '# syntax=x\n\nARG V=1\nFROM base\nRUN a && \\\n  # why\n\n  b && \\\n  c\nCMD ["x"]\n'
    assert instructions(text) == [
        Instruction(3, "ARG V=1"),
        Instruction(4, "FROM base"),
        Instruction(5, "RUN a && b && c"),
        Instruction(10, 'CMD ["x"]'),
    ]


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    assert instructions("# escape=`\nFROM a\nRUN x `\n  y\nCOPY a C:\\\n") == [
        Instruction(2, "FROM a"),
        Instruction(3, "RUN x y"),
        Instruction(5, "COPY a C:\\"),
    ]


def test_an_instruction_continued_past_the_end_is_still_one() -> None:
    assert instructions("FROM a\r\nRUN x \\\r\n") == [Instruction(1, "FROM a"), Instruction(2, "RUN x")]


def test_lines_of_a_here_document_are_no_instructions() -> None:
    text = "FROM a\nRUN <<EOF cat <<-'B'\nFROM b\nEOF\n\tFROM c\n\tB\nCOPY x /\nRUN cat <<<EOF\nCMD y\n"
    assert [(each.line, each.word) for each in instructions(text)] == [
        (1, "FROM"),
        (2, "RUN"),
        (7, "COPY"),
        (8, "RUN"),
        (9, "CMD"),
    ]


@pytest.mark.parametrize(
    ("text", "images", "base"),
    [
        ("FROM debian:12\nCOPY . /\n", ("debian:12",), "debian:12"),
        ("FROM scratch\n", (), None),
        ("from --platform=linux/amd64 a AS one\nFROM one\n", ("a",), "a"),
        ("FROM a AS One\nFROM b\nCOPY --from=one /x /\nCOPY --from=0 /y /\n", ("a", "b"), "b"),
        ("FROM a\nCOPY --chown=1 --from=c:1 /x /\n", ("a", "c:1"), "a"),
        ("FROM a\nRUN --mount=type=bind,from=m:1,target=/m --mount=type=cache,target=/c make\n", ("a", "m:1"), "a"),
        ("ARG V=12\nARG N=debian:$V\nFROM $N\n", ("debian:12",), "debian:12"),
        ("ARG V\nFROM debian:${V:-12}\n", ("debian:12",), "debian:12"),
        ("ARG V=\nFROM debian:12${V:+-slim}\n", ("debian:12",), "debian:12"),
        ("ARG GIVEN=no\nFROM a:${GIVEN}\n", ("a:yes",), "a:yes"),
        ("# syntax=docker/dockerfile:1\nFROM a\n", ("a",), "a"),
        ("FROM a\nADD --chown=1 x.tar.gz ./y /\n", ("a",), "a"),
        ('FROM a\nADD ["x y", "/"]\n', ("a",), "a"),
        ("FROM a AS last\nFROM b AS other\n", ("a", "b"), "b"),
        ("FROM a\nRUN <<EOF\nADD https://x /\nEOF\n", ("a",), "a"),
    ],
)
def test_the_images_that_a_dockerfile_begins_with(text: str, images: tuple[str, ...], base: str | None) -> None:
    assert read(text, {"GIVEN": "yes"}) == Reading(images, base)


def test_the_base_is_that_of_the_target() -> None:
    assert read("FROM a AS one\nFROM one AS two\nFROM b\n", {}, "two").base == "a"
    assert read("FROM a AS one\nFROM b\n", {}, "0").base == "a"


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("FROM a\nADD https://example.com/x /\n", "ADD fetches https://example.com/x"),
        ("FROM a\nADD --chown=1 git@github.com:a/b.git /\n", "ADD fetches git@"),
        ("FROM a\nADD x.git#main /\n", "ADD fetches x.git#main"),
        ('FROM a\nADD ["http://x", "/"]\n', "ADD fetches http://x"),
        ("FROM a\nADD ${URL} /\n", "ADD fetches ${URL}"),
        ("FROM a\nADD x \\\n  http://y /\n", "ADD fetches http://y"),
        ("# syntax=someone/frontend\nFROM a\n", "its syntax is someone/frontend"),
        ("# escape=`\n# syntax=someone/frontend\nFROM a\n", "its syntax is someone/frontend"),
        ("FROM $NOBODY_SAYS\n", "FROM uses $NOBODY_SAYS"),
        ("FROM a:${V%x}\n", "more than can be read"),
        ("FROM a\nCOPY --from=$X /x /\n", "COPY takes files from $X"),
        ("FROM\n", "a FROM names nothing"),
    ],
)
def test_what_only_a_build_can_tell_leaves_a_doubt(text: str, doubt: str) -> None:
    """Catches an image that is taken for done though what it was built from may have changed."""
    found = read(text, {})
    assert doubt in (found.doubt or "")
    assert found.images == ()


def test_a_frontend_given_as_a_build_argument_leaves_a_doubt() -> None:
    assert read("FROM a\n", {"BUILDKIT_SYNTAX": "someone/frontend"}).doubt


@given(st.text(alphabet='FROMADCPYUN $\\\n=<-#[]"{}:a@/', max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    read(text, {"a": "b"})
