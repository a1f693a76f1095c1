"""A proposal as text for people: what happens to each resource and why, which image each function gets, what is looked up later. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from stages.contract import Json

    Leaves = Mapping[tuple[str, str], list[str]]

_SIGNS = {"Add": "+", "Modify": "*", "Remove": "-", "Import": ">", "Dynamic": "?", "SyncWithActual": "="}
_CAUSES = {
    "DirectModification": "from a change of the template",
    "ParameterReference": "from the parameter {cause}",
    "ResourceReference": "from the resource {cause}",
    "ResourceAttribute": "from {cause}",
    "Automatic": "from the template or the parameters of the nested stack",
}
"""ChangeSource in words. https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChangeDetail.html"""
_FROM = {"default": "default of the template", "stack": "kept from the stack"}
_ON_FAILURE = {
    "do-nothing": "the stack stays as it is then; nothing rolls back",
    "delete": "the stack is deleted",
}
VALUE_CHARACTERS = 100


def render(
    subject: Json,
    *,
    means: Iterable[str] = (),
    leaves: Leaves | None = None,
    differences: Mapping[str, Iterable[str]] | None = None,
) -> str:
    """The whole proposal. `means` are sentences on what it means, from `stages.deploy.meaning`; `leaves` says where within a
    property a resource changes; `differences` how the image of a function differs from the one that runs.
    """
    target = subject["target"]
    head = f"Stack {target['stack']} in account {target['account']}, {target['region']}"
    if subject["nothing_to_do"]:
        lines = [f"{head}: nothing to change"]
    else:
        lines = [f"{head}: {subject['execution']['type'].lower()}", *_changes(subject["changes"], leaves or {})]
    told = [f"  {each}" for each in means]
    lines += ["", "What it means", *told] if told else []
    sections = (_images(subject, differences or {}), _parameters(subject), _late_bound(subject), _options(subject))
    lines += ["", *(line for section in sections for line in section), f"Release {subject['release']}"]
    return "".join(f"{_one_line(each)}\n" for each in lines)


def _one_line(text: str) -> str:
    """A line that stays one: what comes out of a template must not look like lines of ours."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _changes(changes: list[Json], leaves: Leaves) -> list[str]:
    """A line for each resource; where several properties of it change, a line for each of them below it."""
    if not changes:
        return ["  no resource changes; outputs or other parts of the template do"]
    causes = [_causes(change, leaves) for change in changes]
    heads = _columns(
        (
            f"{_SIGNS.get(change['action'], '?')} {change['action']}",
            change["logical_id"],
            change["type"],
            "; ".join(_consequences(change, why)),
        )
        for change, why in zip(changes, causes, strict=True)
    )
    return [
        line
        for head, why in zip(heads, causes, strict=True)
        for line in (head, *(f"    {each}" for each in why if len(why) > 1))
    ]


def _consequences(change: Json, causes: list[str]) -> Iterator[str]:
    if change["action"] == "Modify":
        yield f"replacement: {change['replacement']}"
    if change.get("policy"):
        yield f"policy: {change['policy']}"
    if len(causes) == 1:
        yield causes[0]
    elif not causes and change["scope"]:
        yield ", ".join(change["scope"])
    if change.get("nested") is False and change["action"] != "Remove":
        yield "its own changes are not in the change set"


def _causes(change: Json, leaves: Leaves) -> list[str]:
    """Each property that changes with all that causes it. What is certain hides what only may be."""
    found: dict[str, dict[str, list[str]]] = {}
    for detail in change["properties"]:
        for name in leaves.get((change["logical_id"], detail["name"] or ""), [detail["name"] or detail["attribute"]]):
            if name:
                whys = found.setdefault(name, {}).setdefault((detail["evaluation"] or "").lower(), [])
                cause = _CAUSES.get(detail["source"] or "", "").format(cause=detail["cause"] or "?")
                whys += [cause] if cause and cause not in whys else []
    return [_caused(name, whys) for name, whys in sorted(found.items())]


def _caused(name: str, whys: dict[str, list[str]]) -> str:
    evaluation = "static" if "static" in whys else next(iter(whys))
    why = ", ".join(filter(None, (evaluation, " and ".join(whys[evaluation]))))
    return f"{name} ({why})" if why else name


def _images(subject: Json, differences: Mapping[str, Iterable[str]]) -> list[str]:
    before = (subject["base"] or {}).get("functions", {})
    lines: list[tuple[str, ...]] = []
    rows: list[str] = []
    for name, image in subject["images"].items():
        runs = before.get(name, {}).get("image")
        if runs == image["image"]:
            lines.append((f"  {name}", short(image["image"]), "(runs already)"))
        else:
            lines.append((f"  {name}", short(image["image"]), f"(now {short(runs)})" if runs else ""))
    for line, name in zip(_columns(lines), subject["images"], strict=True):
        rows += [line, *(f"    {each}" for each in differences.get(name, ()))]
    return ["Images", *rows] if rows else []


