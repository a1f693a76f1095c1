"""GitLab: sections of a job's log. Its files, dotenv and JUnit, are named by the job, so by `--dotenv` and `--junit`.

https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.cli.ci.dress import Place, Told

KNOWN_BY = "GITLAB_CI"
_CLEAR = "\x1b[0K"


def begin(stage: str, mark: str) -> str:
    return f"{_CLEAR}section_start:{int(time.time())}:{_name(stage, mark)}\r{_CLEAR}{stage}\n"


def end(stage: str, mark: str) -> str:
    return f"{_CLEAR}section_end:{int(time.time())}:{_name(stage, mark)}\r{_CLEAR}\n"


def problem(level: str, message: str, place: Place) -> str:
    """GitLab annotates by reports alone."""
    del level, message, place
    return ""


def leave(told: Told, environ: Mapping[str, str]) -> None:
    del told, environ


def _name(stage: str, mark: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"towpath_{stage}_{mark[:8]}")
