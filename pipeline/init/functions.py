"""Add a function to a project that is there: its folder, its entry in the template, and what the smoke test asks of it.

The template and the requests file keep every byte that they have.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline import beneath
from pipeline.errors import InvalidDefinition, UsageError
from pipeline.init import render, writing
from pipeline.init.runtimes import RUNTIMES, Runtime
from stages import template as templates
from stages.contract import InvalidInput
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.init.choices import Function

_BASE = re.compile(r"^ARG ([A-Z]+_BASE)=(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """What is going to be written: new files, files that get more, and requests that their file cannot take by itself."""

    new: Mapping[str, bytes]
    changed: Mapping[str, bytes]
    by_hand: str | None = None


@dataclass(frozen=True)
class Begun:
    """What the functions of a project begin from, if they agree: a runtime, and a base image for it."""

    runtime: Runtime
    base_image: str


def begun(project: Path, template: str) -> Begun | None:
    """Tell what the functions that `towpath init` made beside a template begin from; None if there are none, or several runtimes."""
    found: dict[str, Begun] = {}
    for file in sorted((project / template).parent.glob("functions/*/Dockerfile")):
        match = _BASE.search(file.read_text(encoding="utf-8", errors="replace"))
        runtime = next((each for each in RUNTIMES.values() if match and each.argument == match[1]), None)
        if match and runtime:
            found.setdefault(runtime.name, Begun(runtime, match[2]))
    return next(iter(found.values())) if len(found) == 1 else None


def has_api(project: Path, template: str) -> bool:
    """Tell whether a function of the template is behind an API."""
    return re.search(rb"\bType['\"]?:\s*['\"]?Api\b", _read(project, template)) is not None


def plan(project: Path, template: str, requests: str | None, function: Function, begin: Begun, *, api: bool) -> Plan:
    """Decide what to write. Raises UsageError, InvalidDefinition if the template cannot take the function."""
    folder = posixpath.dirname(template)
    new = render.function(function, begin.runtime, begin.base_image, api=api)
    changed = {template: _with_function(_read(project, template), template, function, api=api)}
    smoke = render.smoke(function, api=api).replace(": functions/", f": {posixpath.join(folder, 'functions')}/")
    by_hand = smoke
    if requests is not None:
        asked = _with_requests(_read(project, requests), smoke)
        if asked:
            changed[requests], by_hand = asked, ""
    return Plan({posixpath.join(folder, name): data for name, data in new.items()}, changed, by_hand.strip() or None)


def write(project: Path, wanted: Plan) -> None:
    """Write all of it, or nothing. Raises UsageError."""
    before = {name: (project / name).read_bytes() for name in wanted.changed}
    writing.add(project, wanted.new)
    try:
        for name, data in wanted.changed.items():
            _replace(project / name, data)
    except BaseException as error:
        for name, data in before.items():
            _replace(project / name, data)
        shutil.rmtree(project / posixpath.commonpath(wanted.new))
        if isinstance(error, OSError):
            raise UsageError(f"cannot be written: {error.strerror}", where=str(error.filename)) from error
        raise


def _with_function(data: bytes, file: str, function: Function, *, api: bool) -> bytes:
    """The template with an entry as `template.yaml` of a new project has it."""
    form = templates.read(render.template(function, api=api), "the new function")
    entries = [("Resources", function.id), *([("Outputs", function.output)] if api else [])]
    try:
        for section, key in entries:
            node = templates.find(form.root, (section, key))
            assert node is not None  # noqa: S101 - the form has what it is made for
            data = templates.appended(templates.read(data, file), section, key, templates.node_text(form, node))
    except InvalidInput as error:
        raise InvalidDefinition(error.problems) from error
    return data


def _with_requests(data: bytes, entries: str) -> bytes | None:
    """The requests file with more entries; None if it is written so that they cannot just be put below the others."""
    newline = "\r\n" if b"\r\n" in data else "\n"
    gap = "" if data.endswith(b"\n") else newline
    longer = data + (gap + entries.replace("\n", newline)).encode()
    try:
        before, after, added = (yaml.safe_load(each) for each in (data, longer, entries))
    except yaml.YAMLError:
        return None
    return longer if isinstance(before, list) and after == before + added else None


def _read(project: Path, name: str) -> bytes:
    try:
        return beneath.read(project, name, LIMITS.yaml_bytes).data
    except beneath.Refused as refused:
        raise UsageError(str(refused), where=name, hint=refused.hint) from refused


def _replace(path: Path, data: bytes) -> None:
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=".towpath-init-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        shutil.copymode(path, name)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
