"""Events as AWS's services send them, to try functions with: each a JSON file beside this one, `SOURCE/TYPE.json`.

A file has `help`, the `options` with their defaults, and the `event`, in whose texts `${option}` is replaced; a text that is nothing but
`${option}` becomes the option's value, a number where its default is one. `${option|filter}` passes it through one of `FILTERS`. Their
forms are those of https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html and the pages that it leads to.
"""

from __future__ import annotations

import base64
import difflib
import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stages.contract import Json

_FOLDER = Path(__file__).parent
_PLACE = re.compile(r"\$\{([a-z0-9-]+)(?:\|([a-z0-9]+))?\}")
_SAMS = {"account-id": "account", "queue-name": "queue"}
"""What AWS SAM CLI calls options, by which they are known, too."""
_TIME_MS = 1_767_268_800_000


@dataclass(frozen=True)
class Kind:
    """One event that can be had. `options` have their defaults."""

    source: str
    type: str
    help: str
    options: dict[str, str | int]
    event: Any


def kinds() -> list[Kind]:
    """Every event that can be had, by source and type."""
    return [_read(path) for path in sorted(_FOLDER.glob("*/*.json"))]


def make(source: str, type_: str, given: Mapping[str, str]) -> Json:
    """An event with these options. Raises StageError, with what there is instead."""
    path = _FOLDER / source / f"{type_}.json"
    sources = sorted({each.parent.name for each in _FOLDER.glob("*/*.json")})
    if source not in sources:
        raise _unknown(f"there is no source {source!r} of events", source, sources)
    types = sorted(each.stem for each in (_FOLDER / source).glob("*.json"))
    if type_ not in types:
        raise _unknown(f"{source} has no event {type_!r}", type_, types)
    kind = _read(path)
    given = {_SAMS.get(name, name): value for name, value in given.items()}
    for name in given:
        if name not in kind.options:
            raise _unknown(f"{source} {type_} has no option --{name}", name, kind.options)
    values = {name: _typed(name, given.get(name), default) for name, default in kind.options.items()}
    event: Json = _filled(kind.event, values)
    return event


def _read(path: Path) -> Kind:
    data = json.loads(path.read_bytes())
    return Kind(path.parent.name, path.stem, data["help"], data["options"], data["event"])


def _unknown(message: str, name: str, known: Iterable[str]) -> StageError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There is: {', '.join(known)}"
    return StageError(message, hint=hint, cls="invalid")


def _typed(name: str, given: str | None, default: str | int) -> str | int:
    if given is None or isinstance(default, str):
        return default if given is None else given
    try:
        return int(given)
    except ValueError as error:
        raise StageError(f"--{name} {given!r} is no whole number", cls="invalid") from error


def _filled(node: Any, values: Mapping[str, str | int]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    if not isinstance(node, str):
        return node
    whole = _PLACE.fullmatch(node)
    if whole:
        return _value(whole, values)
    return _PLACE.sub(lambda match: str(_value(match, values)), node)


def _value(match: re.Match[str], values: Mapping[str, str | int]) -> Any:
    value = values[match[1]]
    return FILTERS[match[2]](str(value), values) if match[2] else value


def _json(text: str, _: Mapping[str, str | int]) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise StageError(f"{text!r} is no JSON: {error}", cls="invalid") from error


def _logs(message: str, values: Mapping[str, str | int]) -> str:
    """Lines of a log as CloudWatch sends them: JSON, compressed, in base64."""
    told = {
        "messageType": "DATA_MESSAGE",
        "owner": values["account"],
        "logGroup": values["log-group"],
        "logStream": values["log-stream"],
        "subscriptionFilters": ["testFilter"],
        "logEvents": [{"id": "eventId1", "timestamp": _TIME_MS, "message": message}],
    }
    return base64.b64encode(gzip.compress(json.dumps(told).encode(), mtime=0)).decode()


FILTERS: dict[str, Callable[[str, Mapping[str, str | int]], Any]] = {
    "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
    "json": _json,
    "logs": _logs,
    "md5": lambda text, _: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
    "url": lambda text, _: quote_plus(text, safe="/"),
}
