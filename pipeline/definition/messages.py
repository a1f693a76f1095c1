"""Say in a user's words what pydantic found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.definition.hints import MOST_PROBLEMS, closest, described, did_you_mean, dotted
from pipeline.definition.model import MODELS, WORDS
from stages.contract import Problem

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from pipeline.definition.positions import Path, Positions

_SINGULAR = {
    "parameters": "parameter",
    "environments": "environment",
    "secrets": "secret",
    "people": "person",
    "groups": "group",
    "stages": "stage",
}


def problem(error: ErrorDetails, positions: Positions) -> Problem:
    """Turn one of pydantic's errors into a Problem with its place and remedy."""
    path = error["loc"]
    if path and path[-1] == "[key]":
        return _bad_name(error, path[:-1], positions)
    if error["type"] == "missing":
        return _missing(path, positions)
    if error["type"] == "extra_forbidden":
        return _unknown(path, positions)
    value = error["input"]
    message = f"{dotted(path)} must be {_expected(error)}, not {described(value)}"
    if error["type"] in _LENGTHS:
        message = f"{dotted(path)} {_LENGTHS[error['type']].format(**error['ctx'])}"
    return Problem(message, *positions.value(*path), _remedy(error, path, positions))


_LENGTHS = {
    "string_too_long": "is too long: at most {max_length} characters",
    "string_too_short": "is too short: at least {min_length} characters",
    "too_short": "is empty: it needs at least {min_length}",
    "too_long": "has too many entries: at most {max_length}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def without_misspelt(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what is said to be missing only because it is misspelt."""
    unknown = [each["loc"] for each in errors if each["type"] == "extra_forbidden"][:MOST_PROBLEMS]
    meant = {(*path[:-1], closest(str(path[-1]), keys_of(path[:-1]))) for path in unknown}
    return [each for each in errors if not (each["type"] == "missing" and each["loc"] in meant)]


def keys_of(path: Path) -> dict[str, str]:
    """The keys of the map at `path`, each with its description."""
    model = _model(path)
    fields = model.model_fields if model else {}
    return {each.alias or name: each.description or "" for name, each in fields.items()}


def _model(path: Path) -> type[BaseModel] | None:
    fitting = (
        model
        for way, model in MODELS.items()
        if len(way) == len(path) and all(part in ("*", found) for part, found in zip(way, path, strict=True))
    )
    return next(fitting, None)


def _missing(path: Path, positions: Positions) -> Problem:
    *around, key = path
    hint = f"{keys_of(tuple(around)).get(str(key), '')} Add: {key}: ..."
    return Problem(f"{dotted(tuple(around))} lacks {key!r}", *positions.key(*around), hint)


def _unknown(path: Path, positions: Positions) -> Problem:
    *around, key = path
    where = f" in {dotted(tuple(around))}" if around else ""
    hint = did_you_mean(str(key), keys_of(tuple(around)), what="keys")
    if key == "profile" and len(around) == 2 and around[0] == "environments":
        hint = "How to sign in stands together: auth: {profile: NAME}"
    if key == "<<":
        hint = "Merge keys are not part of YAML 1.2's core schema. Use an alias for the whole value, or write it out."
    return Problem(f"unknown key {key!r}{where}", *positions.key(*path), hint)


def _bad_name(error: ErrorDetails, path: Path, positions: Positions) -> Problem:
    what = _SINGULAR.get(str(path[0]), "key")
    if error["type"] == "string_too_long":
        message = f"{path[-1]!r} is too long for a {what}'s name: at most {error['ctx']['max_length']} characters"
        return Problem(message, *positions.key(*path))
    return Problem(f"{str(path[-1])[:60]!r} is no name for a {what}", *positions.key(*path), f"Use {_expected(error)}.")


def _expected(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        return WORDS[context["pattern"]]
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    if error["type"] == "model_type" and error["loc"][-1] == "approvals":
        return "`none` or a map"
    pattern = _pattern(error["loc"])
    return WORDS[pattern] if pattern else _TYPES.get(error["type"], "something else")


def _pattern(path: Path) -> str | None:
    """The pattern that the text at `path` must match, if there is one."""
    model = _model(path[:-1])
    field = model.model_fields.get(str(path[-1])) if model and path else None
    return next((each.pattern for each in field.metadata if getattr(each, "pattern", None)), None) if field else None


_TYPES = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "dict_type": "a map",
    "model_type": "a map",
    "tuple_type": "a list",
}


def _remedy(error: ErrorDetails, path: Path, positions: Positions) -> str | None:
    value = error["input"]
    if isinstance(value, (int, float)) and path[-1] != "approvals":
        return _for_number(error, path, str(positions.text(*path)))
    if error["type"] == "model_type" and path[-1] == "approvals":
        return "Write: approvals: none, or: approvals: {people: 1, from: [NAME]}"
    if not isinstance(value, str):
        return None
    return _for_text(error, value)


def _for_text(error: ErrorDetails, value: str) -> str | None:
    if error["type"] == "tuple_type":
        return f"Write it as a list: [{value[:60]}]"
    if error["type"] == "bool_type" and value.lower() in _TRUTH:
        return f"Write {_TRUTH[value.lower()]}: this file is YAML 1.2, where {value} is text."
    if error["type"] == "literal_error":
        expected = str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        return did_you_mean(value, expected, what="choices") if len(expected) > 1 else None
    return None


def _for_number(error: ErrorDetails, path: Path, written: str) -> str | None:
    if path[-1] == "account":
        return f'Put it in quotes, or YAML takes it for a number: account: "{written}"'
    if path[-1] in ("timeout", "expires"):
        return f"Say the unit: {written}{'h' if path[-1] == 'expires' else 's'}"
    return f'Put it in quotes: "{written}"' if error["type"] == "string_type" else None


_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
