"""A template with what is known put in: parameters, and the branches that their values choose. Pure.

So that a right which only a parameter's value gives is seen as well. What is not known (a resource's attribute, a secret, a value that only
CloudFormation can tell) stays as it is written.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from stages.contract import InvalidInput
from stages.template.resolve import Scope, Unresolvable, resolve
from stages.template.tree import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.contract import Json

NO_VALUE = {"Ref": "AWS::NoValue"}
_IN_SUB = re.compile(r"\$\{(?!!)([^}]*)\}")


def settle(template: Any, given: Mapping[str, str] | None) -> Any:
    """Put in what is known; a resource whose condition does not hold is left out. `given` are values of parameters and of pseudo
    parameters, None if nobody knows them. `template` is as `stages.deploy.meaning.plain` gives it.
    """
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        return template
    values, holds = _known(template, given)
    resources = {
        name: _put(_without_condition(each, holds), values, holds)
        for name, each in template["Resources"].items()
        if not (isinstance(each, dict) and holds.get(str(each.get("Condition"))) is False)
    }
    return {**template, "Resources": resources}


def hidden(resource: Json) -> Json:
    """A resource as it is for certain: without what only an undecided condition may give it."""
    return {} if "Condition" in resource else _hidden(resource)


def branches(value: Any) -> list[Any]:
    """What a value may be: itself, or either of what an undecided `Fn::If` chooses from."""
    if (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("Fn::If"), list)
        and len(value["Fn::If"]) == 3
    ):
        return [each for branch in value["Fn::If"][1:] for each in branches(branch)]
    return [] if value == NO_VALUE else [value]


def _known(template: Json, given: Mapping[str, str] | None) -> tuple[dict[str, Any], dict[str, bool]]:
    """The values of parameters and pseudo parameters that are known, and the conditions that are decided by them."""
    written = {name: template.get(name) for name in ("Parameters", "Conditions", "Mappings")}
    sections: Json = {name: each if isinstance(each, dict) else {} for name, each in written.items()}
    declared: Json = sections["Parameters"]
    unknown = {
        name: "it is not known here"
        for name, each in declared.items()
        if given is None or (name not in given and not isinstance(each, dict)) or _is_secret(each)
    }
    shown = {name: value for name, value in (given or {}).items() if name not in unknown}
    try:
        root = read(json.dumps(sections).encode(), "").root
    except InvalidInput:
        return {}, {}
    scope = Scope(root, shown, unknown)
    values = {name: value for name in (*declared, *shown) if (value := _value({"Ref": name}, scope)) is not None}
    values |= {
        name: value for name, value in shown.items() if name in declared and name not in values
    }  # of Parameter Store
    decided = {name: _value({"Fn::If": [name, "yes", "no"]}, scope) for name in sections["Conditions"]}
    return values, {name: value == "yes" for name, value in decided.items() if value is not None}


def _is_secret(parameter: Any) -> bool:
    return isinstance(parameter, dict) and str(parameter.get("NoEcho")).lower() == "true"


def _value(call: Json, scope: Scope) -> Any:
    """What a call comes to, None if that is not known."""
    try:
        (pair,) = read(json.dumps({"x": call}).encode(), "").root.pairs
        return resolve(pair[1], scope)
    except (Unresolvable, InvalidInput):
        return None


def _without_condition(resource: Any, holds: Mapping[str, bool]) -> Any:
    if isinstance(resource, dict) and holds.get(str(resource.get("Condition"))):
        return {name: each for name, each in resource.items() if name != "Condition"}
    return resource


def _put(value: Any, values: Mapping[str, Any], holds: Mapping[str, bool]) -> Any:
    if isinstance(value, list):
        return [put for each in value if (put := _put(each, values, holds)) != NO_VALUE]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, inner), *_ = value.items()
        if name == "Ref" and isinstance(inner, str):
            return values.get(inner, value)
        if name == "Fn::If" and isinstance(inner, list) and len(inner) == 3:
            held = holds.get(str(inner[0]))
            then, otherwise = (_put(each, values, holds) for each in inner[1:])
            return {name: [inner[0], then, otherwise]} if held is None else then if held else otherwise
        if name == "Fn::Sub" and (text := _text(_put(inner, values, holds))) is not None:
            return _substituted(text, values)
    put_in = {name: _put(each, values, holds) for name, each in value.items()}
    return {name: each for name, each in put_in.items() if each != NO_VALUE}


def _text(inner: Any) -> str | None:
    """The text of an `Fn::Sub`, with what its own names stand for in their places; None where that cannot be written so."""
    if isinstance(inner, str):
        return inner
    match inner:
        case [str(text), dict(own)]:
            written = {name: said for name, value in own.items() if (said := _written(value)) is not None}
            if len(written) == len(own):  # what is left may be called as something else is
                return _IN_SUB.sub(lambda found: written.get(found[1].strip(), found[0]), text)
    return None


def _written(value: Any) -> str | None:
    """How a text of `Fn::Sub` says a value by itself; None if it cannot."""
    match value:
        case str() if "${" not in value:
            return value
        case {"Ref": str(name)}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return f"${{{name}.{attribute}}}"
    return None


def _substituted(text: str, values: Mapping[str, Any]) -> Any:
    """A text with what is known put in; as a call still, if there is more in it."""
    put = _IN_SUB.sub(lambda match: values[match[1]] if isinstance(values.get(match[1]), str) else match[0], text)
    return {"Fn::Sub": put} if "${" in put else put


def _hidden(value: Any) -> Any:
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {("undecided" if name == "Fn::If" else name): _hidden(each) for name, each in value.items()}
