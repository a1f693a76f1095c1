"""Names of packages that everybody understands: https://github.com/package-url/purl-spec"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packageurl import PackageURL

if TYPE_CHECKING:
    from stages.bom.packages import Distribution, Package


def purl(package: Package, distribution: Distribution | None) -> PackageURL:
    """A package's URL."""
    if package.type == "npm":
        scope, _, name = package.name.rpartition("/")
        return PackageURL("npm", scope or None, name, package.version)
    if package.type == "pypi":
        return PackageURL("pypi", None, package.name, package.version)
    epoch, colon, plain = package.version.partition(":") if package.type == "rpm" else ("", "", package.version)
    qualifiers = {
        "arch": package.arch,
        "epoch": epoch if colon else "",
        "distro": f"{distribution.id}-{distribution.version}" if distribution else "",
    }
    vendor = distribution.id if distribution else None
    version = plain if colon or package.type != "rpm" else package.version
    return PackageURL(
        package.type, vendor, package.name, version, {key: each for key, each in qualifiers.items() if each}
    )
