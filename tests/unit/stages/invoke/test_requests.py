from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import InvalidInput, Problem
from stages.invoke import requests

if TYPE_CHECKING:
    from pathlib import Path

    from stages.invoke.requests import Call


def parse(text: str, events: dict[str, bytes] | None = None) -> list[Call]:
    def read(name: str) -> bytes:
        try:
            return (events or {})[name]
        except KeyError as error:
            raise FileNotFoundError(name) from error

    return requests.parse(text.encode(), "smoke.yaml", read)


def problems(text: str, events: dict[str, bytes] | None = None) -> list[Problem]:
    with pytest.raises(InvalidInput) as caught:
        parse(text, events)
    return caught.value.problems


def test_an_endpoint_with_everything() -> None:
    [call] = parse(
        """\
- name: greets
  endpoint: HelloWorldApi
  path: /people?limit=1
  method: post
  headers: {X-Trace: "1"}
  body: {who: world}
  timeout: 5
  expect:
    status: 201
    json: {message: hello, count: 1, ok: true, none: null, part: 1.5}
    contains: [hello, world]
"""
    )
    assert (call.name, call.kind, call.of, call.method, call.path) == (
        "greets",
        "endpoint",
        "HelloWorldApi",
        "POST",
        "/people?limit=1",
    )
    assert call.headers == {"X-Trace": "1", "Content-Type": "application/json"}
    assert call.payload == b'{"who": "world"}'
    assert call.timeout_s == 5
    assert call.expect.status == 201
    assert call.expect.json == {"message": "hello", "count": 1, "ok": True, "none": None, "part": 1.5}
    assert call.expect.contains == ("hello", "world")


def test_the_least_one_can_write() -> None:
    one, two = parse("- endpoint: Api\n- function: Fn\n")
    assert (one.name, one.method, one.path, one.payload, one.expect.status) == ("1: Api", "GET", "", None, 200)
    assert (two.name, two.payload, two.expect.error) == ("2: Fn", b"{}", False)


