"""A template as a tree whose nodes know where in the text they stand.

The tree is made of the events of the very parser that `stages.safeyaml` guards with, so that both see the same document.
Nothing is built from the values: tags (`!Sub`), numbers (`010`) and quotes stay what the author wrote. JSON is read by the
same parser, being YAML of another look.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from stages import safeyaml
from stages.contract import InvalidInput, Problem
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

_MERGE = "tag:yaml.org,2002:merge"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both have the same methods; stubs know only one


@dataclass(frozen=True)
class Span:
    """Where a node stands: offsets into the text in characters, line and column from 1. `end` may be past blank lines."""

    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True)
class Scalar:
    span: Span
    value: str
    tag: str | None
    style: str | None
    """As the parser names it: None or "" plain, otherwise one of `'`, `"`, `|`, `>`."""
    anchor: str | None = None

    @property
    def plain(self) -> bool:
        return not self.style


@dataclass(frozen=True)
class Sequence:
    span: Span
    items: tuple[Node, ...]
    tag: str | None
    flow: bool
    anchor: str | None = None


@dataclass(frozen=True)
class Mapping:
    span: Span
    pairs: tuple[tuple[Node, Node], ...]
    tag: str | None
    flow: bool
    anchor: str | None = None

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((value for name, value in self.named() if name.value == key), None)

    def named(self) -> Iterator[tuple[Scalar, Node]]:
        """The pairs whose key is a scalar."""
        return ((key, value) for key, value in self.pairs if isinstance(key, Scalar))


@dataclass(frozen=True)
class Alias:
    """`*name`: the node anchored elsewhere with `&name`."""

    span: Span
    name: str


Node: TypeAlias = Scalar | Sequence | Mapping | Alias


@dataclass(frozen=True)
class Template:
    """A template that was read: its bytes, its text without a byte-order mark, and its tree.

    In `root` an alias is the node that it stands for, and what a merge key brings in stands in the mapping itself. `written` is
    the tree as it is written. `stands_for` has, by the offset of each alias and merge key, the node that it stands for: of a merge
    key a mapping of what it brings in.
    """

    file: str
    data: bytes
    text: str
    root: Mapping
    written: Mapping
    stands_for: dict[int, Node]

    def problem(self, node: Node, message: str, hint: str | None = None) -> Problem:
        """A problem at the place of `node`."""
        line, column = node.span.line, node.span.column
        return Problem(message, self.file, line, column, safeyaml.quote(self.text, line), hint)


def read(data: bytes, file: str) -> Template:
    """Read a template (YAML 1.1 or JSON, UTF-8, with or without byte-order mark). `file` is its name in problems.

    Raises InvalidInput: not YAML, too large or too deep, no mapping, or merging what is none.
    """
    try:
        text = safeyaml.check(data, file)
    except safeyaml.UnsafeYaml as error:
        raise InvalidInput([error.problem]) from error
    documents = _compose(text)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        what = f"{len(documents)} documents" if len(documents) != 1 else "no mapping"
        hint = "A template is one mapping with the key Resources."
        raise InvalidInput([Problem(f"a template is expected here, but this file has {what}", file, hint=hint)])
    written = documents[0]
    plain = Template(file, data, text, written, written, {})
    if ("*" not in text and "<<" not in text) or not any(
        isinstance(each, Alias) or is_merge(each) for each in walk(written)
    ):
        return plain
    sharing = _Sharing(plain)
    root = sharing.resolved(written, 1)
    if sharing.problems or not isinstance(root, Mapping):
        raise InvalidInput(sharing.problems)
    return Template(file, data, text, root, written, sharing.stands_for)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, keys included."""
    yield node
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            yield from walk(key)
            yield from walk(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from walk(item)


def is_merge(node: Node) -> bool:
    """Whether a key is the merge key `<<`."""
    return isinstance(node, Scalar) and node.plain and node.value == "<<" and node.tag in {None, _MERGE}


class _Sharing:
    """Resolves aliases and merge keys, in the order of the document: an anchor given twice means the last before its alias."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.anchors: dict[str, Node] = {}
        self.heights: dict[str, int] = {}
        self.stands_for: dict[int, Node] = {}
        self.problems: list[Problem] = []
        self.deepest = 0

    def resolved(self, node: Node, depth: int) -> Node:
        """The node with all aliases in it put in. `depth` counts the levels around it, those that aliases put in included."""
        if isinstance(node, Alias):
            self.deepest = max(self.deepest, depth + self.heights[node.name])
            if self.deepest > LIMITS.yaml_depth:
                message = f"nested deeper than {LIMITS.yaml_depth} levels once aliases are put in"
                raise InvalidInput([self.template.problem(node, message)])
            self.stands_for[node.span.start] = self.anchors[node.name]
            return self.anchors[node.name]
        outer, self.deepest = self.deepest, depth
        done = self._inside(node, depth)
        if node.anchor is not None:
            self.anchors[node.anchor], self.heights[node.anchor] = done, self.deepest - depth
        self.deepest = max(outer, self.deepest)
        return done

    def _inside(self, node: Node, depth: int) -> Node:
        if isinstance(node, Sequence):
            return dataclasses.replace(node, items=tuple(self.resolved(item, depth + 1) for item in node.items))
        if not isinstance(node, Mapping):
            return node
        pairs = [(key, self.resolved(key, depth + 1), self.resolved(value, depth + 1)) for key, value in node.pairs]
        own = {key.value for raw, key, _ in pairs if isinstance(key, Scalar) and not is_merge(raw)}
        done: list[tuple[Node, Node]] = []
        for raw, key, value in pairs:
            if not is_merge(raw):
                done.append((key, value))
                continue
            merged = tuple(self._merged(raw, value, own))
            self.stands_for[raw.span.start] = Mapping(raw.span, merged, None, flow=True)
            done += merged
        return dataclasses.replace(node, pairs=tuple(done))

    def _merged(self, key: Node, value: Node, own: set[str]) -> Iterator[tuple[Node, Node]]:
        """The pairs that a merge key brings in: none that the mapping has itself, and each from the first that has it."""
        seen = set(own)
        for source in value.items if isinstance(value, Sequence) else (value,):
            if not isinstance(source, Mapping):
                self.problems.append(self.template.problem(key, "<< merges a mapping, or a list of mappings"))
                return
            for name, each in source.named():
                if name.value not in seen:
                    seen.add(name.value)
                    yield name, each


def _compose(text: str) -> list[Node]:
    """The documents of a text that `safeyaml.check` has passed: nesting is bounded, so recursion is too."""
    events = iter(yaml.parse(text, Loader=_Loader))
    return [_node(event, events) for event in events if isinstance(event, yaml.NodeEvent)]


def _node(event: Any, events: Iterator[Any]) -> Node:
    if isinstance(event, yaml.AliasEvent):
        return Alias(_span(event, event), str(event.anchor))
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(_span(event, event), event.value, event.tag, event.style, event.anchor)
    items: list[Node] = []
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            return _collection(event, inner, items)
        items.append(_node(inner, events))
    raise AssertionError("the parser ended within a collection")  # it raises before that


def _collection(start: Any, end: Any, items: list[Node]) -> Node:
    span, flow = _span(start, end), bool(start.flow_style)
    if isinstance(start, yaml.SequenceStartEvent):
        return Sequence(span, tuple(items), start.tag, flow, start.anchor)
    pairs = tuple(zip(items[::2], items[1::2], strict=True))
    return Mapping(span, pairs, start.tag, flow, start.anchor)


def _span(start: Any, end: Any) -> Span:
    mark = start.start_mark
    return Span(mark.index, end.end_mark.index, mark.line + 1, mark.column + 1)
