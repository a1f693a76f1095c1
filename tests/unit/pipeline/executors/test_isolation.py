from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from support import sandboxes

from pipeline.errors import UsageError
from pipeline.executors import bubblewrap, isolation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("wanted", "here", "counts"),
    [
        ("best-effort", None, "best-effort"),
        ("required", None, "required"),
        ("none", None, "none"),
        ("best-effort", "required", "required"),
        ("best-effort", "none", "none"),
        ("required", "best-effort", "required"),
        ("none", "required", "required"),
    ],
)
def test_this_machine_says_what_counts_unless_the_definition_insists(
    wanted: str, here: str | None, counts: str
) -> None:
    assert isolation.decide(wanted, here) == counts


@pytest.mark.parametrize(("wanted", "here"), [("required", "none"), ("best-effort", "maybe")])
def test_what_cannot_be_is_refused(wanted: str, here: str) -> None:
    with pytest.raises(UsageError, match="TOWPATH_ISOLATION"):
        isolation.decide(wanted, here)


def program(folder: Path, text: str) -> dict[str, str]:
    """A `bwrap` of this content, first on PATH, and a memory of its own."""
    folder.mkdir(exist_ok=True)
    made = folder / "bwrap"
    made.write_text(f"#!/bin/sh\necho x >> {folder}/called\n{text}\n")
    made.chmod(stat.S_IRWXU)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}


def calls(folder: Path) -> int:
    return len((folder / "called").read_text().splitlines())


def test_what_worked_is_not_tried_again_until_something_is_another(tmp_path: Path) -> None:
    variables = program(tmp_path, "exit 0")
    for _ in range(3):
        assert isolation.choose("required", variables).mode == "bubblewrap"
    assert calls(tmp_path) == 1
    program(tmp_path, "exit 0 # newer")
    assert isolation.choose("required", variables).mode == "bubblewrap"
    assert calls(tmp_path) == 2
    bubblewrap.forget(variables)
    assert isolation.choose("required", variables).mode == "bubblewrap"
    assert calls(tmp_path) == 3


def test_an_older_one_is_used_without_what_it_does_not_know(tmp_path: Path) -> None:
    variables = program(tmp_path, 'case "$*" in *disable-userns*) echo "bwrap: Unknown option" >&2; exit 1;; esac')
    found = bubblewrap.find(variables)
    assert isinstance(found, bubblewrap.Bubblewrap)
    assert found.flags == ()
    assert bubblewrap.find(variables) == found
    assert calls(tmp_path) == 2


def test_one_that_does_not_work_is_told_of_and_tried_again(tmp_path: Path) -> None:
    variables = program(tmp_path, 'echo "bwrap: No permissions to create a new namespace" >&2; exit 1')
    found = isolation.choose("best-effort", variables)
    assert found.mode == "none"
    assert "No permissions to create a new namespace" in found.told[0]
    assert "Let this user make namespaces" in found.told[1]
    with pytest.raises(UsageError, match="No permissions") as refused:
        isolation.choose("required", variables)
    assert "docs/how-to/isolation.md" in str(refused.value.hint)
    program(tmp_path, "exit 0")
    assert isolation.choose("required", variables).mode == "bubblewrap"


def test_none_at_all(tmp_path: Path) -> None:
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    told = isolation.choose("best-effort", variables).told
    assert "not installed. A stage can read" in told[0]
    assert told[1] == "sudo apt-get install bubblewrap"
    with pytest.raises(UsageError, match="not installed"):
        isolation.choose("required", variables)


def test_whoever_wants_none_is_told_what_that_means(tmp_path: Path) -> None:
    assert "read this user's files" in isolation.choose("none", os.environ).told[0]


@pytest.mark.parametrize("text", ["", "[]", '{"key": 1, "variant": 0}', '{"key": null, "variant": 7}'])
def test_a_memory_that_is_none_is_not_believed(tmp_path: Path, text: str) -> None:
    variables = program(tmp_path, "exit 1")
    memory = bubblewrap._memory(variables)
    memory.parent.mkdir(parents=True)
    memory.write_text(text)
    assert isinstance(bubblewrap.find(variables), str)


def test_the_real_one_is_found() -> None:
    here = sandboxes.found()
    assert isolation.choose("required", os.environ).sandbox == here
