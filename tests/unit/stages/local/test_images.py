"""Which image a function runs."""

from __future__ import annotations

import pytest

from stages.contract import StageError
from stages.local.images import Wanted, wanted
from stages.template import BuiltImage, Function
from stages.template.references import parse

CONFIG = f"sha256:{'a' * 64}"
DIGEST = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:{'b' * 64}"


def function(image: str | None = None) -> Function:
    found = parse(image) if image else BuiltImage("Dockerfile", ".")
    return Function("Child/Fn", "Child", ("Resources", "Fn"), "AWS::Serverless::Function", "linux/arm64", found)


def built(carrier: dict[str, str]) -> dict[str, object]:
    return {"functions": {"Child/Fn": {"config": CONFIG, "carrier": carrier}}}


def test_the_one_that_was_asked_for_comes_first_and_then_what_the_template_names() -> None:
    assert wanted(function("app:1"), DIGEST, None) == Wanted(DIGEST, "linux/arm64", "Child/Fn", pulls=True)
    assert wanted(function("app:1"), None, None) == Wanted("app:1", "linux/arm64", "Child/Fn")
    assert wanted(function(DIGEST), None, None).pulls


@pytest.mark.parametrize(
    ("carrier", "name", "pulls"),
    [
        ({"type": "engine", "engine": "e", "image": "sha256:id"}, "sha256:id", False),
        ({"type": "oci-layout", "path": "oci"}, CONFIG, False),
        ({"type": "registry", "name": "host/app", "manifest": "sha256:m"}, "host/app@sha256:m", True),
    ],
)
def test_what_was_built_by_where_it_is(carrier: dict[str, str], name: str, pulls: bool) -> None:  # noqa: FBT001 - a case
    assert wanted(function(), None, built(carrier)) == Wanted(name, "linux/arm64", "Child/Fn", pulls)


def test_what_was_not_built_is_told_with_the_remedy() -> None:
    with pytest.raises(StageError, match="no build of this template is recorded") as error:
        wanted(function(), None, None)
    assert error.value.hint == "Build it: towpath build, or give --build"
    with pytest.raises(StageError, match="the last build did not build it"):
        wanted(function(), None, {"functions": {}})