def _parameters(subject: Json) -> list[str]:
    base = subject["base"]
    before = base.get("parameters", {}) if base else None
    rows = [(f"  {name}", *_value(each, name, before)) for name, each in subject["parameters"].items()]
    gone = sorted(set(before or ()) - set(subject["parameters"]))
    rows += [(f"  {name}", f"was {cut((before or {})[name])}", "(no longer a parameter)") for name in gone]
    return ["Parameters", *_columns(rows)] if rows else []


def _value(parameter: Json, name: str, before: Json | None) -> tuple[str, str]:
    source = _FROM.get(parameter["from"], "")
    if "value" not in parameter:
        return "(secret)", f"({source})" if source else ""
    value = cut(str(parameter["value"]))
    if parameter.get("resolved", parameter["value"]) != parameter["value"]:
        value = f"{value} = {cut(str(parameter['resolved']))}"
    if before is not None and name not in before:
        source = ", ".join(filter(None, ("new", source)))
    elif before is not None and before[name] != parameter["value"]:
        value = f"{cut(before[name])} -> {value}"
    return value, f"({source})" if source else ""


def _late_bound(subject: Json) -> list[str]:
    """What is looked up elsewhere, and when: parameters when the change set is made, references when it is executed."""
    before = (subject["base"] or {}).get("resolved", {})
    rows = [
        (f"  {name}", *_fixed(each["resolved"], before.get(name)))
        for name, each in subject["parameters"].items()
        if "resolved" in each
    ]
    rows += [(f"  {text}", *_now(each, ", ".join(each["at"]))) for text, each in subject["late_bound"].items()]
    return ["Late-bound values", *_columns(rows)] if rows else []


def _fixed(now: str, before: str | None) -> tuple[str, str]:
    was = f" (was {cut(before)})" if before not in (None, now) else ""
    return f"= {cut(now)}{was}", "looked up in Parameter Store, and fixed in this change set"


def _now(value: Json, at: str) -> tuple[str, str]:
    if "unwatched" in value:
        return "not known", f"at {at}; {value['unwatched']}, so a change of it goes unnoticed"
    shown = f"= {cut(value['value'])} " if "value" in value else ""
    return f"{shown}(version {value['version']})", f"at {at}"


def _options(subject: Json) -> list[str]:
    """How it is executed, where that is not as it usually is or not as it was."""
    how, base = subject["execution"], subject["base"] or {}
    rows = list(_marks("tag {}", "without the tag {}", how["tags"], base.get("tags")))
    if how["service_role"]:
        before = base.get("service_role", how["service_role"])
        rows.append(
            f"CloudFormation acts as {how['service_role']}{'' if before == how['service_role'] else f' (was {before})'}"
        )
    told, tells = (
        dict.fromkeys(each["notification_arns"], "") if "notification_arns" in each else None for each in (base, how)
    )
    rows += _marks("it tells {}", "it no longer tells {}", tells or {}, told)
    if how["on_failure"] in _ON_FAILURE:
        rows.append(f"if it fails, {_ON_FAILURE[how['on_failure']]}")
    if how["retain_except_on_create"]:
        rows.append("if it rolls back, what it had just made is deleted, even if the template says to retain it")
    return ["Options", *(f"  {each}" for each in rows)] if rows else []


def _marks(has: str, lost: str, now: Mapping[str, str], before: Mapping[str, str] | None) -> Iterator[str]:
    """What is there, and what goes; of what was there before, only what differs is told."""
    for name in sorted({*now, *(before or ())}):
        if name not in now:
            yield lost.format(name)
        elif before is None or before.get(name) != now[name]:
            yield has.format(f"{name}={now[name]}" if now[name] else name)


def short(uri: str) -> str:
    """An image's URI without its host, its digest cut to what people compare."""
    name, _, digest = uri.rpartition("@sha256:")
    return f"{name.partition('/')[2]}@sha256:{digest[:12]}" if name else uri


def cut(value: str) -> str:
    """A value on one line, and not longer than people read."""
    plain = " ".join(value.split()) if "\n" in value else value
    return plain if len(plain) <= VALUE_CHARACTERS else plain[: VALUE_CHARACTERS - 3] + "..."


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below each other; the last column is as wide as it likes."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table)
    return ["  ".join(row).rstrip() for row in padded]
