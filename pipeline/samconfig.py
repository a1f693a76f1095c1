"""AWS SAM CLI's configuration file: what a command's options are where the command line does not say them.

`samconfig.toml` is kept as SAM keeps it, so that both read it, https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-config.html:

    version = 0.1

    [default.deploy.parameters]           # environment, command with _ for - and spaces, "parameters"
    stack_name = "shop"
    parameter_overrides = "Stage=\"live\" Owner=\"team\""

    [default.global.parameters]           # for every command, its own table wins
    region = "eu-central-1"

SAM's files in YAML and JSON are read; TOML alone is written, and everything in it that is not ours stays as it was, comments too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

NAME = "samconfig"
SUFFIXES = (".toml", ".yaml", ".yml", ".json")
"""In the order in which SAM looks for them."""
DEFAULT_FILE = f"{NAME}.toml"
DEFAULT_ENVIRONMENT = "default"
EVERY_COMMAND = "global"
SECTION = "parameters"
VERSION = 0.1
TEMPLATES = ("template.yaml", "template.yml", "template.json")
"""The templates of a project that names none, in the order in which SAM looks for them."""
BUILT = ".aws-sam"
"""The folder in which SAM puts what it builds: a template in it is not the project's own."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Config:
    """The options that a file gives a command. `file` is None where there is none; `own` are those of the command's own table."""

    file: Path | None = None
    environment: str = DEFAULT_ENVIRONMENT
    values: dict[str, Any] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    command: str = EVERY_COMMAND

    def where(self, key: str) -> str:
        """The file, and the line that seems to say it: that of the command's table in TOML, if it does."""
        if self.file is None:
            return key
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=:]""")
        found: dict[str, int] = {}
        table = ""
        for number, text in enumerate(self.file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if text.startswith("["):
                table = text.strip().strip("[]")
            elif pattern.match(text):
                found.setdefault(table, number)
        here = f"{self.environment}.{self.command if key in self.own else EVERY_COMMAND}.{SECTION}"
        line = found.get(here) or next(iter(found.values()), None)
        return f"{self.file}:{line}" if line else str(self.file)


def find(folder: Path) -> Path | None:
    """Give the file that SAM would take in a folder, None if there is none."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{NAME}{suffix}").is_file()), None)


def template(project: Path) -> str:
    """The template of a project that names none. Raises UsageError."""
    for name in TEMPLATES:
        if (project / name).is_file():
            return name
    hint = "Name it: --template FILE, from the project's folder. A project elsewhere: --project FOLDER"
    raise UsageError(f"there is no {TEMPLATES[0]} in {project}", hint=hint)


def environments(file: Path) -> list[str]:
    """Give the environments of a file, in its order. Raises UsageError."""
    return [key for key, value in _document(file).items() if isinstance(value, dict)]


def read(file: Path, environment: str | None, command: str) -> Config:
    """Read what a file gives a command in an environment; the default one may be missing. Raises UsageError."""
    document = _document(file)
    name = environment or DEFAULT_ENVIRONMENT
    if environment and not isinstance(document.get(environment), dict):
        known = [key for key, value in document.items() if isinstance(value, dict)]
        hint = f"It has: {', '.join(known)}." if known else "It has none."
        raise UsageError(f"there is no environment {environment!r}", where=str(file), hint=hint)
    every, own = (_table(file, document, name, each) for each in (EVERY_COMMAND, command))
    return Config(file, name, {**every, **own}, frozenset(own), command)


