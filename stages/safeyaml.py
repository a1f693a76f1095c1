"""Look at YAML before anything builds values from it, so that hostile or broken text costs milliseconds, not memory.

`check` reads parser events only: no value is built, no alias expanded. It refuses what is too large, too deep, or too
many once aliases are counted as often as they are used ("billion laughs"), and keys given twice.
"""

from __future__ import annotations

from typing import Any

import yaml

from stages.contract import Problem
from stages.limits import LIMITS

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both have the same methods; stubs know only one


class UnsafeYaml(Exception):  # noqa: N818 - the name says what is wrong
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
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnsafeYaml(
            Problem(f"byte {error.start} is not UTF-8", file, line, hint="Save the file as UTF-8.")
        ) from error
    try:
        _walk(text, file)
    except yaml.MarkedYAMLError as error:
        raise UnsafeYaml(_syntax_problem(error, text, file)) from error
    except yaml.reader.ReaderError as error:
        raise UnsafeYaml(Problem(f"the character {error.character!r} is not allowed in YAML", file)) from error
    return text


def quote(text: str, line: int) -> str | None:
    """Line number `line` of `text`, counted from 1, or None."""
    lines = text.splitlines()
    return lines[line - 1][:200] if 0 < line <= len(lines) else None


class _Frame:
    """A collection being read: how many nodes it holds so far, and which keys."""

    def __init__(self, anchor: str | None, *, mapping: bool) -> None:
        self.anchor = anchor
        self.nodes = 1
        self.keys: dict[str, int] | None = {} if mapping else None
        self.expect_key = mapping


def _walk(text: str, file: str) -> None:
    frames = [_Frame(None, mapping=False)]
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_Loader):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        place = (file, line, column, quote(text, line) if len(frames) < LIMITS.yaml_depth else None)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(frames) >= LIMITS.yaml_depth:
                raise UnsafeYaml(Problem(f"nested deeper than {LIMITS.yaml_depth} levels", *place))
            _note_key(frames[-1], None, line, place)
            frames.append(_Frame(event.anchor, mapping=isinstance(event, yaml.MappingStartEvent)))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = frames.pop()
            nodes, anchor = done.nodes, done.anchor
        elif isinstance(event, yaml.ScalarEvent):
            _note_key(frames[-1], event.value, line, place)
            nodes, anchor = 1, event.anchor
        elif isinstance(event, yaml.AliasEvent):
            _note_key(frames[-1], None, line, place)
            nodes, anchor = sizes.get(event.anchor, 1), None
        else:
            continue
        if anchor is not None:
            sizes[anchor] = nodes
        frames[-1].nodes += nodes
        if frames[-1].nodes > LIMITS.yaml_nodes:
            raise UnsafeYaml(Problem(f"more than {LIMITS.yaml_nodes:,} nodes once its aliases are expanded", *place))


def _note_key(frame: _Frame, key: str | None, line: int, place: tuple[str, int, int, str | None]) -> None:
    """Remember a mapping's key (None: a key that is no scalar) and refuse the second of its name."""
    if frame.keys is None:
        return
    if frame.expect_key and key is not None and key != "<<":
        if key in frame.keys:
            hint = f"The first is in line {frame.keys[key]}. Remove one of them."
            raise UnsafeYaml(Problem(f"the key {key!r} is given twice", *place, hint=hint))
        frame.keys[key] = line
    frame.expect_key = not frame.expect_key


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    message = ", ".join(part for part in (error.context, error.problem) if part) or "this is not YAML"
    if mark is None:
        return Problem(message, file)
    return Problem(message, file, mark.line + 1, mark.column + 1, quote(text, mark.line + 1), error.note)
