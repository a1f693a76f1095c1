from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.definition.model import WORDS, Document
from pipeline.definition.schema import schema

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

STAGE = "stages: {a: {uses: command, with: {run: [x]}}}\n"
ENVIRONMENT = {"account": '"111122223333"', "region": "eu-central-1"}


def environment(**keys: str) -> str:
    entries = ", ".join(f"{key}: {value}" for key, value in {**ENVIRONMENT, **keys}.items())
    return f"environments: {{e: {{{entries}}}}}\nstages: {{a: {{uses: command, environment: e, with: {{run: [x]}}}}}}\n"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("99999h", 359_996_400)])
def test_durations(load: Load, text: str, seconds: int) -> None:
    assert (
        load(f"stages: {{a: {{uses: command, timeout: {text}, with: {{run: [x]}}}}}}\n").stages["a"].timeout_s
        == seconds
    )


@pytest.mark.parametrize(
    "text", ["0s", "90", "1.5h", "1h30m", "90 s", "-1s", "100000h", "1d", "' 90s'", '"90s\\n"', "90S"]
)
def test_what_is_no_duration(problems: Problems, text: str) -> None:
    [problem] = problems(f"stages: {{a: {{uses: command, timeout: {text}, with: {{run: [x]}}}}}}\n")
    assert problem.message.startswith("stages.a.timeout must be a duration, such as 90s, 15m or 2h, not ")


@pytest.mark.parametrize("name", ["Build", "a_b", "-a", "a-", "1a", "a.b", "a" * 21, "''", "ä", '"a\\n"'])
def test_names_of_stages(problems: Problems, name: str) -> None:
    """A name becomes part of handles, containers and folders."""
    [problem] = problems(f"stages: {{{name}: {{uses: command, with: {{run: [x]}}}}}}\n")
    assert "name" in problem.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("account", '"11112222333"'),
        ("account", '"1111222233334"'),
        ("account", "'١١١١٢٢٢٢٣٣٣٣'"),
        ("account", '"111122223333\\n"'),
        ("region", "europe"),
        ("region", "eu_central_1"),
        ("partition", "azure"),
        ("stack", "demo_app"),
        ("stack", "1demo"),
        ("stack", "a" * 129),
        ("repository", "Demo"),
        ("repository", "demo//app"),
        ("repository", "a"),
        ("repository", "a" * 257),
        ("aws", "account"),
        ("capabilities", "[CAPABILITY_ALL]"),
        ("capabilities", "CAPABILITY_IAM"),
        ("auth", "ambient"),
        ("auth", "{profile: ''}"),
        ("auth", "{role: deploy}"),
        ("auth", "{roles: {apply: 'arn:aws:iam::1:role/x'}}"),
        ("auth", "{variable: 1x}"),
        ("auth", "{method: google}"),
        ("tags", "[a]"),
        ("tags", "{a: [b]}"),
        ("parameters", "{a: {b: c}}"),
    ],
)
def test_values_of_an_environment_that_are_refused(problems: Problems, key: str, value: str) -> None:
    [problem] = problems(environment(**{key: value}))
    assert problem.message.startswith(f"environments.e.{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("region", "us-iso-east-1"),
        ("region", "ap-southeast-5"),
        ("stack", "A" * 128 + ", approvals: none"),
        ("repository", "team/demo-app_1.x"),
        ("capabilities", "[]"),
        ("tags", "{a: '', 1: 2}"),
    ],
)
def test_values_of_an_environment_that_are_taken(load: Load, key: str, value: str) -> None:
    text = environment(**{key: value})
    assert (
        load(text.replace("iso-east-1", "iso-east-1, partition: aws-iso")).environments["e"].account == "111122223333"
    )


@pytest.mark.parametrize("key", ["approval", "require_approval", "environment", "lock"])
def test_a_gate_that_is_not_there_yet_is_no_key(problems: Problems, key: str) -> None:
    """A gate that is read and not kept is worse than none."""
    [problem] = problems(environment(**{key: "2"}))
    assert problem.message == f"unknown key {key!r} in environments.e"


def test_merge_keys_have_a_hint(problems: Problems) -> None:
    [problem] = problems(environment(**{"<<": "{stack: x}"}))
    assert problem.hint
    assert "alias" in problem.hint


def test_nothing_in_a_definition_can_be_changed(load: Load) -> None:
    stage = load(STAGE).stages["a"]
    with pytest.raises(ValueError, match="frozen"):
        stage.uses = "build"


def test_every_pattern_has_words_for_its_message() -> None:
    patterns = set(_patterns(Document.model_json_schema()))
    assert patterns <= set(WORDS)


def _patterns(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in _patterns(each)]
    if not isinstance(value, dict):
        return []
    own = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
    own += list(value.get("patternProperties", {}))
    return own + [found for each in value.values() for found in _patterns(each)]


def test_every_key_has_a_description() -> None:
    models = [schema(), *schema()["$defs"].values()]
    assert [key for model in models for key, each in model["properties"].items() if not each.get("description")] == []
