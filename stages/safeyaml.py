"""Look at YAML before anything builds values from it, so that hostile or broken text costs milliseconds, not memory.

`check` reads parser events only: no value is built, no alias expanded. It refuses what is too large, too deep, or too
much once aliases are counted as often as they are used ("billion laughs"), keys given twice, and aliases that name
nothing or what they stand in.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from stages.contract import Problem
from stages.limits import LIMITS

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both have the same methods; stubs know only one

_Mark = Any
"""A parser's mark. The two parsers' marks have no common base, and the stubs let every one be None; none of these is."""

_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what PyYAML counts as one
_QUOTE_CHARACTERS = 200
_TAG_DIRECTIVES = 64
"""libyaml compares each `%TAG` with all before it: a megabyte of them takes seconds. Nobody has a use for two."""
_CHARACTERS_PER_NODE = 64
"""A text counts as one node more for each 64 characters, or a few long texts and many aliases would fill the memory."""


class UnsafeYaml(Exception):
    """The text is not YAML, or is YAML that must not be loaded."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def check(data: bytes, file: str) -> str:
    """Return the text of `data` (UTF-8, byte-order mark removed) if it is safe to load. Raises UnsafeYaml.

    Any number of documents passes; whoever loads the text says how many it takes.
    """
    if len(data) > LIMITS.yaml_bytes:
        raise UnsafeYaml(Problem(f"the file has {len(data):,} bytes; at most {LIMITS.yaml_bytes:,} are read", file))
    text = _decoded(data, file)
    if text.count("%TAG") > _TAG_DIRECTIVES:
        raise UnsafeYaml(Problem(f"more than {_TAG_DIRECTIVES} %TAG directives", file))
    try:
        _walk(text)
    except _Refused as refused:
        place = _place(text, file, refused.mark.line, refused.mark.column)
        raise UnsafeYaml(Problem(refused.message, *place, refused.hint)) from None
    except yaml.MarkedYAMLError as error:
        raise UnsafeYaml(syntax_problem(error, text, file)) from error
    return text


