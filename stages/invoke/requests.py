"""The requests file of the `invoke` kind, read into plain values; see docs/reference/requests.md.

Scalars are read as JSON's (`true`, `null`, numbers), everything else unquoted is text: `on`, `12:30` and `2026-01-01` stay
what the author wrote.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import yaml

from stages import safeyaml
from stages.contract import InvalidInput, Problem
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 900.0  # Lambda's own limit

_KEYS = {
    "endpoint": ("name", "endpoint", "path", "method", "headers", "body", "timeout", "expect"),
    "function": ("name", "function", "event", "event-file", "timeout", "expect"),
}
_EXPECT_KEYS = {
    "endpoint": ("status", "json", "text", "contains"),
    "function": ("json", "text", "contains", "error"),
}
_BAD_HEADER = re.compile(r"[\x00-\x1f\x7f]")
_MERGE = "tag:yaml.org,2002:merge"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both compose the same nodes; stubs know only one
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True)
class Expect:
    """What an answer must be like; `given` names the parts that are asked for."""

    given: frozenset[str] = frozenset()
    status: int = 200
    json: Any = None  # any JSON value
    text: str = ""
    contains: tuple[str, ...] = ()
    error: bool | str = False


@dataclass(frozen=True)
class Call:
    """One request: of an endpoint (a stack output and a path below it), or of a function (with an event)."""

    name: str
    kind: Literal["endpoint", "function"]
    of: str
    place: Problem  # where it stands, for problems found later
    path: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    expect: Expect = Expect()


def load(source: Path, name: str) -> list[Call]:
    """Read the requests file `name` below the project's folder. Raises InvalidInput with every problem found."""
    try:
        data = inside(source, source / name).read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidInput([Problem(f"the requests file cannot be read: {error}", name)]) from error
    return parse(data, name, lambda event: inside(source, (source / name).parent / event).read_bytes())


def inside(source: Path, path: Path) -> Path:
    """The path with its links resolved. Raises ValueError if that is outside of the project, OSError if it is not there."""
    real, root = path.resolve(strict=True), source.resolve()
    if not real.is_relative_to(root):
        raise ValueError(f"{path.name} is outside of the project")
    return real


