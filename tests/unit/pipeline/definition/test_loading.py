"""Bytes to plain values: the YAML that is read, and the limits of the whole."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.definition import loading
from pipeline.errors import InvalidDefinition
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path


def read(project: Path, **files: str) -> loading.Loaded:
    """Load main.yaml of these files."""
    for name, text in files.items():
        (project / f"{name}.yaml").write_text(text, encoding="utf-8")
    return loading.load("main.yaml", project)


def value(project: Path, text: str) -> Any:
    return read(project, main=f"v: {text}\n").value["v"]


def refused(project: Path, **files: str) -> list[str]:
    with pytest.raises(InvalidDefinition) as caught:
        read(project, **files)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "y", "n", "Yes", "12:30:45", "190:20:30", "2024-01-01"])
def test_what_only_yaml_1_1_retypes_is_text(tmp_path: Path, text: str) -> None:
    assert value(tmp_path, text) == text


@pytest.mark.parametrize(
    "text", ["0x1F", "0o17", "0b11", "1_000", "1,5", "=", "+", ".", "e5", "1e", "infinity", "tRUE"]
)
def test_what_looks_like_another_type_is_text(tmp_path: Path, text: str) -> None:
    assert value(tmp_path, text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("010", 10),
        ("-7", -7),
        ("+3", 3),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("~", None),
        ("null", None),
        ("", None),
        ('"true"', "true"),
        ("'010'", "010"),
        ("!!str 010", "010"),
        ("!!int '12'", 12),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_the_core_schema(tmp_path: Path, text: str, expected: Any) -> None:
    found = value(tmp_path, text)
    assert found == expected
    assert type(found) is type(expected)


def test_not_a_number(tmp_path: Path) -> None:
    assert math.isnan(value(tmp_path, ".nan"))


def test_keys_are_text_as_they_are_written(tmp_path: Path) -> None:
    """`on:` must be found under "on", and `010:` must not be found under 8."""
    assert read(tmp_path, main="on: 1\n010: 2\ntrue: 3\n1.0: 4\n~: 5\n").value == {
        "on": 1,
        "010": 2,
        "true": 3,
        "1.0": 4,
        "~": 5,
    }


def test_merge_keys_are_not_merged(tmp_path: Path) -> None:
    """Which of two values wins is a rule that the core schema does not have."""
    assert read(tmp_path, main="a: &a {x: 1}\nb: {<<: *a}\n").value["b"] == {"<<": {"x": 1}}


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!binary", "!!timestamp", "!!set", "!Ref", "!includes"])
def test_other_tags_are_refused(tmp_path: Path, tag: str) -> None:
    assert refused(tmp_path, main=f"a: {tag} x\n") == [f"the tag {tag} has no meaning here"]


@pytest.mark.parametrize("text", ["!!int x", "!!float x", "!!bool yes", "1234567890123456789", "9" * 5000])
def test_what_is_not_of_its_type_is_refused(tmp_path: Path, text: str) -> None:
    assert len(refused(tmp_path, main=f"a: {text}\n")) == 1


@pytest.mark.parametrize("text", ["!!str [a]", "!!seq a", "!!map [a]", "!!int {}"])
def test_a_tag_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    assert "has no meaning here" in refused(tmp_path, main=f"a: {text}\n")[0]


def test_keys_that_are_no_words_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, main="? [a]\n: 1\n? !include b.yaml\n: 2\n") == ["a key must be a word"] * 2


def test_all_problems_of_all_files_at_once_in_the_order_of_reading(tmp_path: Path) -> None:
    found = refused(tmp_path, main="a: !include b.yaml\nb: !X 1\n", b="a: !Y 1\nb: !include c.yaml\n", c="a: [\n")
    assert [each.split(",")[0] for each in found] == [
        "the tag !X has no meaning here",
        "the tag !Y has no meaning here",
        "while parsing a flow node",
    ]


# Places


def test_places_lead_through_includes(tmp_path: Path) -> None:
    positions = read(tmp_path, main="a: 1\nb:\n  - !include b.yaml\n", b="x:\n  y: 'z'\n").positions
    assert positions.value("b", 0, "x", "y") == ("b.yaml", 2, 6, "  y: 'z'")
    assert positions.key("b", 0, "x", "y") == ("b.yaml", 2, 3, "  y: 'z'")
    assert positions.key("b") == ("main.yaml", 2, 1, "b:")
    assert positions.value("b", 0) == ("b.yaml", 1, 1, "x:")


def test_the_key_of_an_include_is_in_the_including_file(tmp_path: Path) -> None:
    positions = read(tmp_path, main="a: !include b.yaml\n", b="x: 1\n").positions
    assert positions.key("a")[:3] == ("main.yaml", 1, 1)
    assert positions.value("a")[:3] == ("b.yaml", 1, 1)


def test_an_aliased_value_stands_where_it_is_written(tmp_path: Path) -> None:
    positions = read(tmp_path, main="a: &a {x: 1}\nb: *a\n").positions
    assert positions.value("b", "x")[:3] == ("main.yaml", 1, 11)
    assert positions.key("b")[:3] == ("main.yaml", 2, 1)


# Includes of includes


def test_one_file_may_be_included_often_and_is_read_once(tmp_path: Path) -> None:
    loaded = read(tmp_path, main="a: !include b.yaml\nb: [!include b.yaml]\n", b="x: !include c.yaml\n", c="1\n")
    assert loaded.value == {"a": {"x": 1}, "b": [{"x": 1}]}
    assert list(loaded.files) == ["main.yaml", "b.yaml", "c.yaml"]


def test_an_empty_include_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, main="a: !include b.yaml\n", b="# nothing\n") == ["the file is empty"]


@pytest.mark.parametrize(
    ("files", "cycle"),
    [
        ({"main": "a: !include main.yaml\n"}, "main.yaml -> main.yaml"),
        ({"main": "!include b.yaml\n", "b": "!include main.yaml\n"}, "main.yaml -> b.yaml -> main.yaml"),
        ({"main": "!include b.yaml\n", "b": "[!include b.yaml]\n"}, "main.yaml -> b.yaml -> b.yaml"),
    ],
)
def test_cycles_are_refused(tmp_path: Path, files: dict[str, str], cycle: str) -> None:
    assert refused(tmp_path, **files) == [f"the include leads back to where it began: {cycle}"]


def test_a_cycle_through_a_link_is_refused(tmp_path: Path) -> None:
    """By its name alone, the link is another file each time."""
    (tmp_path / "link.yaml").symlink_to("main.yaml")
    assert "leads back" in refused(tmp_path, main="a: !include link.yaml\n")[0]


def chain(length: int) -> dict[str, str]:
    """A main file and `length` includes, one in the other."""
    names = ["main", *(f"f{number}" for number in range(length))]
    return {name: f"a: !include {inner}.yaml\n" for name, inner in itertools.pairwise(names)} | {names[-1]: "1\n"}


def test_the_depth_of_includes_has_a_limit(tmp_path: Path) -> None:
    read(tmp_path, **chain(LIMITS.include_depth))
    assert refused(tmp_path, **chain(LIMITS.include_depth + 1)) == ["includes within includes: more than 8 levels"]


def test_includes_cannot_nest_deeper_together_than_one_file_may(tmp_path: Path) -> None:
    deep = "[" * 20 + "!include b.yaml" + "]" * 20
    message = f"nested deeper than {LIMITS.yaml_depth} levels"
    assert refused(
        tmp_path, main=deep, b=deep.replace("b.", "c."), c=deep.replace("b.", "d."), d="[" * 20 + "]" * 20
    ) == [message]


def test_a_bomb_of_includes_is_refused_soon(tmp_path: Path) -> None:
    """Each file is small and includes the next ten times: ten million values after seven files."""
    files = {f"f{n}": "[" + f"!include f{n + 1}.yaml, " * 10 + "]" for n in range(7)}
    start = time.perf_counter()
    found = refused(tmp_path, main="!include f0.yaml\n", **files, f7="x")
    assert found == [f"more than {LIMITS.yaml_nodes:,} nodes once its includes are expanded"]
    assert time.perf_counter() - start < 30


def test_the_files_together_have_a_limit(tmp_path: Path) -> None:
    half = "#" * (LIMITS.yaml_bytes // 2) + "\n"
    found = refused(tmp_path, main="a: !include b.yaml\nb: !include c.yaml\n", b=half + "1\n", c=half + "1\n")
    assert found == ["the files of the definition have more than 1,048,576 bytes together"]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    assert "larger than" in refused(tmp_path, main="a: !include b.yaml\n", b="#" * (LIMITS.yaml_bytes + 1))[0]
