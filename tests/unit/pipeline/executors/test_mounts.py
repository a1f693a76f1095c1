from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pipeline.executors.mounts import Mount, arguments, resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("project/.towpath/work/h/outputs", "project/.towpath/store", "data/elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("project/key", "project/.towpath/work/h/request.json"):
        (tmp_path / file).touch()
    return tmp_path


def words(made: list[str], folder: Path) -> list[str]:
    return " ".join(made).replace(str(folder), "").split(" --")


def test_what_is_in_another_stands_after_it_whatever_the_order(tree: Path) -> None:
    work = tree / "project/.towpath/work/h"
    wanted = [
        Mount(str(work / "request.json"), "read"),
        Mount(str(work), "write"),
        Mount(str(tree / "project/key"), "hidden"),
        Mount(str(tree / "project/.towpath"), "hidden"),
        Mount(str(tree / "project"), "read"),
    ]
    assert words(arguments(wanted), tree) == [
        "--ro-bind /project /project",
        "tmpfs /project/.towpath",
        "bind /project/.towpath/work/h /project/.towpath/work/h",
        "ro-bind /project/.towpath/work/h/request.json /project/.towpath/work/h/request.json",
        "ro-bind /dev/null /project/key",
        "remount-ro /project/.towpath",
        "remount-ro /",
    ]


def test_what_is_seen_already_or_hidden_already_is_left_out(tree: Path) -> None:
    wanted = [Mount(str(tree / each), "read") for each in ("project", "project/key", "nowhere")]
    wanted.append(Mount(str(tree / "data"), "hidden"))
    assert words(arguments(wanted), tree) == ["--ro-bind /project /project", "remount-ro /"]


def test_of_two_for_one_path_the_later_counts(tree: Path) -> None:
    wanted = [Mount(str(tree / "project"), "read"), Mount(str(tree / "project"), "write")]
    assert words(arguments(wanted), tree)[0] == "--bind /project /project"


def test_a_link_is_made_anew_where_nothing_holds_it(tree: Path) -> None:
    (tree / "way").symlink_to("data/elsewhere")
    assert words(arguments([Mount(str(tree / "way"), "read")]), tree) == [
        "--ro-bind /data/elsewhere /data/elsewhere",
        "symlink data/elsewhere /way",
        "remount-ro /",
    ]


def test_a_link_in_what_is_seen_leads_where_it_did(tree: Path) -> None:
    """The folder of the runs' work may lie on another disk."""
    (tree / "project/out").symlink_to(tree / "data")
    wanted = [Mount(str(tree / "project"), "read"), Mount(str(tree / "project/out/elsewhere"), "write")]
    assert words(arguments(wanted), tree) == [
        "--bind /data/elsewhere /data/elsewhere",
        "ro-bind /project /project",
        "remount-ro /",
    ]


def test_a_path_is_followed_as_the_kernel_does(tree: Path) -> None:
    (tree / "a").symlink_to("b/../data")
    (tree / "b").symlink_to(tree / "project/.towpath")
    real, links = resolve(str(tree / "a/./elsewhere"))
    assert real == os.path.realpath(tree / "a/elsewhere") != str(tree / "data/elsewhere")
    assert links == {str(tree / "a"): "b/../data", str(tree / "b"): str(tree / "project/.towpath")}


def test_a_link_to_itself_has_an_end(tree: Path) -> None:
    (tree / "loop").symlink_to("loop")
    assert arguments([Mount(str(tree / "loop"), "read")])[-2:] == ["--remount-ro", "/"]
