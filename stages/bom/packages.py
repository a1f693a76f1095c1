"""What is installed in an image: packages of dpkg, rpm, apk, Python and npm, and the distribution they are of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Any, Literal

from stages.bom import rpmdb, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.bom.layers import Contents

Type = Literal["deb", "rpm", "apk", "pypi", "npm"]

OS_TYPES: frozenset[Type] = frozenset({"deb", "rpm", "apk"})


@dataclass(frozen=True, order=True)
class Package:
    """One installed package. `source` is the source package and its version, by which distributions know their flaws."""

    type: Type
    name: str
    version: str
    arch: str = ""
    source: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Distribution:
    """As os-release says: https://www.freedesktop.org/software/systemd/man/latest/os-release.html"""

    id: str
    version: str
    name: str

    @property
    def ecosystems(self) -> tuple[str, ...]:
        """The names that OSV has for it; none if OSV does not know it, or it says no version.

        https://ossf.github.io/osv-schema/#defined-ecosystems
        """
        major, minor = self.version.partition(".")[0], ".".join(self.version.split(".")[:2])
        known = {
            "debian": (f"Debian:{major}",),
            "ubuntu": (f"Ubuntu:{minor}:LTS", f"Ubuntu:{minor}"),
            "alpine": (f"Alpine:v{minor}",),
            "rocky": (f"Rocky Linux:{major}",),
            "almalinux": (f"AlmaLinux:{major}",),
            "wolfi": ("Wolfi",),
            "chainguard": ("Chainguard",),
            "amzn": (f"Amazon Linux:{major}",),  # not OSV's: for who converts Amazon's own advisories
        }
        return known.get(self.id, ()) if self.version else ()


@dataclass
class Inventory:
    """The packages of an image, each once, and why there may be more."""

    packages: list[Package] = field(default_factory=list)
    distribution: Distribution | None = None
    reasons: list[str] = field(default_factory=list)


def inventory(contents: Contents) -> Inventory:
    """Read the package databases of an image."""
    found = Inventory(distribution=_distribution(contents.files), reasons=list(contents.reasons))
    packages: set[Package] = set()
    owned: set[str] = set()
    for path, data in sorted(contents.files.items()):
        try:
            some, files = _database(path, data)
        except (ValueError, rpmdb.Unreadable) as error:
            found.reasons.append(f"{path} cannot be read: {error}")
            continue
        packages |= some
        owned |= files
    for path, data in sorted(contents.files.items()):
        try:
            packages |= set() if path in owned else _application(path, data)
        except ValueError as error:
            found.reasons.append(f"{path} cannot be read: {error}")
    found.packages = sorted(packages)
    found.reasons += _missing(found)
    return found


def _missing(found: Inventory) -> Iterator[str]:
    if not any(package.type in OS_TYPES for package in found.packages):
        yield "no package of an operating system was found: what else is in the image is not known"
    elif found.distribution is None:
        yield "the image does not say which distribution it is of (usr/lib/os-release)"


