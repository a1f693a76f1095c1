from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.build.builder import tag
from stages.build.definitions import Definition
from stages.build.sources import Context, Source
from stages.images.dockerfile import Reading
from stages.images.ignore import Ignore
from stages.template import BuiltImage, Function

LONGEST = "A" * 255


def name(function: str) -> str:
    image = BuiltImage("Dockerfile", ".")
    definition = Definition(
        Function(function, "", ("Resources", function), "AWS::Serverless::Function", "linux/amd64", image),
        image,
        Path(),
        "Dockerfile",
        "Dockerfile",
        {},
    )
    context = Context(Path(), Ignore(), [], "sha256:1")
    return tag(Source(definition, (function,), context, b"", Reading(), "sha256:" + "0" * 64))


@pytest.mark.parametrize("function", ["Fn", "1", LONGEST, "A" * 128, "A" * 129])
def test_an_engine_takes_the_name(function: str) -> None:
    """It refuses names of more than 255 characters, and a logical id may have as many."""
    repository, _, end = name(function).partition(":")
    assert re.fullmatch(r"towpath/[a-z0-9]+(-[a-z0-9]+)*", repository)
    assert len(repository) <= 255 - 16
    assert len(end) == 16


def test_names_that_are_cut_stay_distinct() -> None:
    assert len({name(LONGEST), name(LONGEST[:-1]), name(LONGEST[:-1] + "B"), name("A" * 128)}) == 4


def test_a_short_name_is_the_functions() -> None:
    assert name("HelloWorldFunction") == "towpath/helloworldfunction:0000000000000000"
