"""Add an entry to a section of a template, below those that are there, and change nothing else.

Where the section is written in block style, so is the entry, with the indentation of its neighbours; JSON and flow style get it as
`splice` puts it. What was done is checked by reading the new text: it must be the old document and the entry.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from stages.contract import InvalidInput
from stages.template.edits import Edit, applied, content_end, meaning
from stages.template.resources import find
from stages.template.splice import splice
from stages.template.tree import Mapping, Scalar, Sequence, read

if TYPE_CHECKING:
    from stages.template.splice import Value
    from stages.template.tree import Node, Template

_NEWLINE = re.compile(r"\r\n|\n|\r")
_NOTHING = re.compile("")


def appended(template: Template, section: str, key: str, text: str) -> bytes:
    """Give the template's bytes with `key` in `section`, made if missing; `text` is its value, a mapping or a scalar, as YAML.

    Raises InvalidInput if the key is there already, or the template is written in a way that leaves no safe place.
    """
    holder = template.written.get(section)
    there = find(template.root, (section, key))
    if there is not None:
        hint = "Choose another name, or remove what is there."
        raise InvalidInput([template.problem(there, f"{section} has {key!r} already", hint)])
    value = _value(text)
    if template.written.flow or (holder is not None and not _is_block(holder)):
        return splice(template, {(section, key): _plain(value)})
    data = applied(template, [_edit(template, holder, section, key, text)])
    if not _is_the_same_and_more(template, data, (section, key), value):
        hint = f"Write an entry {key!r} in {section} by hand."
        raise InvalidInput([template.problem(holder or template.written, f"found no safe place for {key!r}", hint)])
    return data


def node_text(template: Template, node: Node) -> str:
    """Give a node as it is written, as if it stood alone."""
    indent = " " * (node.span.column - 1)
    return textwrap.dedent(indent + template.text[node.span.start : content_end(template.text, node)])


def _is_block(node: Node) -> bool:
    return isinstance(node, Mapping) and not node.flow and bool(node.pairs)


def _value(text: str) -> Node:
    """The node that a text is."""
    return read(f"x:\n{textwrap.indent(text, '  ')}\n".encode(), "the new entry").root.pairs[0][1]


def _plain(node: Node) -> Value:
    """A node as a value for `splice`, short forms of functions written out."""
    if isinstance(node, Mapping):
        return {key.value: _plain(value) for key, value in node.named()}
    if isinstance(node, Sequence):
        return [_plain(each) for each in node.items]
    assert isinstance(node, Scalar)  # noqa: S101 - what is added has no aliases
    if node.tag and node.tag.startswith("!"):
        name = node.tag[1:]
        return {name if name in {"Ref", "Condition"} else f"Fn::{name}": node.value}
    return node.value


def _edit(template: Template, holder: Node | None, section: str, key: str, text: str) -> Edit:
    """`holder` is a block mapping with something in it, or there is none."""
    document = template.text
    newline = _NEWLINE.search(document)
    lines = f"{key}:\n{textwrap.indent(text, '  ')}"
    if isinstance(holder, Mapping):
        indent = holder.pairs[0][0].span.column - 1
        lines = textwrap.indent(lines, " " * indent)
        at = _after(document, content_end(document, holder), indent)
    else:
        lines = f"{section}:\n{textwrap.indent(lines, '  ')}"
        at = _after(document, content_end(document, template.written), 0)
    return Edit(at, at, f"\n\n{lines}".replace("\n", newline.group() if newline else "\n"))


def _after(document: str, end: int, indent: int) -> int:
    """The end of the line in which content ends, and of comments below it that stand as deep as the section's entries."""
    rest = _NEWLINE.search(document, end)
    if rest is None:
        return len(document)
    comments = re.compile(rf"(?:(?:\r\n|\n|\r) {{{indent},}}#[^\r\n]*)*") if indent else _NOTHING
    match = comments.match(document, rest.start())
    return match.end() if match else rest.start()


def _is_the_same_and_more(before: Template, data: bytes, path: tuple[str, str], value: Node) -> bool:
    try:
        after = read(data, before.file)
    except InvalidInput:
        return False
    added = find(after.root, path)
    if added is None or meaning(added) != meaning(value):
        return False
    return meaning(before.root, {path}) == meaning(after.root, {path})
