"""From a file to a Definition, as the rest of Towpath calls it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import definition
from pipeline.errors import InvalidDefinition

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

    from stages.contract import Problem

WHOLE = """
parameters:
  level: {type: string, enum: [INFO, DEBUG], default: INFO}
environments: !include pipeline.d/environments.yaml
stages:
  build:
    uses: build
    with: {template: template.yaml, build-args: {PYTHON: 3.10}}
  package: {uses: package, needs: [build], environment: artifacts}
  deploy: {uses: deploy, needs: [package], environment: staging, timeout: 15m}
  smoke: {uses: invoke, needs: [deploy], environment: staging, with: {requests: smoke.yaml}}
"""
ENVIRONMENTS = """
artifacts: {account: "111122223333", region: eu-central-1, repository: demo}
staging:
  aws: embedded
  account: "111122223333"
  region: eu-central-1
  stack: demo-staging
  approvals: none
  parameters: {Level: "${{ parameters.level }}", Count: 007, Flag: true}
  capabilities: [CAPABILITY_IAM]
"""
FILES = {"pipeline.d/environments.yaml": ENVIRONMENTS}


def test_a_whole_definition_is_read(load: Load) -> None:
    loaded = load(WHOLE, FILES)
    assert loaded.name == "demo"
    assert list(loaded.stages) == ["build", "package", "deploy", "smoke"]
    assert loaded.stages["deploy"].timeout_s == 900
    assert loaded.environments["staging"].embedded
    assert not loaded.environments["artifacts"].embedded
    assert loaded.environments["staging"].capabilities == ("CAPABILITY_IAM",)
    assert loaded.warnings == ()


def test_texts_stay_as_they_are_written(load: Load) -> None:
    """YAML's 3.10 is the number 3.1, 007 is 7, and Python's True is not CloudFormation's true."""
    loaded = load(WHOLE, FILES)
    assert loaded.stages["build"].options["build-args"] == {"PYTHON": "3.10"}
    assert loaded.environments["staging"].parameters == {
        "Level": "${{ parameters.level }}",
        "Count": "007",
        "Flag": "true",
    }


def test_every_file_read_is_kept_and_the_definition_is_the_first(load: Load, tmp_path: Path) -> None:
    loaded = load(WHOLE, FILES)
    assert list(loaded.files) == ["pipeline.yaml", "pipeline.d/environments.yaml"]
    assert all((tmp_path / name).read_bytes() == data for name, data in loaded.files.items())


def test_the_document_has_the_includes_resolved(load: Load) -> None:
    assert load(WHOLE, FILES).document["environments"]["staging"]["stack"] == "demo-staging"


def test_later_errors_can_name_a_place(load: Load) -> None:
    loaded = load(WHOLE, FILES)
    place = loaded.place("stages", "build", "with", "template")
    assert place.where == "pipeline.yaml:10:22"
    assert place.quote == "    with: {template: template.yaml, build-args: {PYTHON: 3.10}}"
    assert loaded.place("environments", "staging", "stack").where == "pipeline.d/environments.yaml:7:10"
    assert (
        loaded.place("stages", "build", "with", "jobs").where == "pipeline.yaml:10:11"
    )  # it is not there: what is around it


