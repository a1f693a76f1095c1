"""How the image that a function gets differs from the one that it runs: layers, size, packages, findings.

It is shown beside a proposal and no part of what is approved, which is the image by its digest. So whatever cannot be had is told
as that, with the reason, and never keeps a deployment from going on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.bom import difference as bom
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json

MOST_PACKAGES = 10
MOST_FINDINGS = 10
NOT_READ = "it is not in its registry, or we may not read it"
"""Why a manifest is not known."""
_UNFIT = (KeyError, TypeError, ValueError, AttributeError, OSError)


@dataclass(frozen=True)
class Unknown:
    """Why something is not known."""

    why: str


@dataclass(frozen=True)
class Scan:
    """The artifact of a scan, as far as it tells of images by their config digest."""

    folder: Path
    verdicts: Json
    findings: Json

    @property
    def database(self) -> str:
        return str(self.verdicts["database"]["digest"])

    def sbom(self, config: str) -> Json:
        """The bill of materials of an image. Raises KeyError, ValueError, OSError: there is none, or it is another image's."""
        function = self.verdicts["images"][config]["functions"][0]
        path = self.folder / "sbom" / f"{function}.cdx.json"
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(function)
        found: Json = _read(path)
        if found["metadata"]["component"]["name"] != config:
            raise ValueError(config)
        return found


def scan(folder: Path | None, what: str) -> Scan | Unknown:
    """Read the artifact of a scan; `what` completes "not known, because "."""
    if folder is None or not folder.is_dir():
        return Unknown(what)
    try:
        return Scan(folder, _read(folder / "verdict.json"), _read(folder / "findings.json"))
    except _UNFIT as error:
        return Unknown(f"{folder.name} is not what a scan writes ({type(error).__name__})")


def told(manifests: tuple[str | None, str | None], scans: tuple[Scan | Unknown, Scan | Unknown]) -> list[str]:
    """Say how two images differ, the one that runs and the one that will, given their manifests and the scans that may know them."""
    before, after = (_parsed(each) for each in manifests)
    if isinstance(after, Unknown) or isinstance(before, Unknown):
        which = "the new image" if isinstance(after, Unknown) else "the image that runs"
        unknown = after if isinstance(after, Unknown) else before
        return [f"not known, because of {which}: {unknown.why}"] if isinstance(unknown, Unknown) else []
    configs = before["config"]["digest"], after["config"]["digest"]
    if configs[0] == configs[1]:
        return ["the same image, under another manifest"]
    return [_layers(before, after), *_contents(configs, scans)]


def new(manifest: str | None) -> list[str]:
    """Say what there is to say of an image where none runs yet."""
    found = _parsed(manifest)
    if isinstance(found, Unknown):
        return []
    return [f"{_count(len(found['layers']), 'layer')}, {_size(_total(found))} compressed"]


def _parsed(manifest: str | None) -> Json | Unknown:
    if manifest is None:
        return Unknown(NOT_READ)
    try:
        found: Json = json.loads(manifest)
        _ = found["config"]["digest"], [(each["digest"], int(each["size"])) for each in found["layers"]]
    except _UNFIT:
        return Unknown("its manifest is of no image that we can read")
    return found


def _layers(before: Json, after: Json) -> str:
    old, new_ = ({each["digest"]: int(each["size"]) for each in manifest["layers"]} for manifest in (before, after))
    shared, added, gone = set(old) & set(new_), set(new_) - set(old), set(old) - set(new_)
    parts = [f"{len(shared)} shared"]
    parts += [f"{len(added)} new ({_size(sum(new_[each] for each in added))})"] if added else []
    parts += [f"{len(gone)} gone ({_size(sum(old[each] for each in gone))})"] if gone else []
    grown = _total(after) - _total(before)
    return f"layers: {', '.join(parts)}; {_size(_total(after))} compressed, {'+' if grown >= 0 else '-'}{_size(abs(grown))}"


def _total(manifest: Json) -> int:
    """The bytes that a registry keeps of an image, each layer as often as it is named, as ECR counts."""
    return sum(int(each["size"]) for each in manifest["layers"]) + int(manifest["config"].get("size", 0))


def _contents(configs: tuple[str, str], scans: tuple[Scan | Unknown, Scan | Unknown]) -> Iterator[str]:
    for config, found in zip(configs, scans, strict=True):
        if isinstance(found, Unknown):
            yield f"packages and findings: not known, because {found.why}"
            return
        if config not in found.verdicts.get("images", {}):
            which = "what runs" if found is scans[0] else "this image"
            yield f"packages and findings: not known, because the scan did not look at {which}"
            return
    before, after = scans
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return
    judged = [
        each.verdicts["images"][config].get("verdict") for config, each in zip(configs, (before, after), strict=True)
    ]
    partly = ", as far as the scans could read" if "INCOMPLETE" in judged else ""
    try:
        yield from _packages(bom.packages(before.sbom(configs[0]), after.sbom(configs[1])), partly)
        yield from _findings(before, after, configs)
    except _UNFIT as error:
        yield f"packages and findings: not known, because a scan is not of its form ({type(error).__name__})"


def _packages(found: bom.Packages, partly: str) -> Iterator[str]:
    lines = [
        *(f"{name} {old} -> {new_}" for name, (old, new_) in sorted(found.changed.items())),
        *(f"+ {name} {version}" for name, version in sorted(found.added.items())),
        *(f"- {name} {version}" for name, version in sorted(found.removed.items())),
    ]
    if not lines:
        yield f"packages: the same{partly}"
        return
    yield f"packages: {len(found.added)} new, {len(found.removed)} gone, {len(found.changed)} of another version{partly}"
    yield from _some(lines, MOST_PACKAGES)


def _findings(before: Scan, after: Scan, configs: tuple[str, str]) -> Iterator[str]:
    old, new_ = before.findings["images"][configs[0]], after.findings["images"][configs[1]]
    opened, closed = bom.findings(old, new_)
    other = "" if before.database == after.database else ", by other advisories than then"
    yield f"findings: {len(opened)} opened, {len(closed)} closed, {len(new_)} in all{other}"
    yield from _some([f"+ {bom.described(each)}{_mended(each)}" for each in opened], MOST_FINDINGS)
    yield from _some([f"- {bom.described(each)}" for each in closed], MOST_FINDINGS)


def _mended(finding: Json) -> str:
    return f", fixed in {finding['fixed']}" if finding.get("fixed") else ""


def _some(lines: list[str], most: int) -> Iterator[str]:
    yield from (f"  {_plain(each)}" for each in lines[:most])
    if len(lines) > most:
        yield f"  and {len(lines) - most} more"


def _plain(text: str) -> str:
    """What came out of an image, fit to be printed."""
    return "".join(each if each.isprintable() else "?" for each in text)[:300]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes:,} bytes"


def _read(path: Path) -> Any:
    """A JSON file of a scan. Raises OSError, ValueError."""
    with path.open("rb") as file:
        data = file.read(LIMITS.reused_bytes + 1)
    if len(data) > LIMITS.reused_bytes:
        raise ValueError(path.name)
    return json.loads(data)
