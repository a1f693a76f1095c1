"""Put values into a template's text, and change nothing else: every other byte stays as it was.

What a splice did is checked by reading the new text: it must be the old document but for the values. A template written so
oddly that the checks fail is refused, never guessed at.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import InvalidInput
from stages.template.edits import Edit, applied, content_end, meaning
from stages.template.resolve import call, scalar_type
from stages.template.resources import Path, find
from stages.template.tree import Mapping, Scalar, Sequence, Span, read
from stages.template.unshare import unshared

if TYPE_CHECKING:
    from stages.contract import Problem
    from stages.template.tree import Node, Template

Value: TypeAlias = "str | list[Value] | dict[str, Value]"
"""What is put in: a text, or a list or mapping such as `{"S3Bucket": ..., "S3Key": ...}`."""

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:@-]*[A-Za-z0-9])?")  # such text is the same quoted and plain
_BEFORE = ("PackageType", "Resources")
"""A new key goes before one of these, if there is one, and else before all others."""
_NEWLINE = re.compile(r"\r\n|\n|\r")


def splice(template: Template, values: dict[Path, Value]) -> bytes:
    """The template's bytes with the value at each path replaced, or inserted where there is none.

    What stands in the way of a path, such as a text where a mapping belongs, is replaced as a whole. Raises InvalidInput if a
    place is written in a way that leaves no safe edit, ValueError for a path that leads nowhere (a mistake of the caller).
    """
    author, template = template, unshared(template)
    data = applied(template, [_edit(template, path, value) for path, value in values.items()])
    if not _only_values_differ(template, data, values):
        raise InvalidInput([_no_place(author, path) for path in _unplaced(template, values) or values])
    return data


def _unplaced(template: Template, values: dict[Path, Value]) -> list[Path]:
    """The paths at which nothing can be put even on its own."""
    return [
        path
        for path, value in values.items()
        if not _only_values_differ(template, applied(template, [_edit(template, path, value)]), {path: value})
    ]


def _no_place(template: Template, path: Path) -> Problem:
    return template.problem(
        find(template.root, path[:2]) or template.root,
        f"{path[:2][-1]}: found no safe place for its {path[-1]}",
        f"Write it in block style with `{path[-1]}: x` below {path[-2:][0]}; the x is replaced.",
    )


def _edit(template: Template, path: Path, value: Value) -> Edit:
    holder: Node = template.root
    for depth, key in enumerate(path):
        rest = path[depth + 1 :]
        if isinstance(holder, Sequence) and isinstance(key, int):
            inner: Node | None = find(holder, (key,))
        elif isinstance(holder, Mapping) and isinstance(key, str):
            inner = holder.get(key)
            if inner is None and _is_keys(rest):
                return _insert(template.text, holder, key, rendered(_nested(rest, value), _style(holder, None)))
        else:
            break
        if inner is None:
            break
        if not rest or (not _leads_on(inner, rest[0]) and _is_keys(rest)):
            return _replace(template.text, inner, rendered(_nested(rest, value), _style(holder, inner)))
        holder = inner
    raise ValueError(f"{'/'.join(map(str, path))} leads nowhere in the template")


def _is_keys(path: Path) -> bool:
    """Whether mappings alone lead to a place, so that it can be made where it is missing."""
    return all(isinstance(key, str) for key in path)


def _leads_on(node: Node, key: str | int) -> bool:
    """Whether a path goes on below a node, and not in place of it."""
    if isinstance(key, int):
        return isinstance(node, Sequence)
    called = call(node)
    return isinstance(node, Mapping) and (called is None or called[0] == key or node.get(key) is not None)


def _nested(keys: Path, value: Value) -> Value:
    for key in reversed(keys):
        value = {str(key): value}
    return value


def _style(holder: Node, value: Node | None) -> str:
    """The quotes to use: those of the value replaced, or those around the keys beside it (JSON has no others)."""
    keys = holder.named() if isinstance(holder, Mapping) else iter(())
    model = value if isinstance(value, Scalar) else next((key for key, _ in keys), None)
    return model.style if isinstance(model, Scalar) and model.style in {"'", '"'} else ""


def rendered(value: Value, quote: str) -> str:
    """A value as it is written: texts in their quotes, or plain where that is the same; lists and mappings in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{rendered(key, quote)}: {rendered(each, quote)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(rendered(each, quote) for each in value) + "]"
    span = Span(0, 0, 0, 0)
    if _PLAIN.fullmatch(value) and (quote or scalar_type(Scalar(span, value, None, None)) == "tag:yaml.org,2002:str"):
        return f"{quote}{value}{quote}"
    return json.dumps(value)


def _replace(text: str, node: Node, new: str) -> Edit:
    start, end = node.span.start, content_end(text, node)
    glued = start == end and text[start - 1 : start] == ":"  # `ImageUri:` without a value
    return Edit(start, end, f" {new}" if glued else new)


def _insert(text: str, holder: Mapping, key: str, new: str) -> Edit:
    quote = _style(holder, None)
    pair = f"{quote}{key}{quote}: {new}"
    if not holder.pairs:
        return Edit(holder.span.end - 1, holder.span.end - 1, pair)
    if holder.flow:
        at = holder.pairs[0][0].span.start
        gap = text[text.rfind("{", 0, at) + 1 : at]
        return Edit(at, at, f"{pair},{gap if _NEWLINE.search(gap) and not gap.strip() else ' '}")
    neighbour = next((name for name, _ in holder.named() if name.value in _BEFORE), holder.pairs[0][0])
    at = neighbour.span.start
    newline = _NEWLINE.search(text, at) or _NEWLINE.search(text)
    return Edit(at, at, f"{pair}{newline.group() if newline else chr(10)}{' ' * (neighbour.span.column - 1)}")


def _only_values_differ(before: Template, data: bytes, values: dict[Path, Value]) -> bool:
    try:
        after = read(data, before.file)
    except InvalidInput:
        return False
    if any(not _holds(find(after.root, path), value) for path, value in values.items()):
        return False
    return meaning(before.root, set(values)) == meaning(after.root, set(values))


def _holds(node: Node | None, value: Value) -> bool:
    if isinstance(value, dict):
        if not isinstance(node, Mapping) or node.tag is not None or len(node.pairs) != len(value):
            return False
        return all(_holds(node.get(key), each) for key, each in value.items())
    if isinstance(value, list):
        if not isinstance(node, Sequence) or node.tag is not None or len(node.items) != len(value):
            return False
        return all(_holds(item, each) for item, each in zip(node.items, value, strict=True))
    return isinstance(node, Scalar) and node.tag is None and node.value == value
