"""The packaged templates of an application: each with the values spliced into it that packaging gives.

A loop's body stands in a template once, so what differs between the items of an `Fn::ForEach` is looked up: the values go into a
mapping of the template, and the body finds its own by the loop's variable.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, TypeAlias

from stages.contract import InvalidInput
from stages.template.resources import LOOP, find
from stages.template.splice import splice
from stages.template.tree import Mapping as MappingNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.contract import Problem
    from stages.template.application import Application
    from stages.template.resources import Path, Slot
    from stages.template.splice import Value
    from stages.template.tree import Template

Loops: TypeAlias = "tuple[tuple[str, str], ...]"

_MAP_KEY = re.compile(r"[A-Za-z0-9.-]{1,255}")
"""What CloudFormation takes as a key in a mapping."""


def innermost_first(application: Application) -> list[str]:
    """The paths of all stacks, each before its parent: a parent's template holds the addresses of what is nested in it."""
    return list(reversed(application.stacks))


def packaged(application: Application, stack: str, values: Mapping[Slot, Value]) -> bytes:
    """A stack's template with the values spliced in that are meant for it; those of other stacks are passed over.

    Raises InvalidInput if there is no safe place for a value, or a loop's items cannot each be given their own.
    """
    places: dict[Path, dict[Slot, Value]] = {}
    for slot, value in values.items():
        if slot.stack == stack:
            places.setdefault(slot.path, {})[slot] = value
    writer = _Writer(application.stacks[stack].template)
    for path, given in places.items():
        writer.values[path] = writer.value(path, {slot.loops: value for slot, value in given.items()}, path)
    if writer.problems:
        raise InvalidInput(writer.problems)
    return splice(writer.template, writer.values | writer.mappings())


class _Writer:
    """Gathers what is spliced into one template, and the mappings that it takes."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.values: dict[Path, Value] = {}
        self.tables: dict[str, Value] = {}
        self.problems: list[Problem] = []
        section = template.root.get("Mappings")
        self.there = section if isinstance(section, MappingNode) else None

    def mappings(self) -> dict[Path, Value]:
        """The mappings, and where they go: into the template's section, or with a section of their own."""
        if not self.tables:
            return {}
        if self.there is None:
            return {("Mappings",): self.tables}
        return {("Mappings", name): table for name, table in self.tables.items()}

    def value(self, path: Path, given: dict[Loops, Value], name: Path) -> Value:
        """What stands at a path: the value if there is one for all, else what looks up that of a loop's item."""
        first = next(iter(given.values()))
        if all(value == first for value in given.values()):
            return first
        if isinstance(first, dict):
            parts = {loops: value for loops, value in given.items() if isinstance(value, dict)}
            return {
                key: self.value(path, {loops: value[key] for loops, value in parts.items()}, (*name, key))
                for key in first
            }
        variables = _deciding(given)
        loop = str(next(key for key in path if isinstance(key, str) and key.startswith(LOOP)))
        if variables is None:
            message = f"the {path[-1]} of its items depends on more than two loops, and a mapping has two keys"
            return self.refused(path, f"{loop}: {message}", "Write the outer loop out.")
        table: dict[str, dict[str, Value]] = {}
        for loops, value in given.items():
            items = [dict(loops)[variable] for variable in variables]
            wrong = next((item for item in items if not _MAP_KEY.fullmatch(item)), None)
            if wrong is not None:
                message = f"its items differ in {path[-1]}, and {wrong!r} cannot be a key of the mapping that they need"
                return self.refused(path, f"{loop}: {message}", "CloudFormation takes A-Z a-z 0-9 . - in keys.")
            table.setdefault(items[0], {})[items[1] if len(items) > 1 else "Value"] = value
        mapping = self.mapping_name(name)
        self.tables[mapping] = {**table}
        keys: list[Value] = [{"Ref": variable} for variable in variables]
        return {"Fn::FindInMap": [mapping, *(keys if len(keys) > 1 else [*keys, "Value"])]}

    def refused(self, path: Path, message: str, hint: str) -> Value:
        place = find(self.template.root, path[:2]) or self.template.root
        self.problems.append(self.template.problem(place, message, hint))
        return ""

    def mapping_name(self, path: Path) -> str:
        """A name that the template has not yet: of the loops, the resource and the property."""
        keys = [
            key.removeprefix(LOOP) for key in path if isinstance(key, str) and key not in {"Resources", "Properties"}
        ]
        name = re.sub("[^A-Za-z0-9]", "", "".join(keys))[:200]
        taken = {*self.tables, *(key.value for key, _ in self.there.named())} if self.there else {*self.tables}
        return next(each for each in (name, *(f"{name}{at}" for at in range(2, len(taken) + 3))) if each not in taken)


def _deciding(given: dict[Loops, Value]) -> tuple[str, ...] | None:
    """The one or two variables that decide the value, outermost first; None if it takes more."""
    names = [variable for variable, _ in next(iter(given))]
    for chosen in (*itertools.combinations(names, 1), *itertools.combinations(names, 2)):
        seen: dict[tuple[str, ...], Value] = {}
        if all(seen.setdefault(_chosen(loops, chosen), value) == value for loops, value in given.items()):
            return chosen
    return None


def _chosen(loops: Loops, variables: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict(loops)[variable] for variable in variables)
