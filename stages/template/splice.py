"""Put image URIs into a template's text, and change nothing else: every other byte stays as it was.

What a splice did is checked by reading the new text: it must be the old document but for the images. A template written so
oddly that the checks fail is refused, never guessed at.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import InvalidInput
from stages.template.functions import image_slot
from stages.template.tree import Mapping, Scalar, Sequence, read

if TYPE_CHECKING:
    from collections.abc import Hashable

    from stages.contract import Problem
    from stages.template.tree import Node, Template

Path: TypeAlias = tuple[str, ...]

_URI = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:@-]*[A-Za-z0-9])?")  # such text is the same quoted and plain
_NEWLINE = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Edit:
    """Replace the characters from `start` to `end` of the text."""

    start: int
    end: int
    text: str


def splice(template: Template, images: dict[Path, str]) -> bytes:
    """The template's bytes with each resource's image URI replaced, or inserted where it has none.

    `images` maps a function's path to its URI. Raises InvalidInput if a function is written in a way that leaves no safe
    place for it, ValueError for a URI or path that is none (a mistake of the caller).
    """
    data = _apply(template, [_edit(template, path, uri) for path, uri in images.items()])
    if not _only_images_differ(template, data, images):
        raise InvalidInput([_no_place(template, path) for path in _unplaced(template, images) or images])
    return data


def _apply(template: Template, edits: list[Edit]) -> bytes:
    text = template.text
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    bom = codecs.BOM_UTF8 if template.data.startswith(codecs.BOM_UTF8) else b""
    return bom + text.encode()


def _unplaced(template: Template, images: dict[Path, str]) -> list[Path]:
    """The functions that no image can be put into even on their own."""
    return [
        path
        for path, uri in images.items()
        if not _only_images_differ(template, _apply(template, [_edit(template, path, uri)]), {path: uri})
    ]


def _no_place(template: Template, path: Path) -> Problem:
    return template.problem(
        _find(template.root, path) or template.root,
        f"{path[-1]}: found no safe place for its image",
        "Write it in block style with `ImageUri: x` below Properties (AWS::Serverless::Function) or Code "
        "(AWS::Lambda::Function); the x is replaced.",
    )


def _edit(template: Template, path: Path, uri: str) -> Edit:
    resource = _find(template.root, path)
    slot = image_slot(resource) if isinstance(resource, Mapping) else None
    if slot is None or not _URI.fullmatch(uri):
        raise ValueError(f"{'/'.join(path)} is no function, or {uri!r} no image URI")
    holder = resource
    for depth, key in enumerate(slot):
        if not isinstance(holder, Mapping):
            break
        value = holder.get(key)
        if key == slot[-1] or not isinstance(value, Mapping):
            new = _value(uri, _style(holder, value), slot[depth + 1 :])
            return _insert(template.text, holder, key, new) if value is None else _replace(template.text, value, new)
        holder = value
    raise ValueError(f"{'/'.join(path)} has no Properties")


def _find(node: Node | None, path: Path) -> Node | None:
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _style(holder: Mapping, value: Node | None) -> str:
    """The quotes to use: those of the value replaced, or those around the keys beside it (JSON has no others)."""
    model = value if isinstance(value, Scalar) else next((key for key, _ in holder.named()), None)
    return model.style if isinstance(model, Scalar) and model.style in {"'", '"'} else ""


def _value(uri: str, quote: str, keys: Path) -> str:
    """The URI in its quotes, within a flow mapping for each of `keys`."""
    text = f"{quote}{uri}{quote}"
    for key in reversed(keys):
        text = f"{{{quote}{key}{quote}: {text}}}"
    return text


def _replace(text: str, node: Node, new: str) -> Edit:
    start, end = node.span.start, _content_end(text, node)
    glued = start == end and text[start - 1 : start] == ":"  # `ImageUri:` without a value
    return Edit(start, end, f" {new}" if glued else new)


def _content_end(text: str, node: Node) -> int:
    """Where a node's own text ends: a block's span runs on over blank lines and comments behind it."""
    if isinstance(node, Mapping) and not node.flow:
        return _content_end(text, node.pairs[-1][1])
    if isinstance(node, Sequence) and not node.flow and node.items:
        return _content_end(text, node.items[-1])
    return node.span.start + len(text[node.span.start : node.span.end].rstrip())


def _insert(text: str, holder: Mapping, key: str, new: str) -> Edit:
    quote = _style(holder, None)
    pair = f"{quote}{key}{quote}: {new}"
    if not holder.pairs:
        return Edit(holder.span.end - 1, holder.span.end - 1, pair)
    if holder.flow:
        at = holder.pairs[0][0].span.start
        gap = text[text.rfind("{", 0, at) + 1 : at]
        return Edit(at, at, f"{pair},{gap if _NEWLINE.search(gap) and not gap.strip() else ' '}")
    neighbour = next((name for name, _ in holder.named() if name.value == "PackageType"), holder.pairs[0][0])
    at = neighbour.span.start
    newline = _NEWLINE.search(text, at) or _NEWLINE.search(text)
    return Edit(at, at, f"{pair}{newline.group() if newline else chr(10)}{' ' * (neighbour.span.column - 1)}")


def _only_images_differ(before: Template, data: bytes, images: dict[Path, str]) -> bool:
    try:
        after = read(data, before.file)
    except InvalidInput:
        return False
    slots = {}
    for path, uri in images.items():
        resource = _find(before.root, path)
        slots[path + ((image_slot(resource) if isinstance(resource, Mapping) else None) or ())] = uri
    if any(not _holds(_find(after.root, path), uri) for path, uri in slots.items()):
        return False
    return _meaning(before.root, set(slots)) == _meaning(after.root, set(slots))


def _holds(node: Node | None, uri: str) -> bool:
    return isinstance(node, Scalar) and node.tag is None and node.value == uri


def _meaning(node: Node, without: set[Path], path: Path = ()) -> Hashable:
    """What a node says, the paths in `without` and mappings that are empty but for them left out."""
    if isinstance(node, Scalar):
        return (node.tag, node.value, node.plain)
    if isinstance(node, Sequence):
        return (node.tag, tuple(_meaning(item, without, (*path, f"[{at}]")) for at, item in enumerate(node.items)))
    if not isinstance(node, Mapping):
        return node.name
    pairs = set()
    for key, value in node.pairs:
        here = (*path, key.value if isinstance(key, Scalar) else "?")
        if here in without or (_leads_to(here, without) and _is_empty(value, here, without)):
            continue
        pairs.add((_meaning(key, without, (*path, "?")), _meaning(value, without, here)))
    return (node.tag, frozenset(pairs))


def _leads_to(path: Path, slots: set[Path]) -> bool:
    return any(slot[: len(path)] == path for slot in slots)


def _is_empty(node: Node, path: Path, without: set[Path]) -> bool:
    """Whether all that a value on the way to an image holds is that image; a scalar there was replaced as a whole."""
    if isinstance(node, Scalar):
        return True
    return isinstance(node, Mapping) and all(
        isinstance(key, Scalar) and (*path, key.value) in without for key, _ in node.pairs
    )
