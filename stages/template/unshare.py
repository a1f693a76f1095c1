"""Write out what YAML lets a template share: CloudFormation takes neither aliases nor merge keys.

Each alias becomes what it stands for, in flow style and on its line, so that two functions that share their Properties can be given
an image each. Anchors go; everything else stays byte for byte.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from stages.contract import InvalidInput
from stages.template.edits import Edit, applied, content_end, meaning
from stages.template.tree import Alias, Mapping, Scalar, Sequence, is_merge, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.template.tree import Node, Template

_STANDARD = "tag:yaml.org,2002:"
_PLAIN_IN_FLOW = re.compile(r"[^\s,\[\]{}?#][^,\[\]{}?\r\n\t]*")
_BREAKS = {ord(each): f"\\u{ord(each):04x}" for each in "\x7f\x85\xa0\u2028\u2029\ufeff"}


def unshared(template: Template) -> Template:
    """The template without aliases, merge keys and anchors; the same one if it has no aliases and merge keys.

    Raises InvalidInput if it is written so oddly that this would change what it says.
    """
    if not template.stands_for:
        return template
    data = applied(template, _edits(template, template.written))
    try:
        done = read(data, template.file)
    except InvalidInput:
        done = None
    if done is None or done.stands_for or meaning(done.root) != meaning(template.root):
        first = min(template.stands_for)
        node = next(node for node in _shared(template.written) if node.span.start == first)
        message = "the aliases and merge keys of this template cannot be written out, and CloudFormation takes none"
        raise InvalidInput([template.problem(node, message, "Write the values out.")])
    return done


def _shared(node: Node) -> Iterator[Node]:
    """Aliases and merge keys."""
    if isinstance(node, Alias) or is_merge(node):
        yield node
    elif isinstance(node, Mapping):
        for key, value in node.pairs:
            yield from _shared(key)
            yield from _shared(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _shared(item)


def _edits(template: Template, node: Node) -> Iterator[Edit]:
    if isinstance(node, Alias):
        yield Edit(node.span.start, node.span.end, flow(template.stands_for[node.span.start]))
        return
    if node.anchor is not None:
        yield _without_anchor(template.text, node.span.start, node.anchor)
    if isinstance(node, Sequence):
        for item in node.items:
            yield from _edits(template, item)
    elif isinstance(node, Mapping):
        for at, (key, value) in enumerate(node.pairs):
            if is_merge(key):
                yield _merge(template, node, at)
            else:
                yield from _edits(template, key)
                yield from _edits(template, value)


def _without_anchor(text: str, start: int, anchor: str) -> Edit:
    at = text.index(f"&{anchor}", start)
    end = at + len(anchor) + 1
    while text[end : end + 1] in {" ", "\t"}:
        end += 1
    if text[end : end + 1] in {"", "\r", "\n"}:
        at = len(text[:at].rstrip(" \t"))
    return Edit(at, end, "")


def _merge(template: Template, holder: Mapping, at: int) -> Edit:
    """Put in place of a merge key what it brings in; if that is nothing, take the key away."""
    key, value = holder.pairs[at]
    text = template.text
    start, end = key.span.start, content_end(text, value)
    brought = template.stands_for[start]
    pairs = [f"{flow(name)}: {flow(each)}" for name, each in brought.pairs] if isinstance(brought, Mapping) else []
    if pairs:
        indent = " " * (key.span.column - 1)
        newline = "\r\n" if "\r\n" in text else "\n"
        return Edit(start, end, (", " if holder.flow else f"{newline}{indent}").join(pairs))
    if at + 1 < len(holder.pairs):
        return Edit(start, holder.pairs[at + 1][0].span.start, "")
    if at > 0:
        return Edit(content_end(text, holder.pairs[at - 1][1]), end, "")
    return Edit(start, end, "" if holder.flow else "{}")


def flow(node: Node) -> str:
    """A node on one line, in flow style."""
    if isinstance(node, Alias):
        raise TypeError(node)
    tag = _tag(node.tag)
    if isinstance(node, Sequence):
        return f"{tag}[{', '.join(flow(item) for item in node.items)}]"
    if isinstance(node, Mapping):
        return f"{tag}{{{', '.join(f'{flow(key)}: {flow(value)}' for key, value in node.pairs)}}}"
    return f"{tag}{_scalar(node)}"


def _tag(tag: str | None) -> str:
    if tag is None:
        return ""
    if tag.startswith(_STANDARD):
        return f"!!{tag.removeprefix(_STANDARD)} "
    return f"{tag} " if tag.startswith("!") else f"!<{tag}> "


def _scalar(node: Scalar) -> str:
    if node.plain and not node.value:
        return '""' if node.tag not in {None, f"{_STANDARD}null"} else "null"
    simple = _PLAIN_IN_FLOW.fullmatch(node.value) and ": " not in node.value and " #" not in node.value
    if node.plain and simple and not node.value.endswith((":", " ")):
        return node.value
    if node.style == "'" and "\n" not in node.value:
        return "'" + node.value.replace("'", "''") + "'"
    return json.dumps(node.value, ensure_ascii=False).translate(_BREAKS)
