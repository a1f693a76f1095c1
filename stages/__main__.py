"""Run one phase of one stage in the current directory: `python -I -m stages KIND`."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.contract import Failure, InvalidInput, Result, StageError, read_request, write
from stages.kinds import KINDS

if TYPE_CHECKING:
    from stages.contract import Request


GARBAGE_AFTER = 50_000
"""Objects made until Python looks for garbage. What is made while it starts is none, and looking costs a tenth of the start."""


def main(kind: str) -> int:
    """Do what request.json asks, write result.json, and return 0 if it was done."""
    gc.set_threshold(GARBAGE_AFTER)
    work = Path.cwd()
    result = run(kind, read_request(work / "request.json"), work)
    write(work / "result.json", result)
    return 0 if result.outcome == "succeeded" else 1


def run(kind: str, request: Request, work: Path) -> Result:
    """Call the kind's function for the phase; whatever it raises becomes a failed result."""
    if kind != request.kind or request.phase not in KINDS[kind].phases:
        return _failed(Failure("fault", f"{kind!r} was asked for phase {request.phase!r} of {request.kind!r}"))
    try:
        module = importlib.import_module(f"stages.{kind}")
        result: Result = getattr(module, request.phase)(request, work)
    except InvalidInput as error:
        failure = Failure(error.cls, error.message, error.where, error.hint)
        return Result("failed", problems=error.problems, failure=failure)
    except StageError as error:
        return _failed(Failure(error.cls, error.message, error.where, error.hint))
    except Exception as error:  # noqa: BLE001 - the boundary of the process: anything else is a fault of ours, and says so
        traceback.print_exc()
        return _failed(Failure("fault", f"{type(error).__name__}: {error}"))
    return result


def _failed(failure: Failure) -> Result:
    return Result("failed", failure=failure)


def _leave(code: int) -> NoReturn:
    """End at once: the result is written, and to take itself apart takes the interpreter a sixth of a short deployment's phase."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1]))
