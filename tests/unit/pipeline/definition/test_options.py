from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.definition.options import mismatch
from stages.kinds import KINDS, Option

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Problems

GOOD: dict[str, list[Any]] = {
    "string": ["", "text"],
    "boolean": [True, False],
    "integer": [0, -1, 7],
    "file": ["a.yaml", "d/a.yaml"],
    "folder": ["d", "d/e"],
    "strings": [[], ["a"]],
    "map": [{}, {"a": "b"}],
    "paths": [[], ["a", "a/b"], ["."]],
    "image": [f"sha256:{'0' * 64}", f"node@sha256:{'a1' * 32}", f"localhost:5000/a/b@sha256:{'f' * 64}"],
}
BAD: dict[str, list[Any]] = {
    "string": [1, True, None, ["a"], {"a": "b"}, 1.5],
    "boolean": ["true", 1, None, []],
    "integer": ["1", 1.0, True, None, []],
    "file": ["", "../a", "/a", 1, None, "file:a", "./a"],
    "folder": ["", "..", "/d", 1, None, ".", "d/", "d/*"],
    "paths": ["a", [1], [None], ["../a"], ["/a"], ["./a"], ["~"], {"a": "b"}, None],
    "image": ["node", "node:20", "node@sha256:12", f"sha256:{'G' * 64}", f"@sha256:{'0' * 64}", 1, None, ""],
    "strings": ["a", [1], [None], [["a"]], {"a": "b"}, None],
    "map": ["a", [], ["a"], {"a": 1}, {"a": None}, {"a": {}}, None],
}


@pytest.mark.parametrize(("type_", "value"), [(each, value) for each, values in GOOD.items() for value in values])
def test_values_of_the_type(type_: str, value: object) -> None:
    assert mismatch(Option("x", type_, ""), value) is None  # type: ignore[arg-type]  # the names are those of the table


@pytest.mark.parametrize(("type_", "value"), [(each, value) for each, values in BAD.items() for value in values])
def test_values_of_another_type(type_: str, value: object) -> None:
    assert mismatch(Option("x", type_, ""), value) is not None  # type: ignore[arg-type]  # as above


def test_every_type_and_default_of_the_table_is_known() -> None:
    """A kind with a type that nobody checks, or a default that is no value of it."""
    options = [option for kind in KINDS.values() for option in kind.options]
    assert {option.type for option in options} <= set(GOOD)
    assert [option for option in options if option.default is not None and mismatch(option, option.default)] == []


ENUM = "parameters: {p: {type: string, enum: [engine, zip]}}\n"


@pytest.mark.parametrize(
    ("parameter", "option", "message"),
    [
        ("{type: integer}", "carrier", "engine or oci-layout"),
        ("{type: boolean}", "jobs", "a whole number, but ${{ parameters.p }} can be true"),
        ("{type: string}", "jobs", "a whole number, but ${{ parameters.p }} can be text"),
        (
            "{type: string, enum: [engine, zip]}",
            "carrier",
            "engine or oci-layout, but ${{ parameters.p }} can be 'zip'",
        ),
        ("{type: string}", "build-args", "a map of names to texts, but ${{ parameters.p }} can be text"),
    ],
)
def test_a_parameter_that_cannot_fit_is_found_before_any_run(
    problems: Problems, parameter: str, option: str, message: str
) -> None:
    text = f"parameters: {{p: {parameter}}}\nstages: {{b: {{uses: build, with: {{template: a, {option}: '${{{{ parameters.p }}}}'}}}}}}\n"
    [problem] = problems(text)
    assert problem.message.startswith(f"stages.b.with.{option} must be ")
    if option != "carrier" or "enum" in parameter:
        assert message in problem.message


@pytest.mark.parametrize("name", ["../x", "a/b", "A", "", "-a", "a-", "a" * 64, "a b", "${{ parameters.p }}"])
def test_the_name_of_an_artifact_is_the_name_of_a_folder(problems: Problems, name: str) -> None:
    text = f"parameters: {{p: {{type: string}}}}\nstages: {{a: {{uses: command, with: {{run: [x], outputs: ['{name}']}}}}}}\n"
    assert [each.message for each in problems(text)] == [f"{name[:60]!r} is no name for an artifact"]


def test_artifacts_have_a_limit(problems: Problems) -> None:
    names = ", ".join(f"a{n}" for n in range(101))
    [problem] = problems(f"stages: {{a: {{uses: command, with: {{run: [x], outputs: [{names}]}}}}}}\n")
    assert problem.message == "stages.a.with.outputs has too many entries: at most 100"


def test_the_entry_that_is_wrong_is_shown(problems: Problems) -> None:
    [problem] = problems("stages:\n  a:\n    uses: command\n    with:\n      run:\n        - x\n        - [y]\n")
    assert problem.where == "pipeline.yaml:9:11"
