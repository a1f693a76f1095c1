"""The functions of an application as they are configured: what a template's properties come to before it is deployed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages import template as templates
from stages.contract import InvalidInput, StageError
from stages.local import variables
from stages.runtime.model import Function as Runnable
from stages.template.functions import global_default, own_or_global
from stages.template.resolve import Unresolvable, call, resolve, text
from stages.template.resources import find
from stages.template.tree import Mapping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping as Map
    from pathlib import Path

    from stages.contract import Problem
    from stages.template import Application, Function, Template
    from stages.template.resolve import Value
    from stages.template.resources import Resource
    from stages.template.tree import Node

ACCOUNT = "123456789012"
STACK = "local"


@dataclass(frozen=True)
class Place:
    """Where functions believe to be. `overrides` are values of the template's parameters."""

    region: str
    overrides: dict[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters and pseudo parameters of the root template."""
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NotificationARNs": "",
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackId": f"arn:aws:cloudformation:{self.region}:{ACCOUNT}:stack/{STACK}/local",
            "AWS::StackName": STACK,
            "AWS::URLSuffix": "amazonaws.com",
        }
        return pseudo | self.overrides


@dataclass(frozen=True)
class Configured:
    """A function and what it is to run as, but for its image. `notes` are what could not be told from the template."""

    function: Function
    runnable: Runnable
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.function.id


def load(root: Path, file: str, place: Place) -> Application:
    """Load the application of a template below the project's root. Raises InvalidInput with every mistake in it."""

    def read(name: str) -> bytes:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            raise templates.Unreadable("is outside the project")
        try:
            return path.read_bytes()
        except OSError as error:
            raise templates.Unreadable(f"cannot be read: {error.strerror or error}") from error

    application, problems = templates.load(read, file, place.parameters)
    if problems:
        raise InvalidInput(problems)
    if not application.functions:
        hint = "Give a function `PackageType: Image`: functions that are zip archives are not run here."
        raise InvalidInput(
            [application.root.problem(application.root.root, "the template has no image function", hint)]
        )
    return application


def choose(application: Application, name: str | None) -> Function:
    """The function that a name means: an id, `Child/Fn`, a logical id or a FunctionName. Without a name, the only one."""
    functions = application.functions
    if name is None:
        if len(functions) == 1:
            return functions[0]
        raise StageError(
            f"the template has {len(functions)} functions", hint=f"Name one: {_names(functions)}", cls="invalid"
        )
    exact = [each for each in functions if each.id == name]
    found = exact or [each for each in functions if name in (_last(each), stated_name(application, each))]
    if len(found) == 1:
        return found[0]
    close = difflib.get_close_matches(name, [each.id for each in functions], n=1)
    hint = f"Did you mean {close[0]}?" if close and not found else f"Its functions are: {_names(found or functions)}"
    what = f"{name!r} names {len(found)} functions" if found else f"there is no image function {name!r}"
    raise StageError(f"{what} in {application.root.file}", hint=hint, cls="invalid")


def _names(functions: list[Function]) -> str:
    return ", ".join(each.id for each in functions)


def _last(function: Function) -> str:
    return function.id.rpartition("/")[2]


def stated_name(application: Application, function: Function) -> str | None:
    """The FunctionName of a function, if it has one that is known here."""
    resource = resource_of(application, function)
    node = find(resource.node, ("Properties", "FunctionName"))
    try:
        value = resolve(node, resource.scope) if node is not None else None
    except Unresolvable:
        return None
    return value if isinstance(value, str) else None


def resource_of(application: Application, function: Function) -> Resource:
    """The resource that a function is."""
    return next(
        each
        for each in application.stacks[function.stack].resources
        if each.path == function.path and each.scope.loops == function.loops
    )


def configure(application: Application, function: Function, place: Place, given: Map[str, str]) -> Configured:
    """What a function is to run as. `given` are variables that replace those of the template, or add to them.

    Raises InvalidInput for what Lambda would refuse.
    """
    reader = _Reader(application, function)
    stated, notes = reader.variables()
    own = stated | dict(given)
    reader.problems += variables.refused(application.stacks[function.stack].template, reader.resource, stated)
    runnable = Runnable(
        name=stated_name(application, function) or _last(function),
        image="",
        account=ACCOUNT,
        region=place.region,
        memory_mb=reader.number("MemorySize", 128, 128, 32_768),
        timeout_s=float(reader.number("Timeout", 3, 1, 900)),
        storage_mb=reader.number("EphemeralStorage", 512, 512, 10_240, within="Size"),
        variables=own,
        command=reader.texts("Command"),
        entrypoint=reader.texts("EntryPoint"),
        working_directory=reader.text("WorkingDirectory"),
    )
    if reader.problems:
        raise InvalidInput(reader.problems)
    return Configured(function, runnable, tuple(note for name, note in notes if name not in given))


class _Reader:
    """Reads the properties of one function, and gathers what is wrong with them."""

    def __init__(self, application: Application, function: Function) -> None:
        self.template: Template = application.stacks[function.stack].template
        self.application, self.function = application, function
        self.resource = resource_of(application, function)
        self.problems: list[Problem] = []

    def number(self, name: str, default: int, least: int, most: int, within: str | None = None) -> int:
        """A whole number, as Lambda takes it."""
        node = self._property(name, within)
        value = self._resolved(node, name)
        if value is None or node is None:
            return default
        if not isinstance(value, str) or not value.isdecimal() or not least <= int(value) <= most:
            self._wrong(node, f"{name} is {value!r}, and must be a whole number from {least:,} to {most:,}")
            return default
        return int(value)

    def texts(self, name: str) -> list[str] | None:
        """A list of texts within ImageConfig."""
        node = self._property("ImageConfig", name)
        value = self._resolved(node, name)
        if value is None or node is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._wrong(node, f"{name} must be a list of texts")
            return None
        return [str(each) for each in value]

    def text(self, name: str) -> str | None:
        """A text within ImageConfig."""
        node = self._property("ImageConfig", name)
        value = self._resolved(node, name)
        if isinstance(value, list | dict) and node is not None:
            self._wrong(node, f"{name} must be a text")
        return value if isinstance(value, str) else None

    def variables(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """The function's variables that are known here, and a note on each that is not, or only by a stand-in."""
        found: dict[str, str] = {}
        notes: dict[str, str] = {}
        for section in (global_default(self.template, self.resource, "Environment"), self._property("Environment")):
            for key, node in _named(find(section, ("Variables",))):
                notes.pop(key, None)
                found.pop(key, None)
                try:
                    value = resolve(node, self.resource.scope)
                except Unresolvable as error:
                    stand_in = self._logical_id(node)
                    if stand_in is not None:
                        found[key] = stand_in
                        notes[key] = (
                            f"{key} is {stand_in!r} here: its value is known only when it is deployed. Set it with --env-vars"
                        )
                    else:
                        notes[key] = f"{key} is not set: {error.message}. Set it with --env-vars"
                    continue
                if isinstance(value, str):
                    found[key] = value
                elif value is not None:
                    self._wrong(node, f"the variable {key} must be a text")
        return found, list(notes.items())

    def _logical_id(self, node: Node) -> str | None:
        """The logical id of the resource that a Ref names."""
        name, argument = call(node) or ("", node)
        target = text(argument) if name == "Ref" else None
        known = {each.id for each in self.application.stacks[self.function.stack].resources}
        return target if target in known else None

    def _property(self, name: str, within: str | None = None) -> Node | None:
        node = own_or_global(self.template, self.resource, name)
        return find(node, (within,)) if within else node

    def _resolved(self, node: Node | None, name: str) -> Value:
        try:
            return resolve(node, self.resource.scope) if node is not None else None
        except Unresolvable as error:
            self._wrong(error.node, f"{name} cannot be told: {error.message}", error.hint)
            return None

    def _wrong(self, node: Node, message: str, hint: str | None = None) -> None:
        self.problems.append(self.template.problem(node, f"{self.function.id}: {message}", hint))


def _named(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, Mapping):
        yield from ((key.value, value) for key, value in node.named())