def test_a_definition_is_found_from_any_directory(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(WHOLE, FILES)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert definition.load(Path("../pipeline.yaml"), Path("..")).place("name").where == "pipeline.yaml:2:7"


def test_a_definition_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yml").write_text("")
    with pytest.raises(InvalidDefinition) as caught:
        definition.load(tmp_path / "pipeline.yaml", tmp_path)
    [problem] = caught.value.problems
    assert problem.message == f"there is no file '{tmp_path}/pipeline.yaml'"
    assert problem.hint == "Did you mean 'pipeline.yml'?"


def test_in_a_sam_project_it_is_said_how_a_definition_is_made(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text("")
    with pytest.raises(InvalidDefinition) as caught:
        definition.load(tmp_path / "pipeline.yaml", tmp_path)
    assert str(caught.value.problems[0].hint).endswith("is made by: towpath init --from-sam")


def test_a_definition_that_is_a_link_to_nothing_is_not_told_to_be_missing(tmp_path: Path) -> None:
    """There is no sense in 'there is no file x. Did you mean x?'."""
    (tmp_path / "dangling.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(InvalidDefinition) as caught:
        definition.load(tmp_path / "dangling.yaml", tmp_path)
    [problem] = caught.value.problems
    assert problem.message == "'dangling.yaml' is a link to 'nowhere.yaml', where there is nothing"
    assert problem.hint == "Correct the link, or put a file in its place."


def test_a_definition_that_is_a_directory_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").mkdir()
    with pytest.raises(InvalidDefinition, match="regular file"):
        definition.load(tmp_path / "pipeline.yaml", tmp_path)


def test_a_definition_outside_the_project_is_refused(tmp_path: Path) -> None:
    """It could not be recorded with the project it is for."""
    (tmp_path / "pipeline.yaml").write_text("version: 1\n")
    (tmp_path / "project").mkdir()
    with pytest.raises(InvalidDefinition, match="is not in the project directory"):
        definition.load(tmp_path / "pipeline.yaml", tmp_path / "project")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("[]\n", "a definition is a map, not a list"),
        ("text\n", "a definition is a map, not 'text'"),
        ("{}\n", "the definition lacks 'version'"),
        ("a: 1\n--- \nb: 1\n", "expected a single document in the stream, but found another document"),
    ],
)
def test_what_is_no_definition_at_all(problems: Problems, text: str, message: str) -> None:
    assert problems(text, head="")[0].message == message


@pytest.mark.parametrize("version", ['"1"', "1.0", "0", "-1", "true", "[1]"])
def test_a_version_that_is_none(problems: Problems, version: str) -> None:
    found = problems(WHOLE, FILES, head=f"version: {version}\nname: demo\n")
    assert [each.where for each in found] == ["pipeline.yaml:1:10"]
    assert found[0].message.startswith("version must be 1, not ")


def test_an_empty_version_is_said_once(problems: Problems) -> None:
    assert [each.message for each in problems(WHOLE, FILES, head="version:\nname: demo\n")] == ["version is empty"]


def test_a_newer_version_is_all_that_is_said(problems: Problems) -> None:
    """By the rules of version 1 all of a version 2 may look wrong."""
    found = problems("stages: []\nunheard-of: 1\n", head="version: 2\n")
    assert [each.message for each in found] == ["this definition is of version 2"]


def test_a_misspelt_section_does_not_make_everything_else_wrong(problems: Problems) -> None:
    found = problems(WHOLE.replace("environments:", "enviroments:"), FILES)
    assert [each.message for each in found] == ["unknown key 'enviroments'"]


# Whatever is written, the answer is a Definition or InvalidDefinition

_PLAIN = yaml.safe_load(WHOLE.replace("!include pipeline.d/environments.yaml", "{}")) | {"version": 1, "name": "demo"}
_PLAIN["environments"] = yaml.safe_load(ENVIRONMENTS)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["build", "package", "staging", "${{ parameters.level }}", "${{ x", "<<", "deploy", "command"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, each in items for deeper in _paths(each, (*path, key)))]


@st.composite
def _mutilated(draw: st.DrawFn) -> Any:
    """A whole definition with one to four values or keys of it replaced."""
    document = copy.deepcopy(_PLAIN)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(_paths(document)[1:] or [()]))
        if not path:
            return document
        around = document
        for part in path[:-1]:
            around = around[part]
        if isinstance(around, dict) and draw(st.booleans()):
            around[draw(st.sampled_from(["uses", "with", "needs", "inputs", "stack", "x", "<<"]))] = around.pop(
                path[-1]
            )
        else:
            around[path[-1]] = draw(_VALUES)
    return document


def _problems_of(document: Any) -> list[Problem]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        try:
            definition.load(path, Path(folder))
        except InvalidDefinition as error:
            return error.problems
    return []


@settings(max_examples=150)
@given(_mutilated())
def test_any_mistake_is_a_problem_with_a_place_and_never_a_fault(document: Any) -> None:
    found = _problems_of(document)
    assert all(problem.file == "pipeline.yaml" for problem in found)
    assert all(problem.message and problem.line for problem in found)
    assert len(set(found)) == len(found)
