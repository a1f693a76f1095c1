"""On GitHub Actions a line of a log can be a command to the runner. What stages, people and files say must never be one.

The runner takes a line for a command if `::` comes first in it, white space aside, or if `##[` stands anywhere; it compares as
people read, so characters that cannot be seen do not count. So, where we run there, both streams pass through a `Guard`, which takes
such marks apart, in whatever is printed by whichever part of Towpath. Only `trusted` goes past it, with commands of our own.

https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO, TextIO

_UNSEEN = (
    "\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Unicode's Default_Ignorable_Code_Point, and control characters: a comparison by culture passes over them."""
_FIRST = re.compile(rf"^([\s{_UNSEEN}]*):([{_UNSEEN}]*):")
_ANYWHERE = re.compile(rf"#([{_UNSEEN}]*)#([{_UNSEEN}]*)\[")
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)")


def harmless(line: str) -> str:
    """Give a line that is no command: with a backslash within what would make it one."""
    return _ANYWHERE.sub(r"#\\#\1\2[", _FIRST.sub(r"\1:\\:\2", line))


def harmless_json(text: str) -> str:
    """Give JSON that means the same and in which nothing is a command, on whichever line it stands."""
    return _ANYWHERE.sub(r"\\u0023\1#\2[", text)


class Guard(io.BufferedIOBase):
    """Passes on what is written line by line, each made harmless."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._rest = b""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override] # any buffer
        text, end = self._rest + bytes(data), 0
        for found in _LINES.finditer(text):
            self._pass_on(found[0])
            end = found.end()
        self._rest = text[end:]
        return len(data)

    def flush(self) -> None:
        """What is no whole line waits: what comes next may make a command of it."""
        self._stream.flush()

    def finish(self) -> None:
        """Pass on the rest: nothing follows."""
        self._pass_on(self._rest)
        self._rest = b""
        self._stream.flush()

    def trusted(self, data: bytes) -> None:
        """Write lines of our own as they are."""
        self.finish()
        self._stream.write(data)
        self._stream.flush()

    def _pass_on(self, line: bytes) -> None:
        self._stream.write(harmless(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))


@contextmanager
def guarded(environ: Mapping[str, str]) -> Iterator[None]:
    """Guard both streams for as long as the block runs, where GitHub's runner reads them; it reads no terminal."""
    before = sys.stdout, sys.stderr
    guards = []
    if environ.get("GITHUB_ACTIONS") == "true":
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not stream.isatty():
                guards.append(Guard(stream.buffer))
                setattr(sys, name, _text(guards[-1], stream))
    try:
        yield
    finally:
        for guard in guards:
            with suppress(OSError, ValueError):
                guard.finish()
        sys.stdout, sys.stderr = before


def _text(guard: Guard, like: TextIO) -> TextIO:
    # The layer is kept open: whoever closes it would close the process's own stream.
    return io.TextIOWrapper(
        cast("BinaryIO", guard), like.encoding, like.errors, line_buffering=True, write_through=True
    )


def trusted(text: str) -> None:
    """Print lines of our own on standard error, past the guard if there is one."""
    sys.stderr.flush()
    buffer = sys.stderr.buffer
    if isinstance(buffer, Guard):
        buffer.trusted(text.encode())
    else:
        buffer.write(text.encode())
        buffer.flush()
