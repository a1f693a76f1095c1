"""Edits of a template's text, and how to tell that a document still says the same."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.template.resolve import NULL, call, scalar_type
from stages.template.tree import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from collections.abc import Set as AbstractSet

    from stages.template.resources import Path
    from stages.template.tree import Node, Template


@dataclass(frozen=True)
class Edit:
    """Replace the characters from `start` to `end` of the text."""

    start: int
    end: int
    text: str


def applied(template: Template, edits: Iterable[Edit]) -> bytes:
    """The template's bytes with edits made that do not overlap."""
    text = template.text
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    bom = codecs.BOM_UTF8 if template.data.startswith(codecs.BOM_UTF8) else b""
    return bom + text.encode()


def content_end(text: str, node: Node) -> int:
    """Where a node's own text ends: a block's span runs on over blank lines and comments behind it."""
    if isinstance(node, Mapping) and not node.flow:
        return content_end(text, node.pairs[-1][1])
    if isinstance(node, Sequence) and not node.flow and node.items:
        return content_end(text, node.items[-1])
    return node.span.start + len(text[node.span.start : node.span.end].rstrip())


def meaning(node: Node, without: AbstractSet[Path] = frozenset()) -> Hashable:
    """What a node says, however it is written. What stands at the paths in `without` is left out."""
    ways = frozenset(path[:depth] for path in without for depth in range(len(path) + 1))
    return _meaning(node, (), without, ways)


def _meaning(node: Node, path: Path, without: AbstractSet[Path], ways: AbstractSet[Path]) -> Hashable:
    """`ways` are the paths on the way to those in `without`; off them nothing needs to be looked up."""
    if isinstance(node, Scalar):
        type_ = scalar_type(node)
        return (type_, None if type_ == NULL else node.value)
    if path not in ways:
        path, without, ways = (), frozenset(), frozenset()
    if isinstance(node, Sequence):
        items = (((*path, at), item) for at, item in enumerate(node.items))
        return (node.tag, *(None if at in without else _meaning(item, at, without, ways) for at, item in items))
    if not isinstance(node, Mapping):
        return node.name
    pairs = set()
    for key, value in node.pairs:
        here = (*path, key.value if isinstance(key, Scalar) else "?")
        if here in without or (here in ways and _is_empty(value, here, without)):
            continue
        pairs.add((_meaning(key, (), frozenset(), frozenset()), _meaning(value, here, without, ways)))
    return (node.tag, frozenset(pairs))


def _is_empty(node: Node, path: Path, without: AbstractSet[Path]) -> bool:
    """Whether all that a value on the way to a slot holds is that slot; what was replaced as a whole held nothing else."""
    if isinstance(node, Scalar) or call(node) is not None:
        return True
    return isinstance(node, Mapping) and all(
        isinstance(key, Scalar) and (*path, key.value) in without for key, _ in node.pairs
    )
