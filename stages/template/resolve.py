"""What intrinsic functions over parameters, conditions, mappings and loop variables come to. Pure and total.

Only what names an image or says how to build one is ever resolved; everything else in a template stays as it is. What is
known at deployment alone (an attribute, an import, a pseudo parameter nobody stated) is `Unresolvable`, with its place.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import yaml

from stages.template.tree import Alias, Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.template.tree import Node

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
"""What a node comes to. Numbers and booleans are their text as written; None is null, or `!Ref AWS::NoValue`."""

CHARACTERS = 16_384
"""Of a text that is put together: nothing about an image is longer, and texts made of texts grow without end."""
_CONDITIONS_DEEP = 32

STRING_TAGS = (None, "!", "tag:yaml.org,2002:str")
NULL = "tag:yaml.org,2002:null"
_IN_SUB = re.compile(r"\$\{(!?)([^}]*)\}")
_LIST_TYPES = ("CommaDelimitedList", "List<")
_types = yaml.resolver.Resolver()


class Unresolvable(Exception):
    """A node whose value is not known before the stack is deployed."""

    def __init__(self, node: Node, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.node = node
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Scope:
    """What names stand for in one template.

    `given` are parameters and pseudo parameters that somebody stated; the template's defaults stand behind them. `unknown`
    are parameters that somebody stated in a way that is not known here, with the reason. `loops` are the variables of the
    loops around, outermost first.
    """

    root: Mapping
    given: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    loops: tuple[tuple[str, str], ...] = ()
    decided: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def within(self, variable: str, value: str) -> Scope:
        """The scope in a loop's body, for one item."""
        return dataclasses.replace(self, loops=(*self.loops, (variable, value)))

    def entry(self, section: str, name: str) -> Node | None:
        """What a section of the template, such as Parameters, has under a name."""
        node = self.root.get(section)
        return node.get(name) if isinstance(node, Mapping) else None


def text(node: Node | None) -> str | None:
    """The value of a string, number or boolean that is written out; None for anything else, such as `!Ref`."""
    return node.value if isinstance(node, Scalar) and node.tag in STRING_TAGS else None


def scalar_type(node: Scalar) -> str:
    """The YAML tag of a scalar: what was stated, or what a plain one is taken for."""
    if node.tag is not None and node.tag != "!":
        return node.tag
    if not node.plain or node.tag == "!":
        return str(STRING_TAGS[-1])
    return str(_types.resolve(yaml.ScalarNode, node.value, (True, False)))  # type: ignore[no-untyped-call] # the stubs do not type it


def resolve(node: Node, scope: Scope) -> Value:
    """What a node comes to. Raises Unresolvable."""
    called = call(node)
    if called is not None:
        name, argument = called
        function = _FUNCTIONS.get(name)
        if function is None:
            raise Unresolvable(node, f"{name} is known only when the stack is deployed")
        return function(node, argument, scope)
    if isinstance(node, Scalar):
        return None if scalar_type(node) == NULL else substitute(node.value, scope)
    if isinstance(node, Sequence):
        return [resolve(item, scope) for item in node.items]
    if isinstance(node, Mapping):
        pairs = [(substitute(key.value, scope), value) for key, value in node.named() if not _is_no_value(value)]
        return {key: resolve(value, scope) for key, value in pairs}
    raise Unresolvable(node, "an alias has no value of its own")


def resolve_text(node: Node, scope: Scope) -> str:
    """What a node that is to be a text comes to. Raises Unresolvable."""
    value = resolve(node, scope)
    if not isinstance(value, str):
        raise Unresolvable(node, "it must be a string")
    return value


def substitute(value: str, scope: Scope) -> str:
    """A text with the variables of the loops around it put in: a loop replaces them wherever they stand in its body."""
    for name, item in scope.loops:
        value = value.replace(f"${{{name}}}", item).replace(f"&{{{name}}}", re.sub("[^A-Za-z0-9]", "", item))
    return value


