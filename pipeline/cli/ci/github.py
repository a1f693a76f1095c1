"""GitHub Actions: groups, annotations, the step summary, the step's outputs.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.progress import plain
from pipeline.record import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.cli.ci.dress import Place, Told

KNOWN_BY = "GITHUB_ACTIONS"
_VIEW_CHARACTERS = 50_000
"""A step's summary may have 1 MiB, with all that other commands write there."""
_MESSAGE_CHARACTERS = 4000
"""An annotation is cut at some length; all of it stands in the log."""


def begin(stage: str, mark: str) -> str:
    """Within the group nothing is a command, whatever a stage says, until the mark comes."""
    return f"::group::{_data(stage)}\n::stop-commands::{mark}\n"


def end(stage: str, mark: str) -> str:
    del stage
    return f"::{mark}::\n::endgroup::\n"


def problem(level: str, message: str, place: Place) -> str:
    known = {"file": place.file, "line": place.line, "col": place.column, "title": "Towpath"}
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in known.items() if value is not None)
    return f"::{level} {properties}::{_data(plain(message)[:_MESSAGE_CHARACTERS])}\n"


def leave(told: Told, environ: Mapping[str, str]) -> None:
    for variable, text in (("GITHUB_OUTPUT", outputs(told)), ("GITHUB_STEP_SUMMARY", summary(told))):
        path = environ.get(variable)
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)


def outputs(told: Told) -> str:
    """Give the step's outputs, one a line: none of them can hold a line feed."""
    waiting = " ".join(each["stage"] for each in told.gates if each["state"] == "waiting")
    return "".join(f"{name}={_line(value)}\n" for name, value in {**values(told.state), "waiting": waiting}.items())


def values(state: dict[str, Any]) -> dict[str, str]:
    """Give what later jobs may want to know: the run, its state, and the digest of its release once there is one."""
    package = next((each for each in state["stages"].values() if digest.is_digest(each["facts"].get("release"))), None)
    return {"run": state["run"], "state": state["state"], "release": package["facts"]["release"] if package else ""}


def summary(told: Told) -> str:
    """Give the step's summary, as Markdown. What others have said stands in it as text."""
    state = told.state
    lines = [f"## {_text(state['name'])}: {state['state']}", "", f"Run {_code(state['run'])}", ""]
    lines += ["| stage | state | attempt | took | |", "|---|---|---|---|---|"]
    for name, stage in state["stages"].items():
        took = f"{stage['took_s']:.1f} s" if stage["took_s"] is not None else ""
        why = stage["failure"]["message"] if stage["failure"] else ""
        lines.append(f"| {_code(name)} | {stage['state']} | {stage['attempt'] or ''} | {took} | {_text(why)} |")
    images = list(_images(state))
    if images:
        lines += ["", "| stage | function | image |", "|---|---|---|"]
        lines += [f"| {_code(stage)} | {_code(name)} | {_code(image)} |" for stage, name, image in images]
    for gate in told.gates:
        lines += ["", *_gate(gate)]
    return "\n".join(lines) + "\n\n"


def _images(state: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, stage in state["stages"].items():
        functions = stage["facts"].get("functions")
        for function, each in functions.items() if isinstance(functions, dict) else ():
            image = each.get("image") or each.get("config") if isinstance(each, dict) else None
            if image:
                yield name, str(function), str(image)


def _gate(gate: dict[str, Any]) -> list[str]:
    run, stage = _line(gate["run"]), _line(gate["stage"])
    titles = {
        "waiting": "waits for approval: nothing is deployed",
        "open": "may be applied",
        "frozen": "is kept until a freeze is over: nothing is deployed",
        "locked": "is kept until the target is unlocked: nothing is deployed",
    }
    commands = {
        "waiting": [f"towpath approve {run} {stage} --reason '...'    # or: towpath reject", f"towpath resume {run}"],
        "open": [f"towpath stage apply {stage} --run {run}"],
        "frozen": [f"towpath resume {run}    # once that is over"],
        "locked": [f"towpath resume {run}    # once that is over"],
    }
    lines = [f"### {_code(stage)} {titles.get(gate['state'], gate['state'])}", ""]
    lines += [f"- {_text(reason)}" for reason in gate["reasons"]]
    if gate["state"] in commands:
        lines += ["", "```sh", *commands[gate["state"]], "```", "", "What is proposed:", ""]
        lines.append(f"<pre>{_escape(plain(gate['view'])[:_VIEW_CHARACTERS])}</pre>")
    return lines


def _text(text: str) -> str:
    """Text within a cell: no mark-up of Markdown's or HTML's, no end of the cell."""
    marks = str.maketrans({each: f"&#{ord(each)};" for each in "\\`*_{}[]()#+!|~@:/"})
    return _escape(plain(str(text))).translate(marks).replace("\n", "<br>")


def _code(text: str) -> str:
    return f"<code>{_escape(plain(str(text))).replace('|', '&#124;').replace(chr(10), ' ')}</code>"


def _line(text: str) -> str:
    """One line, whatever a record that nobody vouches for has for a name."""
    return " ".join(plain(text).split())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
