"""Mask the lines of one stream as they come.

What is given does not depend on how the stream was cut into pieces: a form may go over any number of lines. A line is held back
only while its end may be the beginning of a form, by at least `HEAD_BYTES`; so up to three bytes of a form that goes on in
another line are shown, and whoever looks on waits for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.redaction.finder import HEAD_BYTES, merged
from pipeline.redaction.forms import is_visible, unfinished, visible

if TYPE_CHECKING:
    from pipeline.redaction.finder import Finder, Span

MASK = b"***"
MOST_HELD = 1_000
"""Lines: a stage that says the beginning of a secret and then empty lines shall not fill the memory."""


@dataclass(frozen=True)
class _Line:
    """A line that is held: its visible parts (a message may have line breaks of its own), and what it was handed in with."""

    parts: list[bytes]
    about: Any

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def masked(self, offset: int, spans: list[Span]) -> bytes:
        """Give the line; `spans` count from `offset` before its beginning."""
        parts = []
        for part in self.parts:
            parts.append(_masked(part, offset, spans))
            offset += len(part)
        return b"\n".join(parts)


class Lines:
    """Lines go in with anything that belongs to them, and come out masked, with the same, in the same order."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._escape = b""  # the end of the last line, if it may go on as something invisible
        self._before = b""  # what was given last, if it begins a form
        self._held: list[_Line] = []
        self._known = 0  # bytes at the beginning of what is held that belong to a form which began before

    def add(self, text: bytes, about: Any = None) -> list[tuple[bytes, Any]]:
        """Take in a line; give those that are ready."""
        parts = self._visible(text) if self._escape or not is_visible(text) else [text]
        if not self._held and len(parts) == 1:  # nearly always
            begun = self._finder.untouched(self._before + parts[0])
            if begun is not None:
                self._before = begun
                return [(parts[0], about)]
        self._held.append(_Line(parts, about))
        return self._give()

    def end(self, *, cut_off: bool = True) -> list[tuple[bytes, Any]]:
        """Give what is held, as nothing follows. `cut_off`: the beginning of a form at the end is masked too."""
        given = self._give(end=True, cut_off=cut_off)
        self._escape = self._before = b""
        return given

    def _visible(self, text: bytes) -> list[bytes]:
        text = self._escape + text
        size = len(text) - unfinished(text)
        self._escape = text[size:]
        return [visible(part) for part in text[:size].split(b"\n")]

    def _give(self, *, end: bool = False, cut_off: bool = False) -> list[tuple[bytes, Any]]:
        whole = self._before + b"".join(part for line in self._held for part in line.parts)
        spans, begun = self._finder.find(whole)
        begin, first = len(whole) - begun, len(self._before)
        if self._known:
            spans = merged([*spans, (first, first + self._known)])
        ready = len(self._held) if end or begun < HEAD_BYTES else self._ready(first, begin)
        if (end and cut_off and begun >= HEAD_BYTES) or len(self._held) - ready > MOST_HELD:
            spans, ready = merged([*spans, (begin, len(whole))]), len(self._held)
        given, at = [], first
        for line in self._held[:ready]:
            given.append((line.masked(at, spans), line.about))
            at += line.size
        del self._held[:ready]
        self._before = whole[begin:at]
        self._known = max((end - at for start, end in spans if start <= at < end), default=0)
        return given

    def _ready(self, first: int, begin: int) -> int:
        """Give how many of the lines that are held end before `begin`."""
        at = first
        for count, line in enumerate(self._held):
            at += line.size
            if at > begin:
                return count
        return len(self._held)


def _masked(text: bytes, offset: int, spans: list[Span]) -> bytes:
    kept, position = [], 0
    for start, end in spans:
        first, last = max(start - offset, position), min(end - offset, len(text))
        if first < last:
            kept += [text[position:first], MASK]
            position = last
    return b"".join((*kept, text[position:]))
