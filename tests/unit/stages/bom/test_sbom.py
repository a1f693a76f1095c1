"""SBOMs: strictly valid, and the same for the same image."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from stages.bom.packages import Distribution, Inventory, Package
from stages.bom.sbom import sbom

CONFIG = "sha256:" + "c" * 64
PACKAGES = [
    Package("apk", "musl", "1.2.4-r2", "x86_64", ("musl", "1.2.4-r2")),
    Package("deb", "libstdc++6", "1:12.2.0-14+b1~x", "amd64", ("gcc-12", "12.2.0-14")),
    Package("npm", "@scope/x", "1.0.0"),
    Package("npm", "x", "1.0.0"),
    Package("pypi", "x", "1.0"),
    Package("rpm", "bash", "1:5.1.8-9.el9", "x86_64", ("bash", "1:5.1.8-9.el9")),
]


@pytest.mark.parametrize("packages", [PACKAGES, []])
@pytest.mark.parametrize(
    "distribution", [Distribution("debian", "12", "Debian 12"), Distribution("debian", "", "Debian"), None]
)
def test_it_is_strictly_valid(packages: list[Package], distribution: Distribution | None) -> None:
    text = sbom(CONFIG, Inventory(packages, distribution)).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert len([each for each in json.loads(text).get("components", []) if each["type"] == "library"]) == len(packages)


def test_package_urls() -> None:
    document = json.loads(sbom(CONFIG, Inventory(PACKAGES, Distribution("rocky", "9.3", ""))))
    assert {each["purl"] for each in document["components"] if "purl" in each} == {
        "pkg:apk/rocky/musl@1.2.4-r2?arch=x86_64&distro=rocky-9.3",
        "pkg:deb/rocky/libstdc%2B%2B6@1:12.2.0-14%2Bb1~x?arch=amd64&distro=rocky-9.3",
        "pkg:npm/%40scope/x@1.0.0",
        "pkg:npm/x@1.0.0",
        "pkg:pypi/x@1.0",
        "pkg:rpm/rocky/bash@5.1.8-9.el9?arch=x86_64&distro=rocky-9.3&epoch=1",
    }


def test_there_is_no_time_and_no_chance_in_it() -> None:
    first, second = (sbom(CONFIG, Inventory(PACKAGES)) for _ in range(2))
    assert first == second
    other = json.loads(sbom("sha256:" + "d" * 64, Inventory(PACKAGES)))
    assert other["serialNumber"] != json.loads(first)["serialNumber"]
    assert "timestamp" not in other["metadata"]
