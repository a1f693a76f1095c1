from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.bom.difference import Packages
from stages.bom.packages import Inventory, Package
from stages.bom.sbom import sbom
from stages.deploy import difference
from stages.deploy.difference import Unknown, new, scan, told

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NOBODY = Unknown("nobody looked"), Unknown("nobody looked")


def manifest(config: str, **layers: int) -> str:
    some = [{"digest": f"sha256:{name}", "size": size} for name, size in layers.items()]
    return json.dumps({"config": {"digest": config, "size": 1000}, "layers": some})


MANIFESTS = manifest(OLD, base=40_000_000, app=2_000_000), manifest(NEW, base=40_000_000, other=2_500_000)


def finding(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "package": "pkg:deb/debian/openssl@3", "severity": "HIGH", "installed": "3", **more}


def write(
    folder: Path, config: str, version: str, found: list[dict[str, Any]], *, database: str = "d", verdict: str = "PASS"
) -> difference.Scan:
    """The artifact of a scan of one image with one package."""
    (folder / "sbom").mkdir(parents=True)
    (folder / "sbom" / "Fn.cdx.json").write_bytes(sbom(config, Inventory([Package("deb", "openssl", version)])))
    images = {config: {"functions": ["Fn"], "verdict": verdict}}
    (folder / "verdict.json").write_text(json.dumps({"database": {"digest": database}, "images": images}))
    (folder / "findings.json").write_text(json.dumps({"images": {config: found}}))
    read = scan(folder, "")
    assert isinstance(read, difference.Scan)
    return read


def test_layers_packages_and_findings(tmp_path: Path) -> None:
    before = write(tmp_path / "old", OLD, "3.0.1", [finding("CVE-1"), finding("CVE-2")])
    after = write(tmp_path / "new", NEW, "3.0.2", [finding("CVE-2"), finding("CVE-3", fixed="3.1")])
    assert told(MANIFESTS, (before, after)) == [
        "layers: 1 shared, 1 new (2.5 MB), 1 gone (2.0 MB); 42.5 MB compressed, +0.5 MB",
        "packages: 0 new, 0 gone, 1 of another version",
        "  openssl 3.0.1 -> 3.0.2",
        "findings: 1 opened, 1 closed, 2 in all",
        "  + HIGH CVE-3 in openssl 3, fixed in 3.1",
        "  - HIGH CVE-1 in openssl 3",
    ]


def test_what_makes_findings_differ_besides_the_image_is_said(tmp_path: Path) -> None:
    before = write(tmp_path / "old", OLD, "1", [])
    after = write(tmp_path / "new", NEW, "1", [finding("CVE-1")], database="newer", verdict="INCOMPLETE")
    found = told(MANIFESTS, (before, after))
    assert found[1:3] == [
        "packages: the same, as far as the scans could read",
        "findings: 1 opened, 0 closed, 1 in all, by other advisories than then",
    ]


def test_many_packages_are_cut() -> None:
    lines = list(difference._packages(Packages(added={f"p{at:02}": "1" for at in range(30)}), ""))
    assert lines[0] == "packages: 30 new, 0 gone, 0 of another version"
    assert lines[-1] == "  and 20 more"
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (None, MANIFESTS[1], "the image that runs: it is not in its registry, or we may not read it"),
        (MANIFESTS[0], None, "the new image: it is not in its registry, or we may not read it"),
        ("{}", MANIFESTS[1], "the image that runs: its manifest is of no image that we can read"),
        (json.dumps({"manifests": []}), MANIFESTS[1], "the image that runs: its manifest is of no image"),
    ],
)
def test_a_manifest_that_is_not_to_be_had_is_said(before: str | None, after: str | None, why: str) -> None:
    (line,) = told((before, after), NOBODY)
    assert line.startswith(f"not known, because of {why}")


def test_without_scans_the_layers_are_told_all_the_same(tmp_path: Path) -> None:
    layers, rest = told(MANIFESTS, NOBODY)
    assert layers.startswith("layers: 1 shared")
    assert rest == "packages and findings: not known, because nobody looked"
    other = write(tmp_path / "other", "sha256:" + "c" * 64, "1", [])
    assert told(MANIFESTS, (other, other))[1].endswith("the scan did not look at what runs")


def test_no_file_of_a_scan_makes_a_proposal_fail(tmp_path: Path) -> None:
    before, after = (write(tmp_path / name, config, "1", []) for name, config in (("old", OLD), ("new", NEW)))
    for file, text in (("sbom/Fn.cdx.json", "{}"), ("sbom/Fn.cdx.json", "no json"), ("sbom/Fn.cdx.json", "[]")):
        (tmp_path / "new" / file).write_text(text)
        assert "not of its form" in told(MANIFESTS, (before, after))[1]
    for file, text in (("verdict.json", "{"), ("verdict.json", ""), ("findings.json", "\xff")):
        folder = tmp_path / f"{file}-{len(text)}"
        write(folder, NEW, "1", [])
        (folder / file).write_text(text, encoding="latin-1")
        assert isinstance(scan(folder, ""), Unknown)
    odd = difference.Scan(tmp_path, {"images": {NEW: {"functions": ["../../etc/passwd"]}}}, {})
    assert "not of its form" in told(MANIFESTS, (before, odd))[1]
    assert scan(None, "x") == scan(tmp_path / "none", "x") == Unknown("x")


def test_the_same_image_and_a_first_one() -> None:
    assert told((MANIFESTS[0], manifest(OLD, base=1)), NOBODY) == ["the same image, under another manifest"]
    assert new(MANIFESTS[1]) == ["2 layers, 42.5 MB compressed"]
    assert new(None) == []
