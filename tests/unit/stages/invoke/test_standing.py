from __future__ import annotations

import pytest

from stages.aws.lambda_ import LiveFunction
from stages.invoke.standing import differences

DEPLOYED = {"Fn": {"name": "demo-Fn-1", "image": "app@sha256:aa"}}


def live(image: str | None, last_update: str = "Successful", state: str = "Active") -> LiveFunction:
    return LiveFunction("demo-Fn-1", "arn:x", state, "", last_update, "", image, "code")


@pytest.mark.parametrize("state", ["Active", "Inactive", "Pending"])
def test_a_function_that_runs_its_image_is_no_difference(state: str) -> None:
    """One that slept is woken by the first call; that makes it no other code."""
    assert list(differences(DEPLOYED, {"Fn": live("app@sha256:aa", state=state)})) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (live("app@sha256:bb"), "found app@sha256:bb"),
        (live("other@sha256:aa"), "found other@sha256:aa"),
        (live(None), "found no image"),
        (live("app@sha256:aa", "InProgress"), "found it being updated at this moment"),
        (None, "but the function is gone"),
    ],
)
def test_every_difference_names_function_expected_and_found(found: LiveFunction | None, said: str) -> None:
    assert list(differences(DEPLOYED, {"Fn": found})) == [f"Fn (demo-Fn-1): expected app@sha256:aa, {said}"]


def test_a_function_without_an_image_must_not_have_one_either() -> None:
    deployed = {"Zip": {"name": "demo-Zip-1", "image": None}}
    assert list(differences(deployed, {"Zip": live(None)})) == []
    assert list(differences(deployed, {"Zip": live("app@sha256:aa")})) == [
        "Zip (demo-Zip-1): expected no image, found app@sha256:aa"
    ]


def test_every_function_is_compared_not_only_the_called_one() -> None:
    deployed = {"One": {"name": "one", "image": "a"}, "Two": {"name": "two", "image": "a"}}
    assert list(differences(deployed, {"One": live("a"), "Two": live("b")})) == ["Two (two): expected a, found b"]
