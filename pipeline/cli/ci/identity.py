"""Which run of a CI system this is: the same for all its jobs and all their attempts, and for no other run. Pure.

An identity is a line of text, its parts quoted as in URLs:

    github https://github.com owner/repository 1234567890
    given 0f3c2f6e-7d0a-4b5c-9c56-0c6f0c8f3a51 api

https://docs.github.com/en/actions/reference/workflows-and-actions/variables
https://docs.gitlab.com/ci/variables/predefined_variables/
https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
https://buildkite.com/docs/pipelines/configure/environment-variables
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTO = "auto"
GIVEN = "TOWPATH_RUN_IDENTITY"
"""What all jobs of one run share, where we do not know the system, or where it does not say."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = 1000


@dataclass(frozen=True)
class System:
    """A CI system: the variables by which it is known, and those that together name one run of it, or else those that do."""

    name: str
    known_by: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]


SYSTEMS = (
    # GITHUB_RUN_ID stays when a workflow is run again; GITHUB_RUN_ATTEMPT counts that.
    System("github", ("GITHUB_ACTIONS",), (("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"),)),
    System("gitlab", ("GITLAB_CI",), (("CI_SERVER_URL", "CI_PROJECT_ID", "CI_PIPELINE_ID"),)),
    System("buildkite", ("BUILDKITE",), (("BUILDKITE_BUILD_ID",),)),
    # BUILD_URL is there where Jenkins has been told its own address.
    System("jenkins", ("JENKINS_URL", "JENKINS_HOME"), (("BUILD_URL",), ("JOB_NAME", "BUILD_NUMBER"))),
)


def is_auto(text: str) -> bool:
    """Tell whether a run is named as the one of this CI run: `auto`, or `auto:NAME`."""
    return text == AUTO or text.startswith(f"{AUTO}:")


def identity(text: str, environ: Mapping[str, str]) -> str:
    """Give the identity that `auto` or `auto:NAME` means here. Raises UsageError where nothing says it."""
    name = text.removeprefix(AUTO).removeprefix(":")
    if text != AUTO and not _NAME.fullmatch(name):
        raise UsageError(f"--run {text!r}: a name is of letters, digits, dots, underscores and hyphens, at most 64")
    found = [*_parts(environ), *([name] if name else [])]
    line = " ".join(quote(each, safe="/:@") for each in found)
    if len(line) > _LONGEST:
        raise UsageError(f"what names this run of the CI system is longer than {_LONGEST:,} characters: {line[:80]}…")
    return line


def _parts(environ: Mapping[str, str]) -> list[str]:
    given = environ.get(GIVEN, "").strip()
    if given:
        return ["given", given]
    for system in SYSTEMS:
        if any(environ.get(each) for each in system.known_by):
            return [system.name, *_named_by(system, environ)]
    if environ.get("CODEBUILD_BUILD_ID"):
        text = "CodeBuild does not say which execution of a pipeline this is"
        hint = f"Give the action the variable {GIVEN} = #{{codepipeline.PipelineExecutionId}}"
        raise UsageError(text, hint=hint)
    hint = f"Set {GIVEN} to what all jobs of one run share, or name a run: --run RUN, --run new"
    raise UsageError("nothing says which run of a CI system this is", hint=hint)


def _named_by(system: System, environ: Mapping[str, str]) -> list[str]:
    for names in system.parts:
        values = [environ.get(each, "").strip() for each in names]
        if all(values):
            return values
    missing = next(each for each in system.parts[0] if not environ.get(each, "").strip())
    hint = f"Hand it into the container, if the job runs in one; or set {GIVEN}"
    raise UsageError(f"this runs on {system.name}, and {missing} is not set", hint=hint)