def test_a_function_with_an_event_in_place_or_in_a_file() -> None:
    one, two = parse(
        "- {function: Fn, event: [1, {a: b}]}\n- {function: Fn, event-file: e.json}\n", {"e.json": b'{"x": 1}'}
    )
    assert json.loads(one.payload or b"") == [1, {"a": "b"}]
    assert two.payload == b'{"x": 1}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ('"true"', "true"),
        ("'1'", "1"),
        ("true", True),
        ("-1", -1),
        ("1e3", 1000.0),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_are_jsons_and_nothing_else(text: str, value: Any) -> None:
    """YAML 1.1 would read times as numbers and `on` as true, and the comparison would fail for no visible reason."""
    [call] = parse(f"- {{endpoint: A, expect: {{json: {{x: {text} }}}}}}")
    assert call.expect.json == {"x": value}
    assert type(call.expect.json["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("", "smoke.yaml", "a list of requests is expected here", "- endpoint"),
        ("a: b", "smoke.yaml:1:1", "a list of requests is expected here", "- endpoint"),
        ("- x", "smoke.yaml:1:3", "a request must be a mapping", ""),
        ("- {endpoint: A, function: B}", "smoke.yaml:1:3", "either `endpoint` or `function`", ""),
        ("- {name: x}", "smoke.yaml:1:3", "either `endpoint` or `function`", ""),
        ("- {endpont: A}", "smoke.yaml:1:4", "no key 'endpont'", "Did you mean endpoint?"),
        ("- {endpoint: A, expects: {}}", "smoke.yaml:1:17", "no key 'expects'", "Did you mean expect?"),
        ("- {endpoint: A, event: {}}", "smoke.yaml:1:17", "a request of an endpoint has no key 'event'", ""),
        ("- {function: A, path: /x}", "smoke.yaml:1:17", "a request of a function has no key 'path'", ""),
        ("- {function: A, expect: {status: 200}}", "smoke.yaml:1:26", "no key 'status'", "json, text, contains, error"),
        ("- {endpoint: A, expect: {statsu: 200}}", "smoke.yaml:1:26", "no key 'statsu'", "Did you mean status?"),
        ("- {endpoint: A, expect: {status: ok}}", "smoke.yaml:1:34", "status must be a number from 100 to 599", ""),
        ("- {endpoint: A, expect: {status: true}}", "smoke.yaml:1:34", "status must be a number", ""),
        ("- {endpoint: A, method: FETCH}", "smoke.yaml:1:25", "FETCH is no method", "GET"),
        (
            "- {endpoint: A, path: 'https://evil.test/'}",
            "smoke.yaml:1:23",
            "must be a path below",
            "outputs of the stack",
        ),
        ("- {endpoint: A, path: //evil.test/}", "smoke.yaml:1:23", "must be a path below", ""),
        ("- {endpoint: A, path: 'a b'}", "smoke.yaml:1:23", "must be a path below", ""),
        ("- {endpoint: A, path: ../x}", "smoke.yaml:1:23", "must not go up", ""),
        ('- {endpoint: A, headers: {X: "a\\r\\nY: b"}}', "smoke.yaml:1:26", "the header X cannot be set", ""),
        ("- {endpoint: A, headers: {Host: b}}", "smoke.yaml:1:26", "the header Host cannot be set", ""),
        ("- {endpoint: A, timeout: 901}", "smoke.yaml:1:26", "a number of seconds, at most 900", ""),
        ("- {endpoint: A, timeout: true}", "smoke.yaml:1:26", "a number of seconds", ""),
        ("- {function: A, event: 1, event-file: x}", "smoke.yaml:1:3", "`event` or `event-file`, not both", ""),
        ("- {function: A, event-file: none.json}", "smoke.yaml:1:29", "'none.json' cannot be used", ""),
        ("- {function: A, event-file: bad.json}", "smoke.yaml:1:29", "'bad.json' cannot be used", ""),
        ("- {function: A, event: !Ref x}", "smoke.yaml:1:24", "the tag !Ref means nothing here", ""),
        ("- {function: A, event: {<<: {a: b}}}", "smoke.yaml:1:25", "merge keys are not taken", ""),
        ("- {function: A, event: {? [a] : b}}", "smoke.yaml:1:27", "a key must be a text", ""),
        ("- {endpoint: A, name: x}\n- {endpoint: B, name: x}", "smoke.yaml:1:3", "'x' is used more than once", ""),
        ("- {endpoint: A}\n---\n- {endpoint: B}", "smoke.yaml", "", ""),
        ("- {function: A, event: *nothing}", "smoke.yaml", "", ""),
        ("- [", "smoke.yaml", "", ""),
    ],
)
def test_mistakes_have_a_place_and_a_remedy(text: str, where: str, message: str, hint: str) -> None:
    found = problems(text, {"bad.json": b"{"})
    assert found[0].where.startswith(where)
    assert message in found[0].message
    assert hint in (found[0].hint or "")


def test_an_alias_within_itself_ends() -> None:
    assert problems("- {function: A, event: &a [*a]}")


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems("- {endpont: A}\n- {endpoint: B, method: X}\n- {function: C, event-file: no}\n")) == 3


def test_files_are_read_within_the_project_only(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (tmp_path / "secret.json").write_text("{}")
    (project / "event.json").write_text('{"a": 1}')
    (project / "link.json").symlink_to(tmp_path / "secret.json")
    smoke = project / "tests" / "smoke.yaml"
    smoke.write_text("- {function: A, event-file: ../event.json}")
    [call] = requests.load(project, "tests/smoke.yaml")
    assert call.payload == b'{"a": 1}'
    for name in ("../../secret.json", "../link.json", str(tmp_path / "secret.json")):
        smoke.write_text(f"- {{function: A, event-file: {name}}}")
        with pytest.raises(InvalidInput, match="outside of the project"):
            requests.load(project, "tests/smoke.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        requests.load(project, "tests/none.yaml")
