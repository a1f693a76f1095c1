from __future__ import annotations

from stages.images.dockerfile import Instruction, instructions


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
