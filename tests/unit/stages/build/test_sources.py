from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.build.definitions import Definition
from stages.build.sources import gather, source_hash
from stages.template import BuiltImage, Function

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "Other").write_text("FROM scratch\n")
    return folder


def _definition(
    context: Path, name: str = "A", dockerfile: str = "Dockerfile", platform: str = "linux/amd64", **args: str
) -> Definition:
    image = BuiltImage(dockerfile, str(context))
    function = Function(name, "", ("Resources", name), "AWS::Lambda::Function", platform, image)
    return Definition(function, image, context, dockerfile, f"context/{dockerfile}", args)


def test_equal_definitions_are_one_build_and_share_a_packed_context(context: Path, tmp_path: Path) -> None:
    definitions = [_definition(context, "A"), _definition(context, "B"), _definition(context, "C", V="1")]
    out = tmp_path / "out"
    out.mkdir()
    sources = gather(definitions, out)
    assert [build.functions for build in sources.builds] == [("A", "B"), ("C",)]
    assert sources.hashes["A"] == sources.hashes["B"] != sources.hashes["C"]
    assert [path.name for path in out.iterdir()] == ["0.tar"]


def test_ids_that_differ_in_case_only_are_two_functions(context: Path, tmp_path: Path) -> None:
    """Catches builds that overwrite each other because image names are lower case."""
    sources = gather([_definition(context, "QFoo", V="a"), _definition(context, "QFOO", V="b")], tmp_path)
    assert [build.functions for build in sources.builds] == [("QFoo",), ("QFOO",)]


@pytest.mark.parametrize("change", ["args", "dockerfile", "platform"])
def test_all_that_decides_what_is_built_is_in_the_source_hash(context: Path, change: str) -> None:
    base = source_hash(_definition(context), "sha256:1")
    other = {
        "args": _definition(context, V="1"),
        "dockerfile": _definition(context, dockerfile="Other"),
        "platform": _definition(context, platform="linux/arm64"),
    }[change]
    assert source_hash(other, "sha256:1") != base
    assert source_hash(_definition(context), "sha256:2") != base
    assert source_hash(_definition(context, "OtherName"), "sha256:1") == base
