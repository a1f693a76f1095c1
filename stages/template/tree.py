"""A template as a tree whose nodes know where in the text they stand.

The tree is made of the events of the very parser that `stages.safeyaml` guards with, so that both see the same document.
Nothing is built from the values: tags (`!Sub`), numbers (`010`) and quotes stay what the author wrote. JSON is read by the
same parser, being YAML of another look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from stages import safeyaml
from stages.contract import InvalidInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """A template that was read: its bytes, its text without a byte-order mark, and its tree."""

    file: str
    data: bytes
    text: str
    root: Mapping

    def problem(self, node: Node, message: str, hint: str | None = None) -> Problem:
        """A problem at the place of `node`."""
        line, column = node.span.line, node.span.column
        return Problem(message, self.file, line, column, safeyaml.quote(self.text, line), hint)


def read(data: bytes, file: str) -> Template:
    """Read a template (YAML 1.1 or JSON, UTF-8, with or without byte-order mark). `file` is its name in problems.

    Raises InvalidInput: not YAML, too large or too deep, no mapping, or with aliases, which CloudFormation refuses.
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
    template = Template(file, data, text, documents[0])
    shared = [_shared_problem(template, node) for node in walk(template.root) if _is_shared(node)]
    if shared:
        raise InvalidInput(shared)
    return template


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


def _is_shared(node: Node) -> bool:
    return isinstance(node, Alias) or (isinstance(node, Scalar) and node.plain and node.value == "<<")


def _shared_problem(template: Template, node: Node) -> Problem:
    what = f"the alias *{node.name}" if isinstance(node, Alias) else "the merge key <<"
    return template.problem(
        node,
        f"{what} cannot be packaged: CloudFormation takes no YAML aliases and no merge keys",
        "Write the values out here, or move what functions have in common to Globals.",
    )


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
