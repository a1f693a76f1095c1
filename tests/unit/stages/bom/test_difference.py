from __future__ import annotations

import json

from stages.bom.difference import Packages, described, findings, packages
from stages.bom.packages import Distribution, Inventory, Package, Type
from stages.bom.sbom import sbom


def bom(*those: tuple[Type, str, str], release: str = "12") -> dict[str, object]:
    """A bill of materials as a scan writes it, of (type, name, version)."""
    inventory = Inventory(
        [Package(type_, name, version) for type_, name, version in those], Distribution("debian", release, "Debian")
    )
    found: dict[str, object] = json.loads(sbom("sha256:" + "0" * 64, inventory))
    return found


def test_packages_that_come_go_and_change() -> None:
    before = bom(("deb", "openssl", "3.0.1"), ("deb", "gone", "1"), ("pypi", "requests", "2.0"), release="11")
    after = bom(("deb", "openssl", "3.0.2"), ("pypi", "requests", "2.0"), ("npm", "@a/b", "1.0"), release="12")
    assert packages(before, after) == Packages(
        added={"@a/b": "1.0"},
        removed={"gone": "1"},
        changed={"debian": ("11", "12"), "openssl": ("3.0.1", "3.0.2")},
    )
    assert packages(after, after) == Packages()


def test_several_versions_of_one_and_one_name_of_several_kinds() -> None:
    before = bom(("npm", "ms", "1"), ("npm", "ms", "2"), ("deb", "requests", "1"), ("pypi", "requests", "1"))
    after = bom(("npm", "ms", "2"), ("deb", "requests", "1"), ("pypi", "requests", "2"))
    assert packages(before, after).changed == {"ms": ("1, 2", "2"), "requests (pypi)": ("1", "2")}


def finding(name: str, package: str, severity: str = "HIGH", version: str = "1") -> dict[str, str]:
    return {"id": name, "package": f"{package}@{version}", "severity": severity, "installed": version}


def test_findings_that_open_and_close() -> None:
    ssl, curl = "pkg:deb/debian/openssl", "pkg:deb/debian/curl"
    before = [finding("CVE-1", ssl), finding("CVE-2", ssl)]
    after = [finding("CVE-2", ssl, version="2"), finding("CVE-3", ssl, "LOW"), finding("CVE-4", curl, "CRITICAL")]
    opened, closed = findings(before, after)
    assert [each["id"] for each in opened] == ["CVE-4", "CVE-3"]  # the worst first
    assert [each["id"] for each in closed] == ["CVE-1"]  # CVE-2 stands, though of another version
    assert described(opened[0]) == "CRITICAL CVE-4 in curl 1"
    assert findings(after, after) == ([], [])
