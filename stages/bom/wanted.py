"""Which files of an image say what is installed in it."""

from __future__ import annotations

import re

DPKG = "var/lib/dpkg/status"
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
RPM_FOLDERS = ("var/lib/rpm", "usr/lib/sysimage/rpm")
RPM = tuple(f"{folder}/rpmdb.sqlite" for folder in RPM_FOLDERS)
RPM_UNREAD = tuple(f"{folder}/{name}" for folder in RPM_FOLDERS for name in ("Packages", "Packages.db"))
"""Databases of rpm that are not read: Berkeley DB (CentOS 7, Amazon Linux 2) and ndb (SUSE)."""
OS_RELEASE = ("usr/lib/os-release", "etc/os-release")

FIXED = frozenset({DPKG, *APK, *RPM, *(f"{each}-wal" for each in RPM), *RPM_UNREAD, *OS_RELEASE})
MUST_BE_REAL = tuple(sorted({*FIXED, "var/lib/dpkg/status.d/x"} - {*OS_RELEASE}))
"""What may be reached through links only if they lead to another place that is looked at."""

FOLDERS = frozenset({"var/lib/dpkg/status.d"})
"""Folders all of whose files are wanted: distroless images have one file for each package."""

LARGE = frozenset({*RPM, *(f"{each}-wal" for each in RPM)})
NAME_ONLY = frozenset(RPM_UNREAD)

PYTHON = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)")
NPM = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json")
DPKG_LIST = re.compile(r"var/lib/dpkg/info/[^/]+\.list")
"""Which files are of which package of dpkg: what Debian packages of Python's or npm's packages is known by Debian's name."""


def wanted(path: str) -> bool:
    """Whether what a path holds says what is installed."""
    return (
        path in FIXED
        or path.rpartition("/")[0] in FOLDERS
        or bool(DPKG_LIST.fullmatch(path) or PYTHON.fullmatch(path) or NPM.fullmatch(path))
    )


def behind(link: str) -> tuple[str, ...]:
    """What is looked for at a link or below it, wherever it leads: an example of each."""
    name = link.rpartition("/")[2]
    if name == "node_modules":
        return (f"{link}/x/package.json",)
    if name.endswith(".dist-info"):
        return (f"{link}/METADATA",)
    return tuple(path for path in (link, f"{link}/package.json") if wanted(path) and path not in FIXED)
