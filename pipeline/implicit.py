"""A plan for a command that calls kinds of stages without a pipeline: `towpath build`. It is run and recorded like any other.

Nothing here knows `pipeline.yaml`, which is why such a command starts fast.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import beneath
from pipeline.errors import UsageError
from pipeline.plan import Auth, Plan, PlannedStage, SecretSource
from pipeline.record import digest
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stages.contract import Target


@dataclass(frozen=True)
class Step:
    """One stage, named after its kind. `auth` are all roles of its environment, of which it gets its own. `options` are of the types that the kind says; what is left out has its default.

    `contents` are the bytes of files that options name and that are not to be read in the project.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    target: Target | None = None
    profile: str | None = None
    rules: dict[str, Any] | None = None
    secrets: dict[str, SecretSource] = field(default_factory=dict)
    auth: Auth | None = None
    contents: dict[str, bytes] = field(default_factory=dict)


def compile_plan(name: str, steps: Sequence[Step], project: Path) -> tuple[Plan, dict[str, bytes]]:
    """Give the plan of steps that follow one another, and the bytes of the files they name. Raises UsageError.

    A step takes its inputs from the last one before it that gives them.
    """
    contents: dict[str, bytes] = {}
    stages: dict[str, PlannedStage] = {}
    for step in steps:
        files = _read(step, project)
        contents |= {digest.of_bytes(data): data for data in files.values()}
        stages[step.kind] = _stage(step, stages, {path: digest.of_bytes(data) for path, data in files.items()})
    return Plan(name, {}, {}, stages), contents


def _stage(step: Step, before: dict[str, PlannedStage], files: dict[str, str]) -> PlannedStage:
    kind = KINDS[step.kind]
    givers = {output: stage.name for stage in before.values() for output in stage.outputs}
    chosen = [each for each in reversed(givers) if each in kind.takes_one_of][:1]
    inputs = () if kind.in_place_of_inputs in step.options else (*kind.inputs, *chosen)
    defaults = {option.name: option.default for option in kind.options if option.default is not None}
    return PlannedStage(
        name=step.kind,
        kind=step.kind,
        needs=list(before)[-1:],
        options=defaults | step.options,
        inputs={each: givers[each] for each in inputs},
        target=step.target,
        profile=step.profile,
        timeout_s=LIMITS.stage_timeout_s,
        idempotent=kind.idempotent,
        files=files,
        rules=step.rules,
        secrets=step.secrets,
        auth=_own(step),
    )


def _own(step: Step) -> Auth | None:
    """The roles that the phases of a step sign in by. Raises UsageError if one is missing: nothing else may be used in its place."""
    keys = KINDS[step.kind].roles
    if step.auth is None or not keys:
        return None
    missing = next((key for key in keys if key not in step.auth.roles), None)
    if missing:
        name = step.target.environment if step.target else ""
        hint = f"Add to its `auth`: roles: {{{missing}: arn:aws:iam::…:role/…}}, or a `role` for all that have none of their own."
        raise UsageError(f"the environment {name!r} has no role for {missing}", hint=hint)
    return dataclasses.replace(step.auth, roles={key: step.auth.roles[key] for key in keys})


def _read(step: Step, project: Path) -> dict[str, bytes]:
    """Read the files that a step's options name, of folders all files."""
    files: dict[str, bytes] = {}
    for option in KINDS[step.kind].options:
        if option.type not in ("file", "folder") or option.name not in step.options:
            continue
        path = str(step.options[option.name])
        if path in step.contents:
            files[path] = step.contents[path]
            continue
        try:
            if option.type == "folder":
                files |= beneath.read_folder(project, path, LIMITS.folder_files, LIMITS.folder_bytes)
            else:
                files[path] = beneath.read(project, path, LIMITS.yaml_bytes).data
        except beneath.Refused as error:
            raise UsageError(f"{option.name}: {error}", hint=error.hint) from error
    return files
