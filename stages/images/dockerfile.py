"""Where a Dockerfile's instructions stand, so that a failed step can be shown by its line."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")


@dataclass(frozen=True)
class Instruction:
    """An instruction: its first line, counted from 1, and its text with continued lines joined."""

    line: int
    text: str


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order: the classic builder's step N is the Nth.

    Understands comments, continued lines and the `escape` directive. Here-documents are BuildKit's, and are not.
    """
    escape = _escape(text)
    found: list[Instruction] = []
    start, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):  # a comment or an empty line does not end a continued instruction
            continue
        start = start or number
        parts.append(stripped.removesuffix(escape).strip())
        if not stripped.endswith(escape):
            found.append(Instruction(start, " ".join(parts)))
            start, parts = 0, []
    if parts:
        found.append(Instruction(start, " ".join(parts)))
    return found


def _escape(text: str) -> str:
    for line in text.splitlines():
        if match := _ESCAPE.fullmatch(line.strip()):
            return match[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"
