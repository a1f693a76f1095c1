from __future__ import annotations

import re
from pathlib import Path

import pipeline
from pipeline.definition import reference
from stages.kinds import IN_PIPELINES
from stages.limits import LIMITS

PAGE = Path(pipeline.__file__).parents[1] / "docs" / "reference" / "pipeline-yaml.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_code_makes() -> None:
    """If this fails: python -m pipeline.definition.reference docs/reference/pipeline-yaml.md"""
    assert reference.renewed(TEXT) == TEXT


def test_every_part_stands_in_the_page_once() -> None:
    assert re.findall(r"<!-- generated: ([a-z-]+) -->", TEXT) == list(reference.SECTIONS)
    assert TEXT.count("<!-- end -->") == len(reference.SECTIONS)


def test_a_page_that_is_behind_is_renewed() -> None:
    assert "| `uses` |" in reference.renewed("<!-- generated: stage -->\nold\n<!-- end -->\n")


def test_every_kind_and_option_is_there() -> None:
    made = reference.kinds()
    assert [name for name in IN_PIPELINES if f"### {name}\n" not in made] == []
    assert [
        option.name for kind in IN_PIPELINES.values() for option in kind.options if f"| `{option.name}` |" not in made
    ] == []


def test_the_limits_that_the_page_names_are_the_limits() -> None:
    assert LIMITS.yaml_bytes == 2**20
    assert "1 MiB of files" in TEXT
    assert f"{LIMITS.yaml_depth} levels of nesting, {LIMITS.yaml_nodes:,} nodes" in TEXT
    assert f"{LIMITS.include_depth} levels deep" in TEXT
