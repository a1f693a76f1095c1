"""Take numbers and truth values for text where only text can be meant, just as they are written.

`PYTHON_VERSION: 3.10` is the number 3.1; whoever writes it as a build argument means the text 3.10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.definition.positions import Path, Positions

_ENVIRONMENT_MAPS = ("parameters", "tags")


def as_written(document: Any, positions: Positions) -> Any:
    """Give a copy of a loaded definition in which maps and lists of texts hold texts."""
    if not isinstance(document, dict):
        return document
    return {
        **document,
        **_section(document, "environments", lambda path, each: _environment(path, each, positions)),
        **_section(document, "stages", lambda path, each: _stage(path, each, positions)),
    }


def _section(document: dict[str, Any], name: str, convert: Any) -> dict[str, Any]:
    entries = document.get(name)
    if not isinstance(entries, dict):
        return {}
    return {
        name: {key: convert((name, key), each) if isinstance(each, dict) else each for key, each in entries.items()}
    }


def _environment(path: Path, environment: dict[str, Any], positions: Positions) -> dict[str, Any]:
    maps = {key: environment[key] for key in _ENVIRONMENT_MAPS if key in environment}
    return {**environment, **{key: _texts((*path, key), each, positions) for key, each in maps.items()}}


def _stage(path: Path, stage: dict[str, Any], positions: Positions) -> dict[str, Any]:
    kind, given = KINDS.get(str(stage.get("uses"))), stage.get("with")
    if kind is None or not isinstance(given, dict):
        return stage
    collections = [option.name for option in kind.options if option.type in ("strings", "map") and option.name in given]
    texts = {name: _texts((*path, "with", name), given[name], positions) for name in collections}
    return {**stage, "with": {**given, **texts}}


def _texts(path: Path, value: Any, positions: Positions) -> Any:
    if isinstance(value, dict):
        return {key: _text((*path, key), each, positions) for key, each in value.items()}
    if isinstance(value, list):
        return [_text((*path, index), each, positions) for index, each in enumerate(value)]
    return value


def _text(path: Path, value: Any, positions: Positions) -> Any:
    return positions.text(*path) if isinstance(value, (bool, int, float)) else value
