from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.contract import InvalidInput, Target
from stages.package import choose_repositories, handed

if TYPE_CHECKING:
    from pathlib import Path


def _target(repository: str | None) -> Target:
    return Target("artifacts", "123456789012", "eu-central-1", repository=repository)


def _problems(folder: Path, mapping: dict[str, str], repository: str | None) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        choose_repositories(handed.read(folder), mapping, _target(repository))
    return [str(problem) for problem in caught.value.problems]


def test_a_function_goes_where_the_mapping_says_and_else_to_the_environments_repository(folder: Path) -> None:
    chosen = choose_repositories(handed.read(folder), {"B": "team/b"}, _target("app"))
    assert chosen == {"A": "app", "B": "team/b"}


def test_an_unknown_function_is_named_with_those_there_are(folder: Path) -> None:
    (problem,) = _problems(folder, {"a": "x-y"}, "app")
    assert problem.startswith("`repositories` names 'a', and the template has no such image function")
    assert "It has: A, B." in problem


def test_no_repository_at_all_is_told_for_each_function(folder: Path) -> None:
    problems = _problems(folder, {}, None)
    assert [problem.partition("\n")[0] for problem in problems] == [
        "there is no repository for A",
        "there is no repository for B",
    ]


@pytest.mark.parametrize("name", ["App", "a", "a//b", "a/", "123456789012.dkr.ecr.x.amazonaws.com/a:b", "a b"])
def test_what_is_not_a_repositorys_name(folder: Path, name: str) -> None:
    assert "is not a repository's name (for A)" in _problems(folder, {"A": name}, "app")[0]
