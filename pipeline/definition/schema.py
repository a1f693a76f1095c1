"""The JSON Schema of pipeline.yaml, made from the models and the table of kinds: `python -m pipeline.definition.schema`.

It says what editors can use. What it cannot say (names that must be there, the graph, expressions) `towpath validate` says.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pipeline.definition.model import Document
from stages.kinds import IMAGE, IN_PIPELINES, Kind, Option

Json = dict[str, Any]

_EXPRESSION: Json = {"type": "string", "pattern": r"\$\{\{.*\}\}", "title": "An expression"}
_TEXT: Json = {"type": ["string", "number", "boolean"]}
_TYPES: dict[str, Json] = {
    "string": {"type": "string"},
    "file": {"type": "string", "minLength": 1},
    "folder": {"type": "string", "minLength": 1},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "strings": {"type": "array", "items": _TEXT},
    "map": {"type": "object", "additionalProperties": _TEXT},
    "paths": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "image": {"type": "string", "pattern": f"^{IMAGE}$"},
}


def schema() -> Json:
    """Give the schema, as JSON Schema 2020-12."""
    made = _without_null(Document.model_json_schema())
    stage, environment = made["$defs"]["Stage"], made["$defs"]["Environment"]
    for key in ("parameters", "tags"):
        environment["properties"][key]["additionalProperties"] = _TEXT
    stage["properties"]["uses"]["enum"] = list(IN_PIPELINES)
    stage["allOf"] = [_kind(kind) for kind in IN_PIPELINES.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "pipeline.yaml",
        "description": "A pipeline of Towpath, format version 1.",
    }


def _without_null(value: Any) -> Any:
    """What may be left out may not be null: a key without a value is an error."""
    if isinstance(value, list):
        return [_without_null(each) for each in value]
    if not isinstance(value, dict):
        return value
    value = {key: _without_null(each) for key, each in value.items() if not (key == "default" and each is None)}
    choices = [each for each in value.pop("anyOf", []) if each != {"type": "null"}]
    return {**(choices[0] if choices else {}), **value}


def _kind(kind: Kind) -> Json:
    """What a stage that uses this kind looks like."""
    options: Json = {
        "description": kind.summary,
        "properties": {option.name: _option(option) for option in kind.options},
        "additionalProperties": False,
    }
    then: Json = {"properties": {"with": options}, "required": []}
    required = [option.name for option in kind.options if option.required]
    if required:
        options["required"] = required
        then["required"].append("with")
    if kind.environment == "required":
        then["oneOf"] = [{"required": ["environment"]}, {"required": ["environments"]}]
    if kind.environment == "none":
        then["properties"] |= {"environment": False, "environments": False}
    if kind.idempotent:
        then["properties"]["idempotent"] = False
    if not kind.secrets:
        then["properties"]["secrets"] = False
    return {"if": {"properties": {"uses": {"const": kind.name}}, "required": ["uses"]}, "then": then}


def _option(option: Option) -> Json:
    about: Json = {"description": option.help}
    if option.default is not None:
        about["default"] = option.default
    of_type = {**_TYPES[option.type], **({"enum": list(option.choices)} if option.choices else {})}
    if option.type in ("strings", "map", "paths") or of_type == {"type": "string"}:
        return {**of_type, **about}
    return {"anyOf": [of_type, _EXPRESSION], **about}


def text() -> str:
    """Give the schema as it is kept in docs/reference/pipeline.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
