"""GitHub's runner as it reads a log: which lines are commands, and what they are.

After src/Runner.Common/ActionCommand.cs and src/Runner.Worker/ActionCommandManager.cs of https://github.com/actions/runner.
Comparison is by culture there, so what cannot be seen is passed over.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

REGISTERED = {
    "add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher",
    "save-state", "set-env", "set-output", "stop-commands", "warning",
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    name: str
    properties: dict[str, str]
    data: str


@dataclass
class Log:
    """What came of a log: the commands that acted, and the lines that people see, each with the group it stands in."""

    acted: list[Command] = field(default_factory=list)
    shown: list[tuple[str | None, str]] = field(default_factory=list)


def read(text: str) -> Log:
    log, stopped, group = Log(), "", None
    for line in re.split(r"\r\n|\r|\n", text):
        command = _second(line, stopped) or _first(line, stopped)
        if command is None or (stopped and command.name != stopped):
            log.shown.append((group, line))
            continue
        log.acted.append(command)
        if command.name == stopped:
            stopped = ""
        elif command.name == "stop-commands":
            assert command.data
            assert command.data.lower() not in REGISTERED
            stopped = command.data.lower()
        elif command.name in ("group", "endgroup"):
            group = command.data if command.name == "group" else None
    return log


def _seen(line: str) -> str:
    return "".join(each for each in line if unicodedata.category(each) not in ("Cf", "Cc") or each in "\t\v\f")


def _second(line: str, stopped: str) -> Command | None:
    line = _seen(line).lstrip()
    if not line.startswith("::") or "::" not in line[2:]:
        return None
    info, _, data = line[2:].partition("::")
    name, _, rest = info.partition(" ")
    return _command(name, rest.split(","), data, stopped)


def _first(line: str, stopped: str) -> Command | None:
    _, prefix, after = _seen(line).partition("##[")
    info, bracket, data = after.partition("]")
    if not prefix or not bracket:
        return None
    name, _, rest = info.partition(" ")
    return _command(name, rest.split(";"), data, stopped)


def _command(name: str, properties: list[str], data: str, stopped: str) -> Command | None:
    if name.lower() not in REGISTERED | ({stopped} - {""}):
        return None
    given = dict(_unescaped(each).split("=", 1) for each in properties if "=" in each)
    return Command(name.lower(), given, _unescaped(data))


def _unescaped(text: str) -> str:
    for sign, value in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(sign, value)
    return text
