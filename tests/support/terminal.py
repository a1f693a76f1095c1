"""Somebody at a terminal: a command on a pseudo-terminal, and the answers to what it asks."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True)
class Said:
    """How a command ended, and all that was to be read on the terminal, without what only drives it."""

    code: int
    text: str


def talk(
    argv: list[str], cwd: Path, environment: dict[str, str], answers: list[tuple[str, str]], timeout_s: float = 120
) -> Said:
    """Run a command at a terminal. `answers` are its questions in their order, each with what is typed then (Enter comes after it).

    Fails if the command ends, or time runs out, before everything was asked.
    """
    process, terminal = pty.fork()
    if process == 0:
        try:
            os.chdir(cwd)
            os.execve(argv[0], argv, environment)  # noqa: S606 - it is what a pseudo-terminal is for
        finally:
            os._exit(127)
    try:
        text = _converse(terminal, answers, time.monotonic() + timeout_s)
    finally:
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Said(code, text)


def _converse(terminal: int, answers: list[tuple[str, str]], until: float) -> str:
    said, heard, left = "", 0, list(answers)
    raw = b""
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            new = os.read(terminal, 1 << 16)
        except OSError:  # Linux: whoever was at the other end has gone
            new = b""
        if not new:
            assert not left, f"was never asked: {left[0][0]!r}\n{said[-4000:]}"
            return said
        raw += new
        said = _CONTROLS.sub("", raw.decode(errors="replace"))
        while left and (at := said.find(left[0][0], heard)) >= 0:
            heard = at + len(left[0][0])
            os.write(terminal, f"{left.pop(0)[1]}\n".encode())
    raise AssertionError(f"still running; not asked: {left}\n{said[-4000:]}")