def _distribution(files: Mapping[str, bytes]) -> Distribution | None:
    data = files.get("etc/os-release") or files.get("usr/lib/os-release") or b""
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    said = {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    if not said.get("ID"):
        return None
    name = said.get("PRETTY_NAME") or f"{said['ID']} {said.get('VERSION_ID', '')}".strip()
    return Distribution(said["ID"], said.get("VERSION_ID", ""), name[:100])


def _database(path: str, data: bytes) -> tuple[set[Package], set[str]]:
    """The packages of an operating system's database, and the files of theirs that other readers would read again."""
    if path == wanted.DPKG or path.rpartition("/")[0] in wanted.FOLDERS:
        return (set() if path.endswith(".md5sums") else set(_dpkg(data))), set()
    if wanted.DPKG_LIST.fullmatch(path):
        return set(), _owned(data.decode("utf-8", "replace").splitlines())
    if path in wanted.APK:
        return _apk(data)
    if path in wanted.RPM:
        return _rpm(data)
    if path in wanted.RPM_UNREAD:
        raise ValueError("it is a database of an older rpm (Berkeley DB or ndb), which is not supported")
    if path in wanted.LARGE and data:
        raise ValueError("it holds changes that are not in the database yet (SQLite's write-ahead log)")
    return set(), set()


def _owned(paths: list[str]) -> set[str]:
    plain = (path.lstrip("/") for path in paths)
    return {path for path in plain if wanted.PYTHON.fullmatch(path) or wanted.NPM.fullmatch(path)}


def _stanzas(data: bytes) -> Iterator[dict[str, str]]:
    """Paragraphs of `Key: value` lines; what goes on in a next line is left out."""
    for paragraph in data.decode("utf-8", "replace").split("\n\n"):
        lines = [line.partition(":") for line in paragraph.splitlines() if line and not line[0].isspace()]
        if lines:
            yield {key: value.strip() for key, colon, value in lines if colon}


_SOURCE = re.compile(r"(?P<name>\S+)(?:\s+\((?P<version>[^)]+)\))?")


def _dpkg(data: bytes) -> Iterator[Package]:
    """/var/lib/dpkg/status, see dpkg-query(1) and deb-control(5)."""
    for stanza in _stanzas(data):
        state = stanza.get("Status", "install ok installed").rpartition(" ")[2]
        if state in ("config-files", "not-installed"):
            continue
        name, version = stanza.get("Package"), stanza.get("Version")
        if not (name and version):
            raise ValueError("it has a package without a name or a version")
        said = _SOURCE.fullmatch(stanza.get("Source", ""))
        source = (said["name"], said["version"] or version) if said else (name, version)
        yield Package("deb", name, version, stanza.get("Architecture", ""), source)


def _apk(data: bytes) -> tuple[set[Package], set[str]]:
    """/lib/apk/db/installed: https://wiki.alpinelinux.org/wiki/Apk_spec"""
    packages: set[Package] = set()
    paths: list[str] = []
    for paragraph in data.decode("utf-8", "replace").split("\n\n"):
        lines = [(line[0], line[2:]) for line in paragraph.splitlines() if line[1:2] == ":"]
        if not lines:
            continue
        about = dict(reversed(lines))
        if not (about.get("P") and about.get("V")):
            raise ValueError("it has a package without a name or a version")
        source = (about.get("o") or about["P"], about["V"])
        packages.add(Package("apk", about["P"], about["V"], about.get("A", ""), source))
        folder = ""
        for key, value in lines:
            folder = value if key == "F" else folder
            paths += [f"{folder}/{value}"] if key == "R" else []
    return packages, _owned(paths)


def _rpm(data: bytes) -> tuple[set[Package], set[str]]:
    packages: set[Package] = set()
    owned: set[str] = set()
    for header in rpmdb.headers(data):
        if header.name == "gpg-pubkey":  # a key that rpm keeps as if it were a package
            continue
        packages.add(Package("rpm", header.name, header.version, header.arch, header.source))
        owned |= _owned(header.files)
    return packages, owned


def _application(path: str, data: bytes) -> set[Package]:
    if wanted.PYTHON.fullmatch(path):
        return {_python(data)}
    return _npm(data) if wanted.NPM.fullmatch(path) else set()


def _python(data: bytes) -> Package:
    """https://packaging.python.org/en/latest/specifications/core-metadata/"""
    headers = BytesHeaderParser().parsebytes(data)
    name, version = str(headers["Name"] or "").strip(), str(headers["Version"] or "").strip()
    if not (name and version):
        raise ValueError("it has no name or no version")
    return Package("pypi", re.sub(r"[-_.]+", "-", name).lower(), version)


def _npm(data: bytes) -> set[Package]:
    """A package.json without name or version is a note to a tool, and no package: npm demands both."""
    try:
        about: Any = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    name, version = (about.get("name"), about.get("version")) if isinstance(about, dict) else (None, None)
    return {Package("npm", name, version)} if isinstance(name, str) and isinstance(version, str) else set()
