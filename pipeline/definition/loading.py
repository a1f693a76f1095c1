"""Read a definition's files to plain values and the place of each. Nothing here knows what the values mean.

The YAML is 1.2's core schema, because 1.1 reads `on` and `no` as truth values, `010` as 8, `12:30:45` as 45045 and
`2024-01-01` as a date: here truth values are `true` and `false`, whole numbers are decimal, all else is text. Keys are
always text. The one tag beyond it is `!include`; merge keys (`<<`) are not part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from pipeline import beneath
from pipeline.definition import include
from pipeline.definition.hints import MOST_PROBLEMS, in_order
from pipeline.definition.positions import Located, Path, Place, Positions, Spot
from pipeline.errors import InvalidDefinition
from stages import safeyaml
from stages.contract import Problem
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path as FilePath

_PREFIX = "tag:yaml.org,2002:"
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NULL = re.compile(r"~|null|Null|NULL|")
_INT_DIGITS = 18
"""What fits into 64 bits, and what Python converts without taking its time."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CoreLoader(_Base):  # type: ignore[misc] # the base is chosen at run time
    """Composes nodes with the tags of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way of registering; filled below, then left alone


for _tag, _pattern in (("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("null", _NULL)):
    CoreLoader.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"(?:{_pattern.pattern})\Z"), None)


@dataclass(frozen=True)
class Loaded:
    """A definition as plain values, where they stand, and the bytes of every file that was read."""

    value: Any
    positions: Positions
    files: Mapping[str, bytes]


def load(name: str, project: FilePath) -> Loaded:
    """Read the file `name` below `project`, with its includes. Raises InvalidDefinition with every problem found."""
    reading = _Reading(project)
    value: Any = None
    try:
        value = reading.document(reading.read(name), ())
    except beneath.Refused as refused:
        reading.problems.append(Problem(refused.message, hint=refused.hint))
    except _TooMuch as too_much:
        reading.problems.append(too_much.problem)
    if reading.problems:
        raise InvalidDefinition(in_order(reading.problems, reading.files))
    return Loaded(value, Positions(reading.located, reading.texts), reading.files)


class _TooMuch(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass
class _Reading:
    """One reading of a definition: what has been read so far. Every file is read once, so what is kept is what was used."""

    project: FilePath
    files: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    roots: dict[str, yaml.Node] = field(default_factory=dict)
    located: dict[Path, Located] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    real_names: dict[str, str] = field(default_factory=dict)
    within: list[str] = field(default_factory=list)
    nodes: int = 0

    def document(self, name: str, path: Path, key: Spot | None = None) -> Any:
        """The values of a file that has been read, put at `path`."""
        if name not in self.roots:
            self.roots[name] = self.compose(name)
        self.within.append(name)
        value = self.value(self.roots[name], path, key)
        self.within.pop()
        return value

    def compose(self, name: str) -> yaml.Node:
        """The nodes of a file; for a file that cannot be loaded, a value that stands for it, and its problem."""
        try:
            text = self.texts[name] = safeyaml.check(self.files[name], name)
            root = yaml.compose(text, Loader=CoreLoader)
        except safeyaml.UnsafeYaml as unsafe:
            self.add(unsafe.problem)
        except yaml.MarkedYAMLError as error:
            self.add(safeyaml.syntax_problem(error, self.texts[name], name))
        else:
            if root is not None:
                return root
            self.add(Problem("the file is empty", name))
        self.texts.setdefault(name, "")
        start = yaml.Mark(name, 0, 0, 0, None, 0)
        return yaml.ScalarNode(f"{_PREFIX}null", "", start, start)

    def value(self, node: yaml.Node, path: Path, key: Spot | None = None) -> Any:
        spot = self.spot(node)
        self.count(node, spot, path)
        if node.tag == include.TAG:
            return self.included(node, spot, path, key)
        self.located[path] = Located(spot, key, node.value if isinstance(node, yaml.ScalarNode) else None)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return {name: self.value(inner, (*path, name), at) for name, at, inner in self.pairs(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self.value(inner, (*path, index)) for index, inner in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_PREFIX) in _SCALARS:
            return self.scalar(node, spot)
        shown = node.tag.replace(_PREFIX, "!!")
        return self.problem(f"the tag {shown} has no meaning here", spot, "The one tag of a definition is !include.")

    def scalar(self, node: yaml.ScalarNode, spot: Spot) -> Any:
        try:
            return _SCALARS[node.tag.removeprefix(_PREFIX)](node.value)
        except ValueError as error:
            return self.problem(str(error), spot, "Put it in quotes if it is text.")

    def pairs(self, node: yaml.MappingNode) -> list[tuple[str, Spot, yaml.Node]]:
        """Keys as they are written, where they stand, and their values."""
        found = []
        for key, inner in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != include.TAG:
                found.append((key.value, self.spot(key), inner))
            else:
                self.problem("a key must be a word", self.spot(key))
        return found

    def included(self, node: yaml.Node, spot: Spot, path: Path, key: Spot | None) -> Any:
        def read(name: str) -> bytes:
            return self.files[self.read(name)]

        def build(name: str, _data: bytes) -> Any:
            return self.document(self.real_names[name], path, key)

        self.located[path] = Located(spot, key)
        try:
            return include.include(node, CoreLoader(""), read=read, build=build)
        except beneath.Refused as refused:
            return self.problem(refused.message, spot, refused.hint)

    def read(self, name: str) -> str:
        """Read a file, if it has not been read, and return its name with no link in it. Raises beneath.Refused."""
        if name not in self.real_names:
            contents = beneath.read(self.project, name, LIMITS.yaml_bytes)
            self.files.setdefault(contents.name, contents.data)
            self.real_names[name] = contents.name
        real_name = self.real_names[name]
        if real_name in self.within:
            raise beneath.Refused(f"the include leads back to where it began: {' -> '.join([*self.within, real_name])}")
        if len(self.within) > LIMITS.include_depth:
            raise beneath.Refused(f"includes within includes: more than {LIMITS.include_depth} levels")
        if sum(map(len, self.files.values())) > LIMITS.yaml_bytes:
            raise beneath.Refused(f"the files of the definition have more than {LIMITS.yaml_bytes:,} bytes together")
        return real_name

    def count(self, node: yaml.Node, spot: Spot, path: Path) -> None:
        """Includes multiply nodes and levels as aliases do: the limits hold for the whole."""
        self.nodes += safeyaml.weight(node.value) if isinstance(node, yaml.ScalarNode) else 1
        if self.nodes > LIMITS.yaml_nodes:
            raise self.too_much(f"more than {LIMITS.yaml_nodes:,} nodes once its includes are expanded", spot)
        if len(path) > LIMITS.yaml_depth:
            raise self.too_much(f"nested deeper than {LIMITS.yaml_depth} levels", spot)

    def too_much(self, message: str, spot: Spot) -> _TooMuch:
        return _TooMuch(Problem(message, *self.place(spot)))

    def problem(self, message: str, spot: Spot, hint: str | None = None) -> None:
        self.add(Problem(message, *self.place(spot), hint))

    def add(self, problem: Problem) -> None:
        """Note a problem, and stop where nobody reads on."""
        if len(self.problems) >= MOST_PROBLEMS:
            raise _TooMuch(problem)
        self.problems.append(problem)

    def place(self, spot: Spot) -> Place:
        return Positions({(): Located(spot)}, self.texts).value()

    def spot(self, node: yaml.Node) -> Spot:
        return Spot(self.within[-1], node.start_mark.line + 1, node.start_mark.column + 1)


def _int(text: str) -> int:
    if len(text) > _INT_DIGITS or not _INT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no whole number, or too large a one")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _bool(text: str) -> bool:
    if not _BOOL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return text.lower() == "true"


def _null(_text: str) -> None:
    return None


_SCALARS: dict[str, Callable[[str], Any]] = {"str": str, "int": _int, "float": _float, "bool": _bool, "null": _null}