def quote(text: str, line: int, column: int = 1) -> str | None:
    """Give line number `line` of `text` (both count from 1), or None. A long line is cut around `column`."""
    lines = _lines(text)
    if not 0 < line <= len(lines):
        return None
    whole = lines[line - 1]
    start = 0 if len(whole) <= _QUOTE_CHARACTERS else max(0, column - 1 - _QUOTE_CHARACTERS // 2)
    return "".join(map(_visible, whole[start : start + _QUOTE_CHARACTERS]))


@functools.lru_cache(maxsize=4)
def _lines(text: str) -> list[str]:
    """The lines of a text. A file with many problems is asked for line after line."""
    return _LINE_BREAK.split(text)


def weight(text: str) -> int:
    """Say how many nodes a text counts as."""
    return 1 + len(text) // _CHARACTERS_PER_NODE


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """Say in one line what PyYAML says in four."""
    mark = error.problem_mark or error.context_mark
    message = ", ".join(part for part in (error.context, error.problem) if part) or "this is not YAML"
    if mark is None:
        return Problem(message, file)
    return Problem(message, *_place(text, file, mark.line, mark.column), _syntax_hint(error, mark.line))


def _syntax_hint(error: yaml.MarkedYAMLError, line: int) -> str | None:
    if "cannot start any token" in (error.problem or ""):
        return "YAML is indented with spaces, never with tabs; text that begins with @, ` or % stands in quotes."
    if error.context_mark is not None and error.context_mark.line != line:
        return f"What is not finished here begins in line {error.context_mark.line + 1}."
    return None


def _decoded(data: bytes, file: str) -> str:
    """The text, if it is UTF-8 and holds only characters that YAML allows."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnsafeYaml(
            Problem(f"byte {error.start} is not UTF-8", file, line, hint="Save the file as UTF-8.")
        ) from error
    found = _NOT_YAML.search(text)
    if found:
        before = _LINE_BREAK.split(text[: found.start()])
        place = _place(text, file, len(before) - 1, len(before[-1]))
        raise UnsafeYaml(
            Problem(
                f"the character U+{ord(found[0]):04X} is not allowed in YAML", *place, "Save the file as UTF-8 text."
            )
        )
    return text


def _place(text: str, file: str, line: int, column: int) -> tuple[str, int, int, str | None]:
    """What a Problem says of a place that counts from 0."""
    return file, line + 1, column + 1, quote(text, line + 1, column + 1)


def _visible(character: str) -> str:
    """Nothing in a quoted line may move the cursor, or show text in another order than it has."""
    if character.isprintable():
        return character
    return " " if character == "\t" else character.encode("unicode_escape").decode("ascii")


class _Refused(Exception):
    def __init__(self, message: str, mark: _Mark, hint: str | None = None) -> None:
        self.message = message
        self.mark = mark
        self.hint = hint


@dataclass(frozen=True)
class _Anchored:
    """What an alias stands for: its weight in nodes, and its text if it is one. `open`: its end has not been seen."""

    nodes: int = 1
    text: str | None = None
    open: bool = False


@dataclass
class _Frame:
    """A collection being read: its weight so far, and the line of each key it has."""

    anchor: str | None
    mapping: bool
    nodes: int = 1
    keys: dict[str, int] = field(default_factory=dict)
    expect_key: bool = False

    def __post_init__(self) -> None:
        self.expect_key = self.mapping


def _walk(text: str) -> None:
    frames = [_Frame(None, mapping=False)]
    anchors: dict[str, _Anchored] = {}
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
        elif isinstance(event, yaml.CollectionStartEvent):
            _open(event, frames, anchors)
        elif isinstance(event, yaml.CollectionEndEvent):
            _close(event, frames, anchors)
        elif isinstance(event, yaml.ScalarEvent):
            _scalar(event, frames, anchors)
        elif isinstance(event, yaml.AliasEvent):
            _alias(event, frames, anchors)


def _open(event: yaml.CollectionStartEvent, frames: list[_Frame], anchors: dict[str, _Anchored]) -> None:
    if len(frames) >= LIMITS.yaml_depth:
        raise _Refused(f"nested deeper than {LIMITS.yaml_depth} levels", event.start_mark)
    _note_key(frames[-1], None, event.start_mark)
    if event.anchor is not None:
        anchors[event.anchor] = _Anchored(open=True)
    frames.append(_Frame(event.anchor, mapping=isinstance(event, yaml.MappingStartEvent)))


def _close(event: yaml.CollectionEndEvent, frames: list[_Frame], anchors: dict[str, _Anchored]) -> None:
    done = frames.pop()
    if done.anchor is not None:
        anchors[done.anchor] = _Anchored(done.nodes)
    _weigh(frames[-1], done.nodes, event.start_mark)


def _scalar(event: yaml.ScalarEvent, frames: list[_Frame], anchors: dict[str, _Anchored]) -> None:
    _note_key(frames[-1], event.value, event.start_mark, merge=event.value == "<<" and event.implicit[0])
    nodes = weight(event.value)
    if event.anchor is not None:
        anchors[event.anchor] = _Anchored(nodes, event.value)
    _weigh(frames[-1], nodes, event.start_mark)


def _alias(event: yaml.AliasEvent, frames: list[_Frame], anchors: dict[str, _Anchored]) -> None:
    named = anchors.get(str(event.anchor))
    if named is None:
        raise _Refused(
            f"the alias *{event.anchor} names nothing: no &{event.anchor} stands before it", event.start_mark
        )
    if named.open:
        raise _Refused(f"the alias *{event.anchor} stands inside what it names", event.start_mark)
    _note_key(frames[-1], named.text, event.start_mark)
    _weigh(frames[-1], named.nodes, event.start_mark)


def _weigh(frame: _Frame, nodes: int, mark: _Mark) -> None:
    frame.nodes += nodes
    if frame.nodes > LIMITS.yaml_nodes:
        raise _Refused(f"more than {LIMITS.yaml_nodes:,} nodes once its aliases are expanded", mark)


def _note_key(frame: _Frame, key: str | None, mark: _Mark, *, merge: bool = False) -> None:
    """Remember a mapping's key (None: a key that is no text) and refuse the second of its name."""
    if not frame.mapping:
        return
    if frame.expect_key and key is not None:
        if key in frame.keys:
            hint = f"The first is in line {frame.keys[key]}. "
            hint += "Merge several with one key: `<<: [*a, *b]`." if merge else "Remove one of them."
            raise _Refused(f"the key {key!r} is given twice", mark, hint)
        frame.keys[key] = mark.line + 1
    frame.expect_key = not frame.expect_key
