from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.build.definitions import Definition
from stages.build.sources import Source, after, gather, on
from stages.images.engine import Images
from stages.template import BuiltImage, Function

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM debian:12\n")
    (folder / "Other").write_text("FROM debian:12\nCMD x\n")
    return folder


def _definition(
    context: Path, name: str = "A", dockerfile: str = "Dockerfile", platform: str = "linux/amd64", **args: str
) -> Definition:
    image = BuiltImage(dockerfile, str(context))
    function = Function(name, "", ("Resources", name), "AWS::Lambda::Function", platform, image)
    return Definition(function, image, context, dockerfile, f"context/{dockerfile}", args)


def _one(context: Path, *flags: str, **about: str) -> Source:
    (source,) = gather([_definition(context, **about)], flags, None)
    return source


def test_equal_definitions_are_one_build(context: Path) -> None:
    definitions = [_definition(context, "A"), _definition(context, "B"), _definition(context, "C", V="1")]
    assert [source.functions for source in gather(definitions, (), None)] == [("A", "B"), ("C",)]


def test_ids_that_differ_in_case_only_are_two_functions(context: Path) -> None:
    """Catches builds that overwrite each other because image names are lower case."""
    sources = gather([_definition(context, "QFoo", V="a"), _definition(context, "QFOO", V="b")], (), None)
    assert [source.functions for source in sources] == [("QFoo",), ("QFOO",)]


def test_all_that_decides_what_is_built_is_in_the_source_hash(context: Path) -> None:
    engine = Images("e", ids={"debian:12": "sha256:1"})
    moved = Images("e", ids={"debian:12": "sha256:2"})
    base = on(_one(context), engine)
    others = [
        on(_one(context, V="1"), engine),
        on(_one(context, dockerfile="Other"), engine),
        on(_one(context, platform="linux/arm64"), engine),
        on(_one(context, "secret token"), engine),
        on(_one(context), moved),
        on(_one(context), Images("e")),
    ]
    (context / "file").write_text("x")
    others.append(on(_one(context), engine))
    assert len({base.hash, *(other.hash for other in others)}) == 8


def test_a_name_and_a_folder_elsewhere_change_nothing(context: Path, tmp_path: Path) -> None:
    """Another checkout on another machine has the same source."""
    moved = tmp_path / "moved"
    before = _one(context).hash
    context.rename(moved)
    assert _one(moved, name="Other").hash == before


def test_what_is_left_out_changes_nothing_and_may_be_the_dockerfile(context: Path) -> None:
    (context / ".dockerignore").write_text("*\n!app\n")
    (context / "app").write_text("x")
    before = _one(context).hash
    (context / ".dockerignore").write_text("*\n!app\n# a comment\n")
    (context / "README").write_text("new")
    assert _one(context).hash == before
    (context / "Dockerfile").write_text("FROM debian:12\nCMD y\n")
    assert _one(context).hash != before


def test_a_dockerfile_can_have_its_own_dockerignore(context: Path) -> None:
    (context / ".dockerignore").write_text("a\n")
    (context / "Other.dockerignore").write_text("b\n")
    for name in ("a", "b"):
        (context / name).write_text(name)
    sources = gather([_definition(context), _definition(context, "B", "Other")], (), None)
    listed = [{entry.name for entry in source.context.listed} & {"a", "b"} for source in sources]
    assert listed == [{"b"}, {"a"}]


def test_a_base_that_was_pulled_is_known_afterwards_and_one_that_moved_is_not(context: Path) -> None:
    source = on(_one(context), Images("e"))
    assert source.bases == {"debian:12": None}
    pulled = after(source, Images("e", ids={"debian:12": "sha256:1"}))
    assert (pulled.bases, pulled.base, pulled.doubt) == ({"debian:12": "sha256:1"}, "sha256:1", None)
    moved = after(pulled, Images("e", ids={"debian:12": "sha256:2"}))
    assert (moved.bases, moved.doubt) == (None, "debian:12 became another image while it was built")


def test_what_fetches_has_no_bases(context: Path) -> None:
    (context / "Dockerfile").write_text("FROM debian:12\nADD https://example.com/x /\n")
    source = on(_one(context), Images("e", ids={"debian:12": "sha256:1"}))
    assert source.bases is None
    assert "ADD fetches https://example.com/x" in (source.doubt or "")
