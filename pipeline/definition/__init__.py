"""From pipeline.yaml to a validated Definition: load, read into the model, check.

The form of the file is in docs/reference/pipeline-yaml.md; the words and types of its keys are in `model` and stages.kinds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.beneath import LINK_HINT, Refused, dead_link, plain_name
from pipeline.definition import approvals, check, draft, loading
from pipeline.definition.hints import closest, in_order
from pipeline.definition.model import Definition, Environment, Parameter, Stage
from pipeline.definition.written import as_written
from pipeline.errors import InvalidDefinition
from stages.contract import Problem

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Definition", "Environment", "Parameter", "Stage", "load"]


def load(path: Path, project: Path) -> Definition:
    """Read the definition `path`, which must be in the directory `project`. Raises InvalidDefinition with all problems."""
    loaded = loading.load(_name(path, project), project)
    document = as_written(loaded.value, loaded.positions)
    drafted, problems = draft.read(document, loaded.positions)
    checked = check.check(drafted, loaded.positions) if drafted else check.Checked()
    gated = approvals.read(drafted, loaded.positions, project) if drafted else approvals.Gated()
    files = {**loaded.files, **gated.files}
    problems += checked.problems + gated.problems
    if problems or drafted is None:
        raise InvalidDefinition(in_order(problems, files))
    return Definition(
        name=drafted.name,
        parameters=drafted.parameters,
        environments=drafted.environments,
        secrets=drafted.secrets,
        stages=drafted.stages,
        rules=gated.rules,
        wiring=checked.wiring,
        document=document,
        files=files,
        positions=loaded.positions,
        warnings=tuple(in_order(checked.warnings, files)),
        isolation=drafted.isolation,
        notifications=drafted.notifications,
    )


_SAMS = ("template", "samconfig")
"""What AWS SAM CLI calls its files, which are no definitions."""


def _name(path: Path, project: Path) -> str:
    """The name of a definition that is there, relative to the project."""
    if not path.exists():
        if dead := dead_link(path.parent, path.name):
            raise InvalidDefinition([Problem(dead, hint=LINK_HINT)])
        there = [each for each in path.parent.glob("*.y*ml") if each.stem not in _SAMS]
        nearest = closest(path.name, [each.name for each in there])
        made = "A new project is made by: towpath init"
        if any(path.parent.glob(f"{_SAMS[0]}.*")):
            made = "A pipeline for the template that is here is made by: towpath init --from-sam"
        here = "Call Towpath in the directory that holds it, or name the file."
        here = f"Did you mean {nearest!r}?" if nearest else f"{here} {made}"
        raise InvalidDefinition([Problem(f"there is no file {str(path)!r}", hint=here)])
    name = os.path.relpath(os.path.realpath(path), os.path.realpath(project))
    try:
        return plain_name(name)
    except Refused:
        hint = "Keep the definition inside the project, so that both are recorded together."
        raise InvalidDefinition(
            [Problem(f"{str(path)!r} is not in the project directory {str(project)!r}", hint=hint)]
        ) from None
