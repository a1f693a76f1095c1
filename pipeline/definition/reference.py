"""The generated parts of docs/reference/pipeline-yaml.md: `python -m pipeline.definition.reference FILE` renews them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.definition.schema import schema
from stages.kinds import IN_PIPELINES, Kind, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def top_level() -> str:
    """The table of the keys of a definition."""
    return _keys(schema())


def parameter() -> str:
    """The table of the keys of a parameter."""
    return _keys(schema()["$defs"]["Parameter"])


def environment() -> str:
    """The table of the keys of an environment."""
    return _keys(schema()["$defs"]["Environment"])


def auth() -> str:
    """The table of the keys of an environment's `auth`."""
    return _keys(schema()["$defs"]["Auth"])


def roles() -> str:
    """The table of the keys of `roles`."""
    return _keys(schema()["$defs"]["Roles"])


def approvals() -> str:
    """The table of the keys of an environment's approvals."""
    return _keys(schema()["$defs"]["Approvals"])


def freeze() -> str:
    """The table of the keys of a freeze."""
    return _keys(schema()["$defs"]["Freeze"])


def glass() -> str:
    """The table of the keys of who may break the glass."""
    return _keys(schema()["$defs"]["BreakGlass"])


def notification() -> str:
    """The table of the keys of a notification."""
    return _keys(schema()["$defs"]["Notification"])


def secret() -> str:
    """The table of the keys of a secret."""
    return _keys(schema()["$defs"]["Secret"])


def person() -> str:
    """The table of the keys of a person."""
    return _keys(schema()["$defs"]["Person"])


def stage() -> str:
    """The table of the keys of a stage."""
    return _keys(schema()["$defs"]["Stage"])


def kinds() -> str:
    """A section for each kind: what it does, takes and gives, and its options."""
    return "\n\n".join(_kind(kind) for kind in IN_PIPELINES.values())


SECTIONS: dict[str, Callable[[], str]] = {
    "top-level": top_level,
    "parameter": parameter,
    "environment": environment,
    "auth": auth,
    "roles": roles,
    "approvals": approvals,
    "person": person,
    "freeze": freeze,
    "glass": glass,
    "notification": notification,
    "secret": secret,
    "stage": stage,
    "kinds": kinds,
}
"""Each part, by the name in its markers."""


def renewed(page: str) -> str:
    """Give the page with every part between `<!-- generated: NAME -->` and `<!-- end -->` made anew."""
    pattern = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{SECTIONS[found[2]]()}\n\n{found[3]}", page)


def _keys(model: dict[str, Any]) -> str:
    required = model.get("required", [])
    rows = (
        (f"`{name}`", _type(each), _default(name, each, required), each["description"])
        for name, each in model["properties"].items()
    )
    return _table(("key", "value", "default", "meaning"), rows)


def _type(value: dict[str, Any]) -> str:
    if "oneOf" in value:
        return ", or ".join(map(_type, value["oneOf"]))
    if "$ref" in value:
        return "map"
    if "const" in value or "enum" in value:
        return ", ".join(f"`{each}`" for each in value.get("enum", [value.get("const")]))
    if isinstance(value.get("type"), list):
        return "text, whole number, or true or false"
    if value["type"] in ("array", "object"):
        return _collection(value)
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}[value["type"]]


def _collection(value: dict[str, Any]) -> str:
    if value["type"] == "array":
        return f"list of: {_type(value['items'])}"
    for inner in (*value.get("patternProperties", {}).values(), value.get("additionalProperties")):
        if isinstance(inner, dict) and "$ref" in inner:
            name = inner["$ref"].rsplit("/", 1)[-1].lower()
            return f"map of names to {_PLURALS.get(name, f'{name}s')}"
        if isinstance(inner, dict) and inner.get("type") == "array":
            return f"map of names to lists of: {_type(inner['items'])}"
    return "map"


_PLURALS = {"person": "people"}


def _default(name: str, value: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    return f"`{value['default']}`" if value.get("default") not in (None, "", {}, [], ()) else ""


def _kind(kind: Kind) -> str:
    facts = [
        f"Takes: {_taken(kind)}. Gives: {_listed(kind.outputs)}. Environment: {kind.environment}."
        + (" May use secrets." if kind.secrets else ""),
        "A try that died half-way may be followed by another."
        if kind.idempotent
        else "A try that died half-way ends as `unknown`, unless the stage says `idempotent: true`.",
    ]
    rows = ((f"`{each.name}`", _OPTION_TYPES[each.type], _option_default(each), each.help) for each in kind.options)
    table = _table(("option", "value", "default", "meaning"), rows) if kind.options else "It takes no options."
    return f"### {kind.name}\n\n{kind.summary}\n\n{' '.join(facts)}\n\n{table}"


_OPTION_TYPES = {
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
    "file": "file below the project",
    "folder": "folder below the project",
    "strings": "list of texts",
    "map": "map to texts",
    "image": "image by digest",
    "paths": "list of names below the project",
}


def _option_default(option: Option) -> str:
    if option.required:
        return "required"
    return "" if option.default is None else f"`{option.default}`"


def _taken(kind: Kind) -> str:
    if not kind.takes_one_of:
        return _listed(kind.inputs)
    return f"{' or '.join(f'`{name}`' for name in kind.takes_one_of)}, of whichever a stage in its own `needs` gives, else of the only one there is"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
