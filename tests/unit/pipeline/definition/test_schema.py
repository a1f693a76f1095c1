from __future__ import annotations

import json
from pathlib import Path

import pipeline
from pipeline.definition import schema
from stages.kinds import IN_PIPELINES

FILE = Path(pipeline.__file__).parents[1] / "docs" / "reference" / "pipeline.schema.json"


def test_the_committed_schema_is_what_the_code_makes() -> None:
    """If this fails: python -m pipeline.definition.schema > docs/reference/pipeline.schema.json"""
    assert FILE.read_text(encoding="utf-8") == schema.text()


def test_it_is_one_json_document_of_2020_12() -> None:
    assert json.loads(schema.text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_kind_has_its_options_and_no_others() -> None:
    rules = {
        each["if"]["properties"]["uses"]["const"]: each["then"] for each in schema.schema()["$defs"]["Stage"]["allOf"]
    }
    assert set(rules) == set(IN_PIPELINES)
    for kind in IN_PIPELINES.values():
        options = rules[kind.name]["properties"]["with"]
        assert set(options["properties"]) == {option.name for option in kind.options}
        assert options["additionalProperties"] is False
        assert options.get("required", []) == [option.name for option in kind.options if option.required]


def test_nothing_may_be_null() -> None:
    """A key without a value is refused by `towpath validate`, so an editor must not offer it."""
    assert '"null"' not in schema.text()
