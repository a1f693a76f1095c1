"""What differs between two images: by their bills of materials, and by what scans found in them. Pure.

Both are what a scan hands on: CycloneDX documents (`stages.bom.sbom`), and the findings of findings.json (docs/reference/scan.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packageurl import PackageURL

from stages.bom.severity import rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.contract import Json


@dataclass(frozen=True)
class Packages:
    """Packages by name with their versions: those that come, those that go, and those of other versions, before and after."""

    added: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)


def packages(before: Json, after: Json) -> Packages:
    """What differs between two bills of materials. Raises KeyError, TypeError, ValueError: they are none."""
    old, new = _versions(before), _versions(after)
    return Packages(
        {name: versions for name, versions in new.items() if name not in old},
        {name: versions for name, versions in old.items() if name not in new},
        {name: (old[name], new[name]) for name in old if name in new and old[name] != new[name]},
    )


def findings(before: Iterable[Json], after: Iterable[Json]) -> tuple[list[Json], list[Json]]:
    """The findings that are opened and those that are closed, the worst first. Raises KeyError, ValueError.

    A finding is the same one as long as it is of the same package, whatever the versions.
    """
    old, new = ({(each["id"], _name(each["package"])): each for each in some} for some in (before, after))
    opened = [each for key, each in new.items() if key not in old]
    closed = [each for key, each in old.items() if key not in new]
    return sorted(opened, key=_worst_first), sorted(closed, key=_worst_first)


def described(finding: Json) -> str:
    """A finding in words: `HIGH CVE-2026-1 in openssl 3.0.1`."""
    return f"{finding['severity']} {finding['id']} in {_name(finding['package'])[1]} {finding['installed']}"


def _worst_first(finding: Json) -> tuple[int, str, str]:
    return -rank(finding["severity"]), finding["id"], finding["package"]


def _name(purl: str) -> tuple[str, str]:
    url = PackageURL.from_string(purl)
    return url.type, f"{url.namespace}/{url.name}" if url.type == "npm" and url.namespace else url.name


def _versions(bom: Json) -> dict[str, str]:
    """Versions by name. There may be several of one package (npm); names are told apart by their kind where two kinds share one."""
    found: dict[tuple[str, str], set[str]] = {}
    for each in bom["components"]:
        if each["type"] == "operating-system":
            found.setdefault(("os", each["name"]), set()).add(str(each.get("version", "")))
        elif "purl" in each:
            found.setdefault(_name(each["purl"]), set()).add(str(each["version"]))
    names = [name for _, name in found]
    return {
        name if names.count(name) == 1 else f"{name} ({kind})": ", ".join(sorted(versions))
        for (kind, name), versions in found.items()
    }
