"""Where the embedded AWS answers; started first if it does not run. It is a program of its own: `python -m stages.embedded`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed

if TYPE_CHECKING:
    from collections.abc import Callable


def call(action: str, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Run `start`, `stop` or `status` and give what it answers. Raises StageFailed if it cannot be done."""
    argv = [sys.executable, "-I", "-m", "stages.embedded", action, "--json", "--progress"]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: a daemon that is half started helps nobody
    )
    said: list[str] = []
    with process:
        assert process.stdout and process.stderr  # noqa: S101, PT018 - both are pipes
        for line in process.stderr:
            said.append(line.rstrip())
            if not line.startswith("{"):  # an error, which is told below
                on_progress(said[-1])
        answer = process.stdout.read()
    try:
        value = json.loads(answer) if process.returncode == 0 else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _failed(action, said, process.returncode)
    return value


def _failed(action: str, said: list[str], status: int) -> StageFailed:
    """Give the error that the program told, or what it said last."""
    try:
        error = json.loads(said[-1])
        text, hint = str(error["message"]), error["hint"]
    except (IndexError, ValueError, KeyError, TypeError):
        text, hint = "\n".join(said[-10:]) or f"exit code {status}", None
    text = text.removeprefix(f"the embedded AWS did not {action}: ")
    return StageFailed(
        f"the embedded AWS did not {action}: {text}", hint=hint or "Look closer with: towpath embedded status"
    )


def endpoint(on_progress: Callable[[str], None]) -> str:
    """Give the URL at which the embedded AWS answers, started if need be. Raises StageFailed."""
    return str(call("start", on_progress)["endpoint_url"])
