"""A proposal as text for people: what happens to each resource, and which image each function gets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.contract import Json

_SIGNS = {"Add": "+", "Modify": "*", "Remove": "-", "Import": ">", "Dynamic": "?", "SyncWithActual": "="}


def render(subject: Json, means: Iterable[str] = ()) -> str:
    """The whole proposal. `means` are sentences on what it means, from `stages.deploy.meaning`."""
    target = subject["target"]
    head = f"Stack {target['stack']} in account {target['account']}, {target['region']}"
    if subject["nothing_to_do"]:
        lines = [f"{head}: nothing to change"]
    else:
        lines = [f"{head}: {subject['execution']['type'].lower()}", *_changes(subject["changes"])]
    told = [f"  {each}" for each in means]
    lines += ["", "What it means", *told] if told else []
    return "\n".join([*lines, "", *_images(subject), *_parameters(subject), f"Release {subject['release']}"]) + "\n"


def _changes(changes: list[Json]) -> list[str]:
    if not changes:
        return ["  no resource changes; outputs or other parts of the template do"]
    return _columns(
        (
            f"{_SIGNS.get(change['action'], '?')} {change['action']}",
            change["logical_id"],
            change["type"],
            "; ".join(_consequences(change)),
        )
        for change in changes
    )


def _consequences(change: Json) -> Iterable[str]:
    if change["action"] == "Modify":
        yield f"replacement: {change['replacement']}"
    if change.get("policy"):
        yield f"policy: {change['policy']}"
    names = {each["name"] or each["attribute"] for each in change["properties"]} - {None}
    if names:
        yield ", ".join(sorted(names))


def _images(subject: Json) -> list[str]:
    before = (subject["base"] or {}).get("functions", {})
    rows = []
    for name, image in subject["images"].items():
        runs = before.get(name, {}).get("image")
        if runs == image["image"]:
            rows.append((f"  {name}", short(image["image"]), "(runs already)"))
        else:
            rows.append((f"  {name}", short(image["image"]), f"(now {short(runs)})" if runs else ""))
    return ["Images", *_columns(rows)] if rows else []


def _parameters(subject: Json) -> list[str]:
    rows = [(f"  {name}", _value(each)) for name, each in subject["parameters"].items()]
    return ["Parameters", *_columns(rows)] if rows else []


def _value(parameter: Json) -> str:
    if "digest" in parameter:
        return "(secret)"
    if "resolved" in parameter:
        return f"{parameter['value']} = {parameter['resolved']}"
    return str(parameter["value"])


def short(uri: str) -> str:
    """An image's URI without its host, its digest cut to what people compare."""
    name, _, digest = uri.rpartition("@sha256:")
    return f"{name.partition('/')[2]}@sha256:{digest[:12]}" if name else uri


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below each other; the last column is as wide as it likes."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table)
    return ["  ".join(row).rstrip() for row in padded]