def call(node: Node) -> tuple[str, Node] | None:
    """The name and argument of an intrinsic function in its short or long form, or None."""
    if isinstance(node, Alias):
        return None
    if node.tag and node.tag.startswith("!") and node.tag not in STRING_TAGS:
        name = node.tag[1:]
        return (name if name in ("Ref", "Condition") else f"Fn::{name}"), dataclasses.replace(node, tag=None)
    if isinstance(node, Mapping) and len(node.pairs) == 1:
        key, argument = node.pairs[0]
        if isinstance(key, Scalar) and (key.value in ("Ref", "Condition") or key.value.startswith("Fn::")):
            return key.value, argument
    return None


def _is_no_value(node: Node) -> bool:
    called = call(node)
    return called is not None and called[0] == "Ref" and text(called[1]) == "AWS::NoValue"


def _ref(node: Node, argument: Node, scope: Scope) -> Value:
    name = text(argument)
    if name is None:
        raise Unresolvable(node, "Ref names no parameter")
    return _named(node, substitute(name, scope), scope)


def _named(node: Node, name: str, scope: Scope) -> Value:
    for variable, item in scope.loops:
        if variable == name:
            return item
    if name == "AWS::NoValue":
        return None
    if name in scope.unknown:
        raise Unresolvable(node, f"the parameter {name} is not known here: {scope.unknown[name]}")
    parameter = scope.entry("Parameters", name)
    if name.startswith("AWS::"):
        if name in scope.given:
            return scope.given[name]
        raise Unresolvable(node, f"{name} is known only when the stack is deployed", _state(name))
    if not isinstance(parameter, Mapping):
        raise Unresolvable(node, f"{name} is no parameter, so it is known only when the stack is deployed")
    type_ = text(parameter.get("Type")) or "String"
    if type_.startswith("AWS::SSM::Parameter::"):
        raise Unresolvable(node, f"the parameter {name} is read from SSM when the stack is deployed")
    value = scope.given.get(name, text(parameter.get("Default")))
    if value is None:
        raise Unresolvable(node, f"the parameter {name} has no default, and the stage gives it no value", _state(name))
    return [each.strip() for each in value.split(",")] if type_.startswith(_LIST_TYPES) else value


def _state(name: str) -> str:
    return f"Add it to the option `parameters` of the stage: `{name}: ...`"


def _sub(node: Node, argument: Node, scope: Scope) -> str:
    own: dict[str, Node] = {}
    pattern = argument
    if isinstance(argument, Sequence):
        if len(argument.items) != 2 or not isinstance(argument.items[1], Mapping):
            raise Unresolvable(node, "Fn::Sub takes a text, or a list of a text and a map")
        pattern = argument.items[0]
        own = {key.value: value for key, value in argument.items[1].named()}
    template = text(pattern)
    if template is None:
        raise Unresolvable(node, "Fn::Sub takes a text, or a list of a text and a map")

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return f"${{{match[2]}}}"
        name = match[2].strip()
        if name in own:
            return resolve_text(own[name], scope)
        if "." in name:
            raise Unresolvable(node, f"{name} is an attribute, known only when the stack is deployed")
        found = _named(node, name, scope)
        if not isinstance(found, str):
            raise Unresolvable(node, f"{name} is a list, and Fn::Sub puts in texts only")
        return found

    return _joined(node, "", _pieces(substitute(template, scope), value))


def _pieces(template: str, value: Callable[[re.Match[str]], str]) -> list[str]:
    pieces, at, size = [], 0, 0
    for match in _IN_SUB.finditer(template):
        pieces += [template[at : match.start()], value(match)]
        size += len(pieces[-1])
        at = match.end()
        if size > CHARACTERS:
            break
    return [*pieces, template[at:]]


