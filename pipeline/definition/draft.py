"""Read loaded values into the model, as far as they are of its form.

A stage with a misspelt key is still a stage: what is right in it is kept, so that one reading finds all mistakes. What
had to be left out of an entry makes the entry `broken`, so that no mistake is told that only follows from another.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

import pipeline
from pipeline.definition import messages
from pipeline.definition.expressions import is_expression
from pipeline.definition.hints import MOST_PROBLEMS, closest, described, dotted
from pipeline.definition.model import VERSION, Document, Environment, Notification, Parameter, Person, Secret, Stage
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from pipeline.definition.model import Isolation
    from pipeline.definition.positions import Path, Positions

    Entry = TypeVar("Entry", bound=BaseModel)

_PLACEHOLDERS = {"Environment": {"account": "000000000000", "region": "no-region-0"}}
"""What stands for a required value that is bad, so that the rest of its entry can be looked at."""

SECTIONS = ("parameters", "environments", "secrets", "people", "groups", "stages")


@dataclass(frozen=True)
class Draft:
    """What of a definition could be read. `names` also has the names of entries that could not be read at all."""

    name: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    stages: Mapping[str, Stage] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signers: str | None = None
    isolation: Isolation = "best-effort"
    notifications: tuple[Notification, ...] = ()
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    broken: frozenset[tuple[str, str]] = frozenset()


def read(document: Any, positions: Positions) -> tuple[Draft | None, list[Problem]]:
    """Give what can be read and all problems of form; no draft if there is too little to look at any further."""
    if not isinstance(document, dict):
        return None, [Problem(f"a definition is a map, not {described(document)}", *positions.value())]
    newer = _newer_version(document, positions)
    if newer:
        return None, [newer]
    finders = (_empty, _misplaced, _malformed)
    told = [each for find in finders for each in itertools.islice(find(document, positions), MOST_PROBLEMS)]
    return _draft(document, {path for path, _ in told}), [problem for _, problem in told]


def _newer_version(document: dict[str, Any], positions: Positions) -> Problem | None:
    """The version is looked at first: nothing else can be judged by rules of another one."""
    version = document.get("version")
    if type(version) is int and version > VERSION:
        hint = f"Towpath {pipeline.__version__} reads version {VERSION}. Take a newer one."
        return Problem(f"this definition is of version {version}", *positions.value("version"), hint)
    return None


def _empty(document: dict[str, Any], positions: Positions) -> Iterator[tuple[Path, Problem]]:
    for path, value in _known_values(document):
        if value is None and path[2:3] != ("with",):
            hint = "Remove the key, or give it a value."
            if path[0] == "environments" and path[2:3] in (("parameters",), ("tags",)) and len(path) == 4:
                hint = 'Write "" if it shall be the empty text.'
            yield path, Problem(f"{dotted(path)} is empty", *positions.key(*path), hint)


def _misplaced(document: dict[str, Any], positions: Positions) -> Iterator[tuple[Path, Problem]]:
    for path, value in _known_values(document):
        if is_expression(value) and not _takes_expressions(path):
            hint = "Expressions stand in values of `with` and of environments' `parameters`."
            yield path, Problem(f"{dotted(path)} takes no expressions", *positions.value(*path), hint)


def _malformed(document: dict[str, Any], positions: Positions) -> Iterator[tuple[Path, Problem]]:
    """What pydantic finds, less what `_empty` and `_misplaced` say better."""
    version = document.get("version", VERSION)
    if isinstance(version, (float, bool)):  # both can be equal to 1, and pydantic takes them for it
        place = positions.value("version")
        yield ("version",), Problem(f"version must be {VERSION}, not {described(version)}", *place)
    try:
        Document.model_validate(document)
    except ValidationError as error:
        for each in messages.without_misspelt(error.errors(include_url=False)):
            value_is_bad = each["type"] not in ("missing", "extra_forbidden")
            if not (value_is_bad and (each["input"] is None or is_expression(each["input"]))):
                yield each["loc"], messages.problem(each, positions)


def _takes_expressions(path: Path) -> bool:
    return (path[0] == "stages" and path[2:3] == ("with",)) or (
        path[0] == "environments" and path[2:3] == ("parameters",)
    )


def _known_values(document: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every value in a document that is no map and no list; none below keys that nobody knows."""
    return _values({key: value for key, value in document.items() if key in Document.model_fields}, ())


def _values(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _values(each, (*path, index))
    elif path:
        yield path, value


def _draft(document: dict[str, Any], bad: set[Path]) -> Draft | None:
    """The parts of a document that can be read once what is bad is left out."""
    if any((section,) in bad or not isinstance(document.get(section, {}), dict) for section in SECTIONS):
        return None
    if any(closest(str(path[0]), SECTIONS) for path in bad if path[0] not in Document.model_fields):
        return None

    def entries(section: str, model: type[Entry]) -> dict[str, Entry]:
        read = {name: _entry(model, (section, name), entry, bad) for name, entry in document.get(section, {}).items()}
        return {name: entry for name, entry in read.items() if entry is not None}

    return Draft(
        name=str(document.get("name")),
        parameters=entries("parameters", Parameter),
        environments=entries("environments", Environment),
        secrets=entries("secrets", Secret),
        stages=entries("stages", Stage),
        people=entries("people", Person),
        groups=_groups(document, bad),
        signers=None if ("signers",) in bad else document.get("signers"),
        isolation="best-effort" if ("isolation",) in bad else document.get("isolation", "best-effort"),
        notifications=_notifications(document, bad),
        names={section: frozenset(document.get(section, {})) for section in SECTIONS},
        broken=frozenset((str(path[0]), str(path[1])) for path in bad if path[0] in SECTIONS),
    )


def _notifications(document: dict[str, Any], bad: set[Path]) -> tuple[Notification, ...]:
    """All of them, or none where one is not of its form: of it alone is told then."""
    found = document.get("notifications", [])
    if not isinstance(found, list) or any(path[0] == "notifications" for path in bad):
        return ()
    return tuple(Notification.model_validate(each) for each in found)


def _groups(document: dict[str, Any], bad: set[Path]) -> dict[str, tuple[str, ...]]:
    read = {path[1] for path in bad if path[0] == "groups" and len(path) > 1}
    return {name: tuple(names) for name, names in document.get("groups", {}).items() if name not in read}


def _entry(model: type[Entry], path: Path, entry: Any, bad: set[Path]) -> Entry | None:
    if not isinstance(entry, dict):
        return None
    bad_keys = {each[2] for each in bad if each[:2] == path and len(each) > 2}
    kept = {key: value for key, value in entry.items() if key not in bad_keys}
    try:
        return model.model_validate({**_PLACEHOLDERS.get(model.__name__, {}), **kept})
    except ValidationError:
        return None
