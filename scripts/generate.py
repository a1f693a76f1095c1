"""Write what is generated from the code: the JSON Schema, the reference of pipeline.yaml and that of the commands.

`--check` writes nothing, and exits with 1 if a file is not what it would write. `make fix` and `make check` call it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.cli.main import towpath
from pipeline.definition import reference, schema

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
COMMANDS_HEAD = """# Commands

Generated from the commands themselves: this is what `--help` prints.
"""


def main(*, check: bool) -> int:
    """Write the files that are not as they should be, or only name them. Give the exit code."""
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        sys.stderr.write(f"{'stale' if check else 'written'}: {path.relative_to(REFERENCE.parents[1])}\n")
        if not check:
            path.write_text(text)
    if check and stale:
        sys.stderr.write("Write them anew with: make fix\n")
    return int(check and bool(stale))


def generated() -> dict[Path, str]:
    """Give every generated file with its text."""
    definition = REFERENCE / "pipeline-yaml.md"
    return {
        REFERENCE / "pipeline.schema.json": schema.text(),
        definition: reference.renewed(definition.read_text()),
        REFERENCE / "commands.md": commands(),
    }


def commands() -> str:
    """Give the page of all commands, with those below another after it."""
    top = click.Context(towpath, info_name="towpath", terminal_width=100, **towpath.context_settings)
    return COMMANDS_HEAD + "".join(_section(towpath, top))


def _section(command: click.Command, context: click.Context) -> list[str]:
    parts = [f"\n## {context.command_path}\n\n```text\n{_plain(command.get_help(context))}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                parts += _section(child, click.Context(child, context, info_name=name))
    return parts


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main(check=sys.argv[1:] == ["--check"]))
