"""Have AWS asked something of a target, by a program of `stages.deploy`: nothing of AWS is loaded here, and nothing is changed there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed
from pipeline.variables import variables

if TYPE_CHECKING:
    from pipeline.credentials import Lender
    from stages.contract import Access, Target


def ask(
    question: str, target: Target, access: Access, lender: Lender | None, timeout_s: float, **more: Any
) -> tuple[Any, list[str]]:
    """Give the answer, and what could not be looked at on the way to it. `question` is one of `stages.deploy.__main__`, `more` what it
    takes besides.

    `lender` lends the credentials for it; without one they are found where AWS's tools look. Raises StageFailed.
    """
    given = json.dumps({"target": asdict(target), "access": asdict(access), **more})
    argv = [sys.executable, "-I", "-m", "stages.deploy", question]
    with tempfile.TemporaryDirectory(prefix="towpath-") as folder, lender or nullcontext() as lent:
        handed = variables(os.environ, {"network", "credentials"}, target, Path(folder), lent)
        try:
            done = subprocess.run(
                argv,
                input=given,
                capture_output=True,
                text=True,
                check=False,
                env=handed,
                cwd=folder,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            text = f"AWS was asked about {target.environment}, and had not answered after {timeout_s:.0f} s"
            raise StageFailed(text) from error
    return _read(done, target.environment)


def _read(done: subprocess.CompletedProcess[str], environment: str) -> tuple[Any, list[str]]:
    """What the program printed: lines of log, and last the answer; or, on standard error, why there is none."""
    try:
        failure = json.loads(done.stderr.splitlines()[-1]) if done.returncode else None
        *said, answer = [{}] if failure else map(json.loads, done.stdout.splitlines())
        skipped = [str(each["message"]) for each in said if each.get("skipped")]
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise StageFailed(f"{environment}: {done.stderr[-500:] or done.returncode}") from error
    if failure:
        raise StageFailed(f"{environment}: {failure['message']}", hint=failure["hint"])
    return answer, skipped
