"""What a shell offers when Tab is pressed: commands and options as click has them, and the names that a project has.

It has to be there at once, so nothing is loaded that is not needed: names are read off folders and off the definition as it is written,
without checking it. What cannot be read offers nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VARIABLE = "_TOWPATH_COMPLETE"
"""The variable by which a shell's script asks, as click names it."""
SHELLS = ("bash", "zsh", "fish")
_PATHS = ("FILE", "DIR", "FOLDER")
"""What help calls paths: the shell itself completes those."""
_MOST_RUNS = 50
_TEXT_BYTES = 1_048_576


def script(command: click.Command, shell: str) -> str:
    """Give the script by which a shell learns to complete the command."""
    return _of(command, shell).source()


def complete(command: click.Command, asked: str) -> int:
    """Print what is offered for the line that the shell has told in variables; `asked` is such as `bash_complete`. Give the exit code."""
    shell, _, what = asked.partition("_")
    if shell not in SHELLS or what != "complete":
        return 1
    try:
        text = _of(command, shell).complete()
    except Exception:  # noqa: BLE001 - whoever presses Tab is not to be told of what is wrong elsewhere
        return 1
    if text:
        click.echo(text)
    return 0


def _of(command: click.Command, shell: str) -> ShellComplete:
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all of them
    return made(command, {}, "towpath", VARIABLE)


def prepared(command: click.Command) -> click.Command:
    """Have a command offer the names that its parameters take."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            prepared(each)
    for parameter in command.params:
        offered = _OFFERED.get((command.name, parameter.name)) or _OFFERED.get((None, parameter.name))
        if offered:
            parameter.type = _Names(offered)
        elif parameter.metavar in _PATHS:
            parameter.type = click.Path(file_okay=parameter.metavar == "FILE")
    return command


class _Names(click.ParamType[Any]):
    """A text for which names are offered."""

    name = "text"

    def __init__(self, offered: Callable[[click.Context], Iterable[str]]) -> None:
        self.offered = offered

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del param
        return [CompletionItem(each) for each in self.offered(ctx) if each.startswith(incomplete)]


def _runs(context: click.Context) -> list[str]:
    """The last runs of a store that is a folder: asking a bucket takes too long."""
    place = _store(context)
    if place is None or not (place / "runs").is_dir():
        return []
    newest = sorted(os.listdir(place / "runs"), reverse=True)[:_MOST_RUNS]  # noqa: PTH208 - names are all that is wanted
    return ["latest", *newest]


def _store(context: click.Context) -> Path | None:
    named = context.params.get("store") or os.environ.get("TOWPATH_STORE")
    if named:
        return None if "://" in named else Path(named)
    return _project(context) / ".towpath" / "store"


def _project(context: click.Context) -> Path:
    file = context.params.get("file")
    return Path(file).parent if file else Path(context.params.get("project") or ".")


def _stages(context: click.Context) -> list[str]:
    return list(_section(context, "stages"))


def _environments(context: click.Context) -> list[str]:
    return list(_section(context, "environments"))


def _functions(context: click.Context) -> list[str]:
    """The image functions of the template, as it is written."""
    import yaml

    from pipeline.samconfig import TEMPLATES

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # as below
        pass

    Loader.add_multi_constructor("!", lambda *_: None)
    project = _project(context)
    named = context.params.get("template_file")
    file = project / named if named else next(each for each in map(project.joinpath, TEMPLATES) if each.is_file())
    resources = yaml.load(_text(file), Loader)["Resources"]  # noqa: S506 - it is a safe one
    return [name for name, each in resources.items() if each.get("Properties", {}).get("PackageType") == "Image"]


def _sources(_: click.Context) -> list[str]:
    from stages.local import events

    return sorted({each.source for each in events.kinds()})


def _types(context: click.Context) -> list[str]:
    from stages.local import events

    return [each.type for each in events.kinds() if each.source == context.params.get("source")]


def _section(context: click.Context, name: str) -> dict[str, Any]:
    """A section of the definition as it is written, a file that it includes put in."""
    import yaml

    project = _project(context)

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the stubs know only one of them
        pass

    Loader.add_constructor("!include", lambda _, node: project / str(node.value))
    document = yaml.load(_text(Path(context.params.get("file") or project / "pipeline.yaml")), Loader)  # noqa: S506 - it is a safe one
    section = document.get(name)
    if isinstance(section, Path):
        section = yaml.safe_load(_text(section))
    return section if isinstance(section, dict) else {}


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_TEXT_BYTES)


_OFFERED: dict[tuple[str | None, str | None], Callable[[click.Context], Iterable[str]]] = {
    (None, "run_id"): _runs,
    (None, "run_ids"): _runs,
    (None, "stage"): _stages,
    (None, "begins"): _stages,
    ("run", "names"): _stages,
    ("propose", "name"): _stages,
    ("apply", "name"): _stages,
    (None, "environment"): _environments,
    (None, "environments"): _environments,
    (None, "other"): _environments,
    ("invoke", "function"): _functions,
    ("generate-event", "source"): _sources,
    ("generate-event", "type_"): _types,
}
"""What is offered for a parameter, by its command, or in every command, and its name."""
