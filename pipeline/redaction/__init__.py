"""Keep secrets out of whatever a stage leaves: its log, its result, its files, and errors about it.

A Redactor knows the values that one stage was handed, and nothing else does. Lines of the log are masked as they are written;
texts in results are masked where they stand; what must not be changed, as a file or a statement, is only looked at, for its stage to
be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from pipeline.redaction.finder import Finder
    from pipeline.redaction.lines import Lines

_CHUNK_BYTES = 1 << 20
MOST_STREAMS = 1_000
"""A stage's log is one stream for each function it speaks of; who speaks of more has them in one."""


class Redactor:
    """`values` are the secrets by name. Without any, everything is given as it is."""

    def __init__(self, values: Mapping[str, bytes] | None = None) -> None:
        self._finder = _finder(values) if values else None
        self._streams: dict[Any, Lines] = {}

    def __bool__(self) -> bool:
        """Tell whether there is anything to keep out."""
        return self._finder is not None

    def line(self, stream: Any, text: bytes, about: Any) -> list[tuple[bytes, Any]]:
        """Take in a line of a stream, with anything that belongs to it; give the lines that are ready, masked."""
        if self._finder is None:
            return [(text, about)]
        if stream not in self._streams:
            stream = stream if len(self._streams) < MOST_STREAMS else None
            self._streams.setdefault(stream, _lines(self._finder))
        return self._streams[stream].add(text, about)

    def end(self) -> list[tuple[bytes, Any]]:
        """Give the lines that are held back, as nothing follows."""
        given = [line for stream in self._streams.values() for line in stream.end()]
        self._streams.clear()
        return given

    def text(self, text: str) -> str:
        """Give a text masked."""
        if self._finder is None:
            return text
        lines = _lines(self._finder)
        data = text.encode("utf-8", "surrogatepass")
        ((masked, _),) = [*lines.add(data), *lines.end(cut_off=False)]
        return masked.decode("utf-8", "backslashreplace") if masked != data else text

    def value(self, value: Any) -> Any:
        """Give a JSON value with all texts in it masked, keys too, and numbers that are a secret."""
        if self._finder is None or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each) for each in value]
        return value if self.held_by(value) is None else self.text(str(value))

    def held_by(self, value: Any) -> str | None:
        """Give the name of a secret that stands in a JSON value, if one does."""
        if self._finder is None:
            return None
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        if isinstance(value, (list, tuple)):
            return next((name for each in value if (name := self.held_by(each))), None)
        return self._finder.name(_visible(str(value).encode("utf-8", "surrogatepass")))

    def held_by_file(self, file: BinaryIO) -> str | None:
        """Give the name of a secret that stands in a file, if one does. Line breaks in it count for nothing."""
        if self._finder is None:
            return None
        before = b""
        while chunk := file.read(_CHUNK_BYTES):
            text = before + chunk.translate(None, b"\r\n")
            if name := self._finder.name(text):
                return name
            before = text[-self._finder.longest :]
        return None

    def error(self, error: BaseException | None) -> None:
        """Mask what an exception says, and those that led to it."""
        seen: set[int] = set()
        while self._finder and error is not None and id(error) not in seen:
            seen.add(id(error))
            error.args = tuple(self.value(each) if isinstance(each, str) else each for each in error.args)
            for name, each in vars(error).items():
                if isinstance(each, str):
                    setattr(error, name, self.text(each))
            error = error.__cause__ or error.__context__


def _finder(values: Mapping[str, bytes]) -> Finder | None:
    from pipeline.redaction.finder import Finder  # late, as the rest here: most stages have no secrets
    from pipeline.redaction.forms import forms

    found = {form: name for name, value in values.items() for form in forms(value)}
    return Finder(found) if found else None


def _visible(text: bytes) -> bytes:
    from pipeline.redaction.forms import visible

    return visible(text)


def _lines(finder: Finder) -> Lines:
    from pipeline.redaction.lines import Lines

    return Lines(finder)
