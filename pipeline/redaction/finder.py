"""Find the forms of secrets in bytes, all at the same time (Aho-Corasick), and what may become one if more bytes follow."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from ahocorasick_rs import BytesAhoCorasick, Implementation

if TYPE_CHECKING:
    from collections.abc import Mapping

    Span = tuple[int, int]

HEAD_BYTES = 4
"""A text that ends with so much of a form may go on with the rest of it."""

_SHORT = tuple(range(HEAD_BYTES - 1, 0, -1))


class Finder:
    """`forms` are what is sought, each with the name of its secret; none is shorter than `forms.SHORTEST_BYTES`."""

    def __init__(self, forms: Mapping[bytes, str]) -> None:
        self._forms = sorted(forms)
        self._names = [forms[form] for form in self._forms]
        heads = sorted({form[:HEAD_BYTES] for form in self._forms})
        self._automaton = (
            BytesAhoCorasick(  # a DFA is twice as fast, and takes hundreds of bytes for each that is sought
                [*self._forms, *heads], implementation=Implementation.ContiguousNFA
            )
        )
        self._starts = frozenset(form[:size] for form in self._forms for size in range(1, HEAD_BYTES))
        self.longest = max(map(len, self._forms), default=0)

    def find(self, text: bytes) -> tuple[list[Span], int]:
        """Give where forms stand, merged and in order, and how many of the last bytes begin one that is not all there."""
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        if not found:
            return [], self._start(text)
        count = len(self._forms)
        spans = [(start, end) for index, start, end in found if index < count]
        near = len(text) - self.longest
        heads = sorted(start for index, start, _ in found if index >= count and start > near)
        unfinished = next((len(text) - start for start in heads if self._begins(text[start:])), None)
        return merged(spans), self._start(text) if unfinished is None else unfinished

    def untouched(self, text: bytes) -> bytes | None:
        """Give what of a text's end begins a form; None if there is more to it, which `find` tells. For most lines, and fast."""
        if self._automaton.find_matches_as_indexes(text):
            return None
        for size in _SHORT:
            if (end := text[-size:]) in self._starts:
                return end
        return b""

    def name(self, text: bytes) -> str | None:
        """Give the name of a secret that stands in a text, if one does."""
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        return next((self._names[index] for index, _, _ in found if index < len(self._forms)), None)

    def _begins(self, text: bytes) -> bool:
        """Tell whether a form begins with this text, and is longer."""
        index = bisect_left(self._forms, text)
        index += index < len(self._forms) and self._forms[index] == text
        return index < len(self._forms) and self._forms[index].startswith(text)

    def _start(self, text: bytes) -> int:
        """Give how many of the last bytes begin a form, of fewer than `HEAD_BYTES`."""
        for size in _SHORT:
            if text[-size:] in self._starts:
                return size
        return 0


def merged(spans: list[Span]) -> list[Span]:
    """Give spans in order, those that overlap or touch as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
