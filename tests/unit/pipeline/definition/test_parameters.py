from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.definition import parameters
from pipeline.errors import InvalidDefinition

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load

    from pipeline.definition import Definition

TEXT = """
parameters:
  level: {type: string, enum: [INFO, DEBUG], default: INFO}
  name: {type: string}
  count: {type: integer, default: 4, enum: [1, 4, 10]}
  dry: {type: boolean, default: false}
stages:
  a: {uses: command, with: {run: ["${{ parameters.level }}", "${{ parameters.name }}", "${{ parameters.count }}", "${{ parameters.dry }}"]}}
"""


@pytest.fixture
def definition(load: Load) -> Definition:
    return load(TEXT)


def wrong(definition: Definition, **given: str) -> list[str]:
    with pytest.raises(InvalidDefinition) as caught:
        parameters.resolve(definition, given)
    return [problem.message for problem in caught.value.problems]


def test_defaults_and_what_is_given(definition: Definition) -> None:
    assert parameters.resolve(definition, {"name": "x", "dry": "true"}) == {
        "level": "INFO",
        "name": "x",
        "count": 4,
        "dry": True,
    }


def test_a_value_has_the_declared_type(definition: Definition) -> None:
    found = parameters.resolve(definition, {"name": "010", "count": "10"})
    assert (found["name"], found["count"]) == ("010", 10)
    assert found["dry"] is False


def test_an_empty_text_is_a_value(definition: Definition) -> None:
    assert parameters.resolve(definition, {"name": ""})["name"] == ""


def test_all_that_is_wrong_is_said_at_once(definition: Definition) -> None:
    assert wrong(definition, levle="INFO", level="LOUD", count="four", dry="yes") == [
        "there is no parameter 'levle'",
        "parameter 'level' cannot be 'LOUD'",
        "parameter 'name' has no default and was not given",
        "parameter 'count' must be a whole number, not 'four'",
        "parameter 'dry' must be true or false, not 'yes'",
    ]


@pytest.mark.parametrize("text", ["", " 4", "4.0", "0x4", "1_0", "٤", "9" * 5000, "4\n"])
def test_whole_numbers_are_plain_decimal_digits(definition: Definition, text: str) -> None:
    assert wrong(definition, name="x", count=text)[0].startswith("parameter 'count' must be a whole number")


def test_a_number_that_is_not_among_the_choices(definition: Definition) -> None:
    assert wrong(definition, name="x", count="5") == ["parameter 'count' cannot be '5'"]


def test_what_is_missing_names_where_it_is_declared(definition: Definition) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parameters.resolve(definition, {})
    [problem] = caught.value.problems
    assert problem.where == "pipeline.yaml:6:3"
    assert problem.hint == "Give it with --parameter name=VALUE, or give it a `default` here."


def test_an_expression_in_a_value_is_only_text(definition: Definition) -> None:
    assert parameters.resolve(definition, {"name": "${{ parameters.level }}"})["name"] == "${{ parameters.level }}"