def _document(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes()[: _MOST_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"the configuration cannot be read: {reason}", where=str(file)) from error
    if len(text) > _MOST_BYTES:
        raise UsageError(f"the configuration has more than {_MOST_BYTES:,} bytes", where=str(file))
    if file.suffix not in SUFFIXES:
        raise UsageError(
            f"a configuration is one of {', '.join(SUFFIXES)}, and this is {file.suffix or 'none of them'}",
            where=str(file),
        )
    document = {".toml": _toml, ".json": _json}.get(file.suffix, _yaml)(file, text)
    if not isinstance(document, dict):
        raise UsageError("the configuration is no table of environments", where=str(file))
    return document


def _toml(file: Path, text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"this is not TOML: {error}", where=str(file)) from error


def _json(file: Path, text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError as error:
        raise UsageError(f"this is not JSON: {error}", where=str(file)) from error


def _yaml(file: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"this is not YAML: {error}", where=str(file)) from error


def _table(file: Path, document: Mapping[str, Any], *path: str) -> dict[str, Any]:
    value: Any = document
    for key in (*path, SECTION):
        value = value.get(key, {})
        if not isinstance(value, dict):
            raise UsageError(f"[{'.'.join((*path, SECTION))}] is no table", where=str(file))
    return dict(value)


def write(file: Path, environment: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Write options into the tables of commands: None removes one, and what is not named stays. Raises UsageError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if file.suffix != ".toml":
        hint = f"Name another: --config-file {DEFAULT_FILE}"
        raise UsageError("only TOML is written, so that its comments stay", where=str(file), hint=hint)
    text = ""
    if file.exists():
        _document(file)  # tells what is wrong with it
        text = file.read_text(encoding="utf-8")
    try:
        document: Any = tomlkit.parse(text)
        if "version" not in document:
            document = tomlkit.parse(f"version = {VERSION}\n{text}")
        for command, values in tables.items():
            table = _open(document, environment, command)
            for key, value in values.items():
                if value is None:
                    table.pop(key, None)
                elif table.get(key) != value:
                    table[key] = value
        text = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, AttributeError) as error:
        raise UsageError(f"the configuration cannot be changed: {error}", where=str(file)) from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(file)) from error


def _open(document: Any, environment: str, command: str) -> Any:
    """The table of a command, made if it is missing."""
    import tomlkit

    table = document
    for key in (environment, command, SECTION):
        if key not in table:
            table[key] = tomlkit.table(is_super_table=key != SECTION)
        table = table[key]
    return table


# Names and values in one text, as SAM has them


def pairs(given: Any, option: str) -> dict[str, str]:
    """Read names with values: a table, or texts of `Name=value` or `ParameterKey=Name,ParameterValue=value`, divided by spaces.

    Values may be quoted, and hold spaces then. Raises UsageError.
    """
    if isinstance(given, dict):
        return {str(name): _scalar(value, option) for name, value in given.items()}
    found: dict[str, str] = {}
    for text in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(text, dict):
            found |= pairs(text, option)
        else:
            found |= dict(_pairs_of(str(text), option))
    return found


def _scalar(value: Any, option: str) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_scalar(each, option) for each in value)
    if value is None:
        return ""
    if isinstance(value, dict):
        raise UsageError(f"{option}: a value is a table, and must be text")
    return str(value).lower() if isinstance(value, bool) else str(value)


_KEY = "ParameterKey="
_VALUE = ",ParameterValue="


def _pairs_of(text: str, option: str) -> Iterator[tuple[str, str]]:
    for word in _words(text, option):
        name, equals, value = word.partition("=")
        if word.startswith(_KEY) and _VALUE in word:
            name, _, value = word.removeprefix(_KEY).partition(_VALUE)
        elif not equals or not name:
            shown = f" {name}" if re.fullmatch(r"[A-Za-z0-9]{1,255}", name) and equals else ""
            hint = (
                f"Write: {option} Name=value, with a value that has spaces in quotes of its own: 'Name=\"two words\"'"
            )
            raise UsageError(f"{option}{shown}: a part of it is not Name=value", hint=hint)
        yield name, value


def _words(text: str, option: str) -> Iterator[str]:
    r"""Divide a text at its spaces, but not within quotes; `\"`, `\'` and `\ ` stand for themselves, any other \ is one."""
    word, quote, at = "", "", 0
    begun = False
    while at < len(text):
        character = text[at]
        if character == "\\" and text[at + 1 : at + 2] in ('"', "'", " "):
            word, begun, at = word + text[at + 1], True, at + 1
        elif quote:
            word, quote = (word, "") if character == quote else (word + character, quote)
        elif character in "\"'" and (not word or word.endswith("=")):
            quote, begun = character, True
        elif character.isspace():
            if begun:
                yield word
            word, begun = "", False
        else:
            word, begun = word + character, True
        at += 1
    if quote:
        raise UsageError(f"{option}: a quote {quote} is not closed")
    if begun:
        yield word


def text_of(values: Mapping[str, str]) -> Any:
    """Give names with values as one text that `pairs`, and SAM, read back; a table where no such text can be written."""
    if any(value.endswith("\\") or re.search(r"""\\["' ]""", value) for value in values.values()):
        return dict(values)
    return " ".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(value: str) -> str:
    return value.replace('"', '\\"')


def words(given: Any) -> list[str]:
    """Read a list: one, or a text divided by spaces."""
    texts: Iterable[Any] = given if isinstance(given, (list, tuple)) else [given]
    return [word for text in texts for word in str(text).split()]