def _joined(node: Node, separator: str, parts: list[str]) -> str:
    if sum(map(len, parts)) + len(separator) * len(parts) > CHARACTERS:
        raise Unresolvable(node, f"it comes to more than {CHARACTERS:,} characters")
    return separator.join(parts)


def _join(node: Node, argument: Node, scope: Scope) -> str:
    separator, items = _arguments(node, argument, "Fn::Join", 2)
    parts = resolve(items, scope)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise Unresolvable(node, "Fn::Join takes a separator and a list of texts")
    return _joined(node, resolve_text(separator, scope), [str(part) for part in parts])


def _split(node: Node, argument: Node, scope: Scope) -> Value:
    separator, whole = (resolve_text(each, scope) for each in _arguments(node, argument, "Fn::Split", 2))
    if not separator:
        raise Unresolvable(node, "Fn::Split needs a separator")
    return [*whole.split(separator)]


def _select(node: Node, argument: Node, scope: Scope) -> Value:
    index, items = (resolve(each, scope) for each in _arguments(node, argument, "Fn::Select", 2))
    if not isinstance(index, str) or not index.isdecimal() or not isinstance(items, list) or int(index) >= len(items):
        raise Unresolvable(node, "Fn::Select takes an index and a list that has it")
    return items[int(index)]


def _find_in_map(node: Node, argument: Node, scope: Scope) -> Value:
    keys = argument.items if isinstance(argument, Sequence) else ()
    if len(keys) not in (3, 4):
        raise Unresolvable(node, "Fn::FindInMap takes a mapping and two keys")
    names = [resolve_text(key, scope) for key in keys[:3]]
    found = scope.entry("Mappings", names[0])
    for name in names[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is not None:
        return resolve(found, scope)
    default = keys[3].get("DefaultValue") if len(keys) == 4 and isinstance(keys[3], Mapping) else None
    if default is None:
        raise Unresolvable(node, f"the template has no mapping {' / '.join(names)}")
    return resolve(default, scope)


def _if(node: Node, argument: Node, scope: Scope) -> Value:
    condition, then, otherwise = _arguments(node, argument, "Fn::If", 3)
    return resolve(then if _condition(node, text(condition), scope) else otherwise, scope)


def _condition(node: Node, name: str | None, scope: Scope, within: tuple[str, ...] = ()) -> bool:
    if name is None:
        raise Unresolvable(node, "it names no condition")
    if name not in scope.decided:  # remembered, as conditions may use each other many times
        definition = scope.entry("Conditions", name)
        if definition is None:
            raise Unresolvable(node, f"the template has no condition {name}")
        if name in within or len(within) >= _CONDITIONS_DEEP:
            raise Unresolvable(node, f"the condition {name} depends on itself, or on too many others")
        scope.decided[name] = _holds(definition, scope, (*within, name))
    return scope.decided[name]


def _holds(node: Node, scope: Scope, within: tuple[str, ...]) -> bool:
    name, argument = call(node) or ("", node)
    items = argument.items if isinstance(argument, Sequence) else ()
    if name == "Condition":
        return _condition(node, text(argument), scope, within)
    if name == "Fn::Equals" and len(items) == 2:
        return resolve(items[0], scope) == resolve(items[1], scope)
    if name == "Fn::Not" and len(items) == 1:
        return not _holds(items[0], scope, within)
    if name == "Fn::And" and items:
        return all(_holds(item, scope, within) for item in items)
    if name == "Fn::Or" and items:
        return any(_holds(item, scope, within) for item in items)
    raise Unresolvable(node, "a condition is made of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition")


def _arguments(node: Node, argument: Node, name: str, number: int) -> tuple[Node, ...]:
    items = argument.items if isinstance(argument, Sequence) else ()
    if len(items) != number:
        raise Unresolvable(node, f"{name} takes {number} arguments")
    return items


_FUNCTIONS: dict[str, Callable[[Node, Node, Scope], Value]] = {
    "Ref": _ref,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::FindInMap": _find_in_map,
    "Fn::If": _if,
}
