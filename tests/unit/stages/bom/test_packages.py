"""What is installed, as each kind of database says it."""

from __future__ import annotations

import json

import pytest
from support.layers import OS_RELEASE, dpkg
from support.rpm import database, header, package

from stages.bom.layers import Contents
from stages.bom.packages import Distribution, Inventory, Package, inventory

STATUS = "var/lib/dpkg/status"
APK = b"C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl-src\nF:lib\nR:ld-musl.so\n\nP:py3-x\nV:1-r0\nA:noarch\nF:usr/lib/x-1.dist-info\nR:METADATA\n\n"


def found(files: dict[str, bytes]) -> Inventory:
    return inventory(Contents(files={"usr/lib/os-release": OS_RELEASE, **files}))


def test_dpkg() -> None:
    status = b"""\
Package: libc6
Status: install ok installed
Source: glibc
Architecture: amd64
Version: 2.36-9+deb12u14
Description: a library
 Package: not-a-package

Package: bash
Status: install ok installed
Source: bash (5.2.15-2)
Architecture: amd64
Version: 5.2.15-2+b13

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install reinstreq half-installed
Version: 1
"""
    got = found({STATUS: status})
    assert got.packages == [
        Package("deb", "bash", "5.2.15-2+b13", "amd64", ("bash", "5.2.15-2")),
        Package("deb", "half", "1", "", ("half", "1")),
        Package("deb", "libc6", "2.36-9+deb12u14", "amd64", ("glibc", "2.36-9+deb12u14")),
    ]
    assert got.distribution == Distribution("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert got.reasons == []


def test_dpkg_of_distroless_images() -> None:
    files = {"var/lib/dpkg/status.d/a": b"Package: a\nVersion: 1\n", "var/lib/dpkg/status.d/a.md5sums": b"x  y\n"}
    assert [each.name for each in found(files).packages] == ["a"]


def test_apk() -> None:
    got = found({"lib/apk/db/installed": APK})
    assert Package("apk", "musl", "1.2.4-r2", "x86_64", ("musl-src", "1.2.4-r2")) in got.packages
    assert got.reasons == []


def test_rpm() -> None:
    blobs = [header(package("bash", "5", "1", source="bash-5-1.src.rpm")), header(package("gpg-pubkey", "1", "2"))]
    got = found({"var/lib/rpm/rpmdb.sqlite": database(*blobs)})
    assert got.packages == [Package("rpm", "bash", "5-1", "x86_64", ("bash", "5-1"))]


def test_python_and_npm() -> None:
    files = {
        "a/Foo_Bar.baz-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Foo_Bar.baz\nVersion: 1.0\n\nName: other\n",
        "b/x.egg-info/PKG-INFO": b"Name: x\nVersion: 2\n",
        "c/y.egg-info": b"Name: y\nVersion: 3\n",
        "node_modules/@s/z/package.json": json.dumps({"name": "@s/z", "version": "4.0.0"}).encode(),
        "node_modules/w/package.json": b'{"type": "module"}',
        "d/node_modules/@s/z/package.json": json.dumps({"name": "@s/z", "version": "4.0.0"}).encode(),
        STATUS: dpkg(("a", "1")),
    }
    got = found(files)
    assert [(each.type, each.name, each.version) for each in got.packages] == [
        ("deb", "a", "1"),
        ("npm", "@s/z", "4.0.0"),
        ("pypi", "foo-bar-baz", "1.0"),
        ("pypi", "x", "2"),
        ("pypi", "y", "3"),
    ]
    assert got.reasons == []


@pytest.mark.parametrize(
    "files",
    [
        {
            STATUS: dpkg(("a", "1")),
            "var/lib/dpkg/info/a.list": b"/.\n/usr/lib/x-1.dist-info\n/usr/lib/x-1.dist-info/METADATA\n",
        },
        {"lib/apk/db/installed": APK},
        {
            "var/lib/rpm/rpmdb.sqlite": database(
                header(package("a", "1", "2", files=["/usr/lib/x-1.dist-info/METADATA"]))
            )
        },
    ],
    ids=["dpkg", "apk", "rpm"],
)
def test_what_a_distribution_installs_is_known_by_its_name_there(files: dict[str, bytes]) -> None:
    """Debian mends its python3-x without changing the version that Python sees: an advisory of PyPI would be false."""
    theirs, own = "usr/lib/x-1.dist-info/METADATA", "usr/local/lib/x-1.dist-info/METADATA"
    got = found({**files, theirs: b"Name: x\nVersion: 1\n"})
    assert "pypi" not in {each.type for each in got.packages}
    got = found({**files, own: b"Name: x\nVersion: 1\n"})
    assert "pypi" in {each.type for each in got.packages}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no package of an operating system"),
        ({"x.egg-info": b"Name: a\nVersion: 1\n"}, "no package of an operating system"),
        ({STATUS: b""}, "no package of an operating system"),
        ({STATUS: b"Package: a\n"}, f"{STATUS} cannot be read"),
        ({STATUS: dpkg(("a", "1")), "x.egg-info": b"Version: 1\n"}, "x.egg-info cannot be read"),
        ({STATUS: dpkg(("a", "1")), "node_modules/x/package.json": b"{"}, "package.json cannot be read"),
        ({STATUS: dpkg(("a", "1")), "node_modules/x/package.json": b"[" * 100_000}, "package.json cannot be read"),
        ({"lib/apk/db/installed": b"P:a\n"}, "installed cannot be read"),
        ({"var/lib/rpm/rpmdb.sqlite": b"x"}, "rpmdb.sqlite cannot be read"),
        ({"var/lib/rpm/rpmdb.sqlite-wal": b"x"}, "write-ahead log"),
        ({"var/lib/rpm/Packages": b""}, "Berkeley DB"),
    ],
)
def test_what_is_not_known_is_a_reason(files: dict[str, bytes], says: str) -> None:
    assert any(says in reason for reason in found(files).reasons)


def test_an_image_that_does_not_say_what_it_is() -> None:
    got = inventory(Contents(files={STATUS: dpkg(("a", "1"))}))
    assert "which distribution" in got.reasons[0]


@pytest.mark.parametrize(
    ("identity", "version", "ecosystem"),
    [
        ("debian", "12", "Debian:12"),
        ("ubuntu", "22.04", "Ubuntu:22.04:LTS"),
        ("alpine", "3.18.4", "Alpine:v3.18"),
        ("rocky", "9.3", "Rocky Linux:9"),
        ("almalinux", "8.9", "AlmaLinux:8"),
        ("wolfi", "20230201", "Wolfi"),
        ("amzn", "2023", "Amazon Linux:2023"),
    ],
)
def test_ecosystems(identity: str, version: str, ecosystem: str) -> None:
    assert Distribution(identity, version, "").ecosystems[0] == ecosystem


@pytest.mark.parametrize(("identity", "version"), [("debian", ""), ("unheard-of", "1")])
def test_no_ecosystem(identity: str, version: str) -> None:
    """Debian testing says no version; to take it for any release would be a guess."""
    assert Distribution(identity, version, "").ecosystems == ()