def parse(data: bytes, file: str, read_event: Callable[[str], bytes]) -> list[Call]:
    """Read requests from the bytes of a file. `read_event` gives the bytes of an event file."""
    try:
        text = safeyaml.check(data, file)
    except safeyaml.UnsafeYaml as error:
        raise InvalidInput([error.problem]) from error
    reader = _Reader(file, text, read_event)
    try:
        calls = reader.calls(yaml.compose(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:  # two documents, or an alias of nothing
        raise InvalidInput([Problem(str(error.problem or error.context), file)]) from error
    except RecursionError as error:
        raise InvalidInput([Problem("an alias stands within what it is an alias of", file)]) from error
    if reader.problems:
        raise InvalidInput(reader.problems)
    return calls


class _Wrong(Exception):
    """A part cannot be read; the problem is noted already."""


class _Reader:
    """Reads nodes, and gathers what is wrong with them."""

    def __init__(self, file: str, text: str, read_event: Callable[[str], bytes]) -> None:
        self.file = file
        self.text = text
        self.read_event = read_event
        self.problems: list[Problem] = []

    def place(self, node: yaml.Node | None, message: str, hint: str | None = None) -> Problem:
        if node is None:
            return Problem(message, self.file, hint=hint)
        line = node.start_mark.line + 1
        return Problem(message, self.file, line, node.start_mark.column + 1, safeyaml.quote(self.text, line), hint)

    def wrong(self, node: yaml.Node | None, message: str, hint: str | None = None) -> _Wrong:
        self.problems.append(self.place(node, message, hint))
        return _Wrong()

    def calls(self, root: yaml.Node | None) -> list[Call]:
        if not isinstance(root, yaml.SequenceNode) or not root.value:
            hint = "Write `- endpoint: <stack output>` or `- function: <logical id>` for each request."
            self.wrong(root, "a list of requests is expected here", hint)
            return []
        found = [call for number, node in enumerate(root.value, 1) if (call := self.call(node, number))]
        names = [call.name for call in found]
        for call in found:
            if names.count(call.name) > 1:
                self.problems.append(_at(call.place, f"the name {call.name!r} is used more than once"))
        return found

    def call(self, node: yaml.Node, number: int) -> Call | None:
        try:
            return self._call(node, number)
        except _Wrong:
            return None

    def _call(self, node: yaml.Node, number: int) -> Call:
        fields = self.mapping(node, "a request")
        kinds = [kind for kind in ("endpoint", "function") if kind in fields]
        if len(kinds) != 1:
            known = (*_KEYS["endpoint"], *_KEYS["function"])
            self.known_keys(node, known, "a request")
            raise self.wrong(node, "a request has either `endpoint` or `function`")
        kind: Literal["endpoint", "function"] = "endpoint" if kinds[0] == "endpoint" else "function"
        self.known_keys(node, _KEYS[kind], f"a request of {'an endpoint' if kind == 'endpoint' else 'a function'}")
        of = self.string(fields[kind], kind)
        name = self.string(fields["name"], "name") if "name" in fields else f"{number}: {of}"
        call = Call(name, kind, of, self.place(node, ""), timeout_s=self.timeout(fields.get("timeout")))
        expect = self.expect(fields.get("expect"), kind)
        if kind == "function":
            return _with(call, payload=self.event(node, fields), expect=expect)
        headers = self.headers(fields.get("headers"))
        payload, headers = self.body(fields.get("body"), headers)
        path, method = self.path(fields.get("path")), self.method(fields.get("method"))
        return _with(call, path=path, method=method, headers=headers, payload=payload, expect=expect)

    def mapping(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, f"{what} must be a mapping")
        return {str(key.value): value for key, value in node.value}

    def known_keys(self, node: yaml.Node, known: tuple[str, ...], what: str) -> None:
        unknown = [key for key, _ in node.value if key.value not in known]
        for key in unknown:
            close = difflib.get_close_matches(str(key.value), known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(known)}."
            self.wrong(key, f"{what} has no key {key.value!r}", hint)
        if unknown:
            raise _Wrong

    def string(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            raise self.wrong(node, f"{what} must be a text")
        return str(node.value)

    def value(self, node: yaml.Node) -> Any:
        """A node as JSON."""
        if node.tag.startswith("!"):
            raise self.wrong(node, f"the tag {node.tag} means nothing here")
        if isinstance(node, yaml.MappingNode):
            return {self.key(key): self.value(value) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        quoted = isinstance(node, yaml.ScalarNode) and node.style
        return node.value if quoted else _plain(node.value)

    def key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag == _MERGE:
            raise self.wrong(node, "a key must be a text, and merge keys are not taken", "Write the values out.")
        return str(node.value)

    def timeout(self, node: yaml.Node | None) -> float:
        if node is None:
            return DEFAULT_TIMEOUT_S
        seconds = self.value(node)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_TIMEOUT_S:
            raise self.wrong(node, f"timeout must be a number of seconds, at most {MAX_TIMEOUT_S:.0f}")
        return float(seconds)

    def path(self, node: yaml.Node | None) -> str:
        if node is None:
            return ""
        path = self.string(node, "path")
        if "://" in path.partition("?")[0] or path.startswith("//") or re.search(r"[\x00-\x20\x7f]", path):
            raise self.wrong(node, "path must be a path below the endpoint", "Only outputs of the stack can be called.")
        if ".." in path.partition("?")[0].split("/"):
            raise self.wrong(node, "path must not go up with `..`")
        return path

    def method(self, node: yaml.Node | None) -> str:
        method = self.string(node, "method").upper() if node else "GET"
        if method not in METHODS:
            raise self.wrong(node, f"{method} is no method", f"Use one of {', '.join(METHODS)}.")
        return method

    def headers(self, node: yaml.Node | None) -> dict[str, str]:
        if node is None:
            return {}
        found = {
            name: self.string(value, f"the header {name}") for name, value in self.mapping(node, "headers").items()
        }
        for name, value in found.items():
            if _BAD_HEADER.search(name + value) or name.lower() in ("host", "content-length"):
                raise self.wrong(node, f"the header {name} cannot be set")
        return found

    def body(self, node: yaml.Node | None, headers: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
        """A text as it is; anything else as JSON, and it says so."""
        if node is None:
            return None, headers
        value = self.value(node)
        if isinstance(value, str):
            return value.encode(), headers
        typed = any(name.lower() == "content-type" for name in headers)
        return _json(value), headers if typed else {**headers, "Content-Type": "application/json"}

    def event(self, node: yaml.Node, fields: dict[str, yaml.Node]) -> bytes:
        if "event" in fields and "event-file" in fields:
            raise self.wrong(node, "a request has `event` or `event-file`, not both")
        if "event-file" not in fields:
            return _json(self.value(fields["event"])) if "event" in fields else b"{}"
        name = self.string(fields["event-file"], "event-file")
        try:
            data = self.read_event(name)
            json.loads(data)
        except (OSError, ValueError) as error:
            raise self.wrong(fields["event-file"], f"the event file {name!r} cannot be used: {error}") from error
        if len(data) > LIMITS.event_bytes:
            raise self.wrong(
                fields["event-file"], f"the event has {len(data):,} bytes; Lambda takes {LIMITS.event_bytes:,}"
            )
        return data

    def expect(self, node: yaml.Node | None, kind: str) -> Expect:
        if node is None:
            return Expect()
        fields = self.mapping(node, "expect")
        self.known_keys(
            node, _EXPECT_KEYS[kind], f"`expect` of {'an endpoint' if kind == 'endpoint' else 'a function'}"
        )
        return Expect(
            given=frozenset(fields),
            status=self.status(fields.get("status")),
            json=self.value(fields["json"]) if "json" in fields else None,
            text=str(self.value(fields["text"])) if "text" in fields else "",
            contains=self.contains(fields.get("contains")),
            error=self.error(fields.get("error")),
        )

    def status(self, node: yaml.Node | None) -> int:
        status = self.value(node) if node else 200
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            raise self.wrong(node, "status must be a number from 100 to 599")
        return status

    def contains(self, node: yaml.Node | None) -> tuple[str, ...]:
        items = node.value if isinstance(node, yaml.SequenceNode) else [node] if node else []
        return tuple(self.string(item, "contains") for item in items)

    def error(self, node: yaml.Node | None) -> bool | str:
        value = self.value(node) if node else False
        if not isinstance(value, (bool, str)):
            raise self.wrong(node, "error must be true, false, or a part of the error's message or type")
        return value


def _plain(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _with(call: Call, **fields: Any) -> Call:
    return Call(**{**vars(call), **fields})


def _at(place: Problem, message: str, hint: str | None = None) -> Problem:
    return Problem(message, place.file, place.line, place.column, place.quote, hint)


def at(call: Call, message: str, hint: str | None = None) -> Problem:
    """A problem with a request, at its place."""
    return _at(call.place, message, hint)
