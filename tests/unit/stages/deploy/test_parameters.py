from __future__ import annotations

from stages.contract import Target
from stages.deploy import parameters
from stages.template.tree import read

TEMPLATE = read(
    b"""\
Parameters:
  Plain: {Type: String, Default: one}
  Bare: {Type: String}
  Secret: {Type: String, Default: changeme, NoEcho: true}
  Key: {Type: String, NoEcho: true}
""",
    "t.yaml",
)
TARGET = Target("staging", "111122223333", "eu-central-1", stack="demo")
BEFORE = {"Plain": "two", "Bare": "x", "Secret": "****", "Key": "****", "Gone": "y"}


def given(**values: str) -> Target:
    return Target("staging", "111122223333", "eu-central-1", stack="demo", parameters=values)


def test_where_values_come_from() -> None:
    """A default that the template states wins over what a stack happens to have; a secret is not set back to it."""
    assert parameters.sources(TEMPLATE, TARGET, BEFORE) == {
        "Plain": "default",
        "Bare": "stack",
        "Secret": "stack",
        "Key": "stack",
    }
    assert parameters.kept(TEMPLATE, TARGET, BEFORE) == {"Bare", "Secret", "Key"}
    assert set(parameters.sources(TEMPLATE, given(Plain="p", Bare="b", Secret="s", Key="k"), BEFORE).values()) == {
        "environment"
    }


def test_a_stack_that_is_made_has_nothing_to_keep() -> None:
    assert parameters.kept(TEMPLATE, TARGET, {}) == frozenset()
    problems = list(parameters.problems(TEMPLATE, TARGET, {}))
    assert [each.message for each in problems] == [
        f"the parameter {name} has no default, the environment staging does not set it" for name in ("Bare", "Key")
    ]
    assert problems[0].hint == "Add to `parameters` of the environment staging: `Bare: ...`"
    assert problems[0].where == "t.yaml:3:9"


def test_a_parameter_that_the_stack_does_not_have_yet() -> None:
    (problem,) = parameters.problems(TEMPLATE, given(Key="k"), {"Plain": "two"})
    assert problem.message.endswith("the environment staging does not set it and the stack has none to keep")
    assert list(parameters.problems(TEMPLATE, TARGET, BEFORE)) == []


def test_what_is_known_of_values_before_anything_is_made() -> None:
    assert parameters.known(TEMPLATE, given(Plain="p"), BEFORE) == {"Bare": "x", "Plain": "p"}  # a kept secret is not
    assert parameters.known(TEMPLATE, TARGET, {}) == {}


def test_a_secret_for_a_parameter_that_is_shown_is_refused() -> None:
    """Its value would stand in the stack, for all who may look at it."""
    (problem,) = parameters.unguarded(TEMPLATE, ["Plain", "Key", "Nothing"])
    assert problem.where == "t.yaml:2:10"
    assert problem.hint == "Add to the parameter Plain: `NoEcho: true`"
