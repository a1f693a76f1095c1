"""Which advisories are about what is installed: https://ossf.github.io/osv-schema/#evaluation"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.bom import advisories, versions
from stages.bom.packages import OS_TYPES
from stages.bom.severity import severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.bom.advisories import Advisory, Database, Key
    from stages.bom.packages import Inventory, Package, Type
    from stages.contract import Json

_APPLICATIONS: dict[Type, str] = {"pypi": "PyPI", "npm": "npm"}


@dataclass(frozen=True)
class Finding:
    """An advisory that is about an installed package. `fixed` is the version to go to, as far as the advisory names one."""

    id: str
    aliases: tuple[str, ...]
    package: Package
    installed: str
    fixed: str | None
    severity: str
    file: str


@dataclass(frozen=True)
class Match:
    """All findings of an image, and why there may be more."""

    findings: list[Finding]
    reasons: list[str]


def wanted(inventory: Inventory) -> set[Key]:
    """What to look up for an image."""
    return {key for package in inventory.packages for key, _ in _keys(package, inventory)}


def match(inventory: Inventory, database: Database) -> Match:
    """Compare what is installed with the advisories that `wanted` was loaded for."""
    findings: list[Finding] = []
    reasons = [*inventory.reasons, *_unknown_ecosystems(inventory, database)]
    for package in inventory.packages:
        told: set[str] = set()
        for key, version in _keys(package, inventory):
            for advisory in database.by_package.get(key, ()):
                try:
                    hit = affects(package.type, version, advisory.affected)
                except versions.Unknown as error:
                    named = f"{advisory.document['id']} on {package.name} {version[:80]}"
                    reasons.append(f"{named}: a version cannot be compared ({str(error)[:80]})")
                    continue
                if hit and advisory.document["id"] not in told:
                    told.add(advisory.document["id"])
                    findings.append(_finding(package, version, advisory))
    return Match(findings, list(dict.fromkeys(reasons)))


def affects(kind: Type, version: str, affected: Json) -> bool:
    """Whether a version is among those affected. Raises versions.Unknown if that cannot be told."""
    listed = _list(affected, "versions")
    if version in listed:
        return True
    ranges = [each for each in _list(affected, "ranges") if each.get("type") in ("ECOSYSTEM", "SEMVER")]
    if not listed and not ranges:
        raise versions.Unknown("of no range of releases")
    return any(_in_range(kind, version, each) for each in ranges)


def _in_range(kind: Type, version: str, given: Json) -> bool:
    """Go through the events from the oldest version to the newest: the last one that the version has reached decides."""
    installed = versions.parse(kind, version)
    events = _events(kind, given)
    if not any(event.name == "introduced" for event in events):
        raise versions.Unknown("of no range with a beginning")
    limits = [event for event in events if event.name == "limit"]
    if limits and not any(installed < event.point for event in limits):
        return False
    vulnerable = False
    for event in sorted(events, key=functools.cmp_to_key(_compare)):
        if event.name == "introduced" and (event.point is None or not installed < event.point):
            vulnerable = True
        elif (event.name == "fixed" and not installed < event.point) or (
            event.name == "last_affected" and event.point < installed
        ):
            vulnerable = False
    return vulnerable


class _Event(NamedTuple):
    name: str
    point: Any  # None: before every version


def _events(kind: Type, given: Json) -> list[_Event]:
    return [
        _Event(name, None if value == "0" and name == "introduced" else versions.parse(kind, str(value)))
        for each in _list(given, "events")
        for name, value in each.items()
        if not (name == "limit" and value == "*")
    ]


def _compare(one: _Event, other: _Event) -> int:
    """Order events by version; where one version is both fixed and affected again, it is affected."""
    if one.point is None or other.point is None:
        return (other.point is None) - (one.point is None)
    if one.point < other.point:
        return -1
    if other.point < one.point:
        return 1
    return (one.name == "introduced") - (other.name == "introduced")


def _list(part: Json, key: str) -> list[Any]:
    value = part.get(key)
    return value if isinstance(value, list) else []


def _finding(package: Package, version: str, advisory: Advisory) -> Finding:
    document = advisory.document
    return Finding(
        id=document["id"],
        aliases=tuple(str(each) for each in _list(document, "aliases")),
        package=package,
        installed=version,
        fixed=_fixed(package.type, version, advisory.affected),
        severity=severity(document, advisory.affected),
        file=advisory.file,
    )


def _fixed(kind: Type, version: str, affected: Json) -> str | None:
    """The nearest version above the installed one in which an advisory says it is fixed."""
    said = [
        str(event["fixed"])
        for each in _list(affected, "ranges")
        if each.get("type") in ("ECOSYSTEM", "SEMVER")
        for event in _list(each, "events")
        if "fixed" in event
    ]
    try:
        installed = versions.parse(kind, version)
        later = [(point, text) for text in said if installed < (point := versions.parse(kind, text))]
    except versions.Unknown:
        return None
    return min(later, key=lambda each: each[0])[1] if later else None


def _keys(package: Package, inventory: Inventory) -> Iterator[tuple[Key, str]]:
    """How advisories name a package, and the version they mean: that of its source package, for rpm also its own."""
    if package.type in _APPLICATIONS:
        yield advisories.normal(_APPLICATIONS[package.type], package.name), package.version
        return
    own = [(package.name, package.version)] if package.type == "rpm" or not package.source[0] else []
    named = dict.fromkeys([*own, *([package.source] if package.source[0] else [])])
    for ecosystem in inventory.distribution.ecosystems if inventory.distribution else ():
        for name, version in named:
            yield (ecosystem, name), version


def _unknown_ecosystems(inventory: Inventory, database: Database) -> Iterator[str]:
    """A folder without a single advisory for an ecosystem says nothing of what is installed from it."""
    types = {package.type for package in inventory.packages}
    distribution = inventory.distribution
    if types & OS_TYPES and distribution and not database.ecosystems.intersection(distribution.ecosystems):
        names = " or ".join(distribution.ecosystems)
        why = f"no advisory is of the ecosystem {names}" if names else "OSV has no ecosystem for it that is known here"
        yield f"there are no advisories for {distribution.name}: {why}"
    for kind, ecosystem in _APPLICATIONS.items():
        if kind in types and ecosystem not in database.ecosystems:
            yield f"there are no advisories for {ecosystem}, and the image has packages of it"
