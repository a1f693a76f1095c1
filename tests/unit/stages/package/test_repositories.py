from __future__ import annotations

from typing import Any

import pytest

from stages.contract import InvalidInput, Target
from stages.package.repositories import Place, choose

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
FUNCTIONS = ["A", "B", "Child/Handler"]


def _target(repository: str | None = None) -> Target:
    return Target("artifacts", "123456789012", "eu-central-1", repository=repository)


def _chosen(options: dict[str, Any], target: Target | None) -> dict[str, str]:
    return {name: place.uri for name, place in choose(FUNCTIONS, options, target).items()}


def _problems(options: dict[str, Any], target: Target | None) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        choose(FUNCTIONS, options, target)
    return [str(problem) for problem in caught.value.problems]


def test_the_mapping_wins_over_the_option_and_that_over_the_environment() -> None:
    options: dict[str, Any] = {"repositories": {"B": "team/b", "Child/Handler": "ghcr.io/me/handler"}}
    assert _chosen(options, _target("app")) == {
        "A": f"{ECR}/app",
        "B": f"{ECR}/team/b",
        "Child/Handler": "ghcr.io/me/handler",
    }
    assert _chosen(options | {"repository": "localhost:5000/app"}, _target("app"))["A"] == "localhost:5000/app"


def test_full_names_need_no_environment() -> None:
    assert set(_chosen({"repository": "127.0.0.1:5000/app"}, None).values()) == {"127.0.0.1:5000/app"}


@pytest.mark.parametrize(
    "host",
    [
        ECR,
        "123456789012.dkr.ecr-fips.eu-central-1.amazonaws.com",
        "123456789012.dkr-ecr.eu-central-1.on.aws",
    ],
)
def test_every_form_of_ecrs_hosts_is_ecr(host: str) -> None:
    assert choose(["A"], {"repository": f"{host}/app"}, None)["A"].ecr == ("123456789012", "eu-central-1")


def test_each_function_has_a_repository_of_its_own_by_the_applications_name() -> None:
    chosen = choose(FUNCTIONS, {"application": "shop", "repositories": {"B": "team/b"}}, _target("app"))
    assert chosen["Child/Handler"] == Place(ECR, "shop/child/handler", ours=True)
    assert chosen["B"] == Place(ECR, "team/b")


def test_an_unknown_function_is_named_with_the_one_that_was_meant() -> None:
    (problem,) = _problems({"repositories": {"Child/Handlr": "x-y"}}, _target("app"))
    assert problem.startswith("`repositories` names 'Child/Handlr', and the template has no such image function")
    assert "Did you mean Child/Handler? It has: A, B, Child/Handler." in problem


def test_a_function_whose_image_stays_where_it_is_needs_no_repository_and_may_be_named() -> None:
    assert choose([], {"repositories": {"A": "team/a"}}, None, ["A"]) == {}


def test_no_repository_at_all_is_told_for_each_function() -> None:
    problems = _problems({}, _target())
    assert [problem.partition("\n")[0] for problem in problems] == [
        f"there is no repository (for {name})" for name in FUNCTIONS
    ]
    assert "Give the environment artifacts a `repository`" in problems[0]


@pytest.mark.parametrize(
    "name",
    ["App", "a", "a//b", "a/", f"{ECR}/a:b", f"{ECR}/a@sha256:{'0' * 64}", "a b", "https://x.example/a", "x.example/A"],
)
def test_what_is_no_repository(name: str) -> None:
    assert "is no repository (for A)" in _problems({"repositories": {"A": name}}, _target("app"))[0]


def test_a_name_without_a_registry_needs_an_environment() -> None:
    assert "there is no environment to take one from" in _problems({"repository": "team/app"}, None)[0]


def test_an_application_whose_name_is_none() -> None:
    assert "'Shop/a' is no repository" in _problems({"application": "Shop"}, _target())[0]
