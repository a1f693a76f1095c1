from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.definition import resolve
from pipeline.errors import InvalidDefinition
from stages.kinds import KINDS

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load

    from pipeline.definition import Definition

TEXT = """
parameters:
  carrier: {type: string, default: engine}
  file: {type: string, default: a.yaml}
  jobs: {type: integer, default: 2}
  dry: {type: boolean, default: true}
environments:
  staging:
    account: "111122223333"
    region: eu-central-1
    stack: demo-staging
    approvals: none
    parameters: {Dry: "${{ parameters.dry }}", Jobs: "${{ parameters.jobs }}", Stack: "${{ environment.stack }}"}
stages:
  build:
    uses: build
    with:
      template: ${{ parameters.file }}
      carrier: ${{ parameters.carrier }}
      jobs: ${{ parameters.jobs }}
      build-args: {DRY: "${{ parameters.dry }}", ONE: 1.0}
  tell:
    uses: command
    environment: staging
    with: {run: [echo, "${{ environment.name }}/${{ environment.region }}", "${{ parameters.jobs }}"]}
"""
VALUES: dict[str, str | int | bool] = {"carrier": "engine", "file": "a.yaml", "jobs": 2, "dry": True}


@pytest.fixture
def definition(load: Load) -> Definition:
    return load(TEXT)


def test_options_are_evaluated_and_keep_the_type_that_the_kind_asks_for(definition: Definition) -> None:
    options = resolve.options(definition, "build", VALUES, None)
    assert {name: options[name] for name in ("template", "build-args", "carrier", "jobs")} == {
        "template": "a.yaml",
        "build-args": {"DRY": "true", "ONE": "1.0"},
        "carrier": "engine",
        "jobs": 2,
    }


def test_lists_of_texts_hold_texts(definition: Definition) -> None:
    """The argument of a program is a text: 2 would be an error of ours when it is started."""
    assert resolve.options(definition, "tell", VALUES, "staging") == {"run": ["echo", "staging/eu-central-1", "2"]}


def test_defaults_of_the_kind_are_filled_in(load: Load) -> None:
    loaded = load("stages: {build: {uses: build, with: {template: a.yaml}}}\n")
    defaults = {option.name: option.default for option in KINDS["build"].options if option.default is not None}
    assert defaults
    assert resolve.options(loaded, "build", {}, None) == {**defaults, "template": "a.yaml"}


def test_a_template_s_parameters_are_text_as_yaml_writes_it(definition: Definition) -> None:
    assert resolve.environment_parameters(definition, "staging", VALUES) == {
        "Dry": "true",
        "Jobs": "2",
        "Stack": "demo-staging",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("carrier", "zip", "stages.build.with.carrier must be engine or oci-layout, not 'zip'"),
        (
            "file",
            "../a",
            "stages.build.with.template must be the name of a file below the project directory: '../a' leads upwards",
        ),
    ],
)
def test_a_parameter_s_value_that_does_not_fit_is_a_problem_with_its_place(
    definition: Definition, name: str, value: str, message: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        resolve.options(definition, "build", {**VALUES, name: value}, None)
    assert [each.message for each in caught.value.problems] == [message]
    assert caught.value.problems[0].line is not None
