"""Which versions an advisory is about. Expected answers are those of https://ossf.github.io/osv-schema/#evaluation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stages.bom import matching, versions
from stages.bom.advisories import Advisory, Database
from stages.bom.matching import affects, match
from stages.bom.packages import Distribution, Inventory, Package, Type


def ranges(*events: tuple[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": [{name: value} for name, value in events]}]}


FIXED = ranges(("introduced", "0"), ("fixed", "2.0"))
TWICE = ranges(("introduced", "1.0"), ("fixed", "1.5"), ("introduced", "2.0"), ("last_affected", "2.2"))


@pytest.mark.parametrize(
    ("affected", "version", "expected"),
    [
        (FIXED, "1.9", True),
        (FIXED, "2.0", False),
        (FIXED, "2.0rc1", True),
        (FIXED, "10.0", False),
        (TWICE, "0.9", False),
        (TWICE, "1.0", True),
        (TWICE, "1.5", False),
        (TWICE, "1.9", False),
        (TWICE, "2.2", True),
        (TWICE, "2.2.1", False),
        (ranges(("introduced", "0")), "99", True),
        (ranges(("introduced", "2"), ("fixed", "2"), ("introduced", "2")), "2", True),
        (ranges(("introduced", "0"), ("limit", "2")), "2", False),
        (ranges(("introduced", "0"), ("limit", "2")), "1", True),
        (ranges(("introduced", "0"), ("limit", "*")), "1", True),
        ({"versions": ["1.0", "1.1"]}, "1.1", True),
        ({"versions": ["1.0", "1.1"]}, "1.2", False),
        ({**FIXED, "versions": ["7.0"]}, "7.0", True),
        ({"versions": ["2004d"]}, "2004d", True),
        ({"ranges": [*FIXED["ranges"], *ranges(("introduced", "3"), ("fixed", "4"))["ranges"]]}, "3.5", True),
        ({"versions": ["1"], **ranges(("introduced", "x"), kind="GIT")}, "2", False),
    ],
)
def test_ranges_and_lists(affected: dict[str, Any], version: str, *, expected: bool) -> None:
    assert affects("pypi", version, affected) is expected


def test_the_order_of_events_in_the_file_does_not_matter() -> None:
    for events in itertools.permutations(TWICE["ranges"][0]["events"]):
        shuffled = {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}
        assert [affects("pypi", each, shuffled) for each in ("0.9", "1.2", "1.7", "2.1", "3")] == [
            False,
            True,
            False,
            True,
            False,
        ]


@pytest.mark.parametrize(
    ("kind", "installed", "fixed", "expected"),
    [
        ("deb", "2.36-9+deb12u2", "2.36-9+deb12u3", True),
        ("deb", "1:1.0", "2.0", False),
        ("deb", "2.0~rc1", "2.0", True),
        ("rpm", "5.1.8-6.el9", "0:5.1.8-9.el9", True),
        ("rpm", "1:5.0-1", "0:6.0-1", False),
        ("rpm", "1.0~rc1-1", "1.0-1", True),
        ("apk", "1.36.1-r4", "1.36.1-r5", True),
        ("apk", "1.36.1-r10", "1.36.1-r5", False),
        ("npm", "4.17.9", "4.17.21", True),
        ("npm", "1.0.0-beta", "1.0.0", True),
        ("pypi", "1.10", "1.9", False),
    ],
)
def test_each_ecosystem_has_its_own_order(kind: Type, installed: str, fixed: str, *, expected: bool) -> None:
    assert affects(kind, installed, ranges(("introduced", "0"), ("fixed", fixed))) is expected


@pytest.mark.parametrize(
    ("kind", "installed", "fixed"),
    [
        ("pypi", "2004d", "2.0"),
        ("pypi", "1.0", "2004d"),
        ("npm", "not-a-version", "1.0.0"),
        ("npm", "1.2.3.4", "1.2.4"),
        ("rpm", "gar bage!", "1.0-1"),
        ("deb", "x", "1"),
        ("deb", "1" * 1000, "1"),
        ("apk", "abc", "1.0-r0"),
    ],
)
def test_a_version_that_cannot_be_compared_is_never_taken_for_unaffected(
    kind: Type, installed: str, fixed: str
) -> None:
    with pytest.raises(versions.Unknown):
        affects(kind, installed, ranges(("introduced", "0"), ("fixed", fixed)))


@pytest.mark.parametrize(
    "affected", [{}, {"ranges": []}, ranges(("introduced", "x"), kind="GIT"), ranges(("fixed", "1"))]
)
def test_an_advisory_that_says_nothing_of_versions_is_none_to_pass_over(affected: dict[str, Any]) -> None:
    with pytest.raises(versions.Unknown):
        affects("pypi", "1.0", affected)


# An image


DEBIAN = Distribution("debian", "12", "Debian 12")
LIBC = Package("deb", "libc6", "2.36-9+b1", "amd64", ("glibc", "2.36-9"))


def advisory(identity: str, affected: dict[str, Any] = FIXED, **more: Any) -> Advisory:
    return Advisory({"id": identity, "affected": [affected], **more}, affected, "f.json")


def database(**by_package: Any) -> Database:
    named = {("Debian:12" if key in ("glibc", "libc6") else "PyPI", key): value for key, value in by_package.items()}
    return Database("sha256:x", 1, {"Debian:12", "PyPI"}, named)


def inventory(*packages: Package, distribution: Distribution | None = DEBIAN) -> Inventory:
    return Inventory(list(packages), distribution)


OLD = ranges(("introduced", "0"), ("fixed", "2.36-9+deb12u3"), ("introduced", "3"), ("fixed", "4"))


def test_a_debian_package_is_matched_by_its_source() -> None:
    """Catches matching by the binary's name or version: OSV knows neither."""
    got = match(inventory(LIBC), database(glibc=[advisory("DSA-1", OLD, aliases=["CVE-1"])], libc6=[advisory("DSA-2")]))
    (finding,) = got.findings
    assert (finding.id, finding.aliases, finding.installed, finding.fixed) == (
        "DSA-1",
        ("CVE-1",),
        "2.36-9",
        "2.36-9+deb12u3",
    )
    assert got.reasons == []


def test_an_rpm_is_matched_by_its_own_name_and_its_source() -> None:
    bash = Package("rpm", "bash-libs", "1-1", "x86_64", ("bash", "1-1"))
    keys = matching.wanted(inventory(bash, distribution=Distribution("rocky", "9.3", "")))
    assert keys == {("Rocky Linux:9", "bash"), ("Rocky Linux:9", "bash-libs")}


def test_one_advisory_is_one_finding_of_a_package() -> None:
    twice = [advisory("DSA-1", OLD), advisory("DSA-1", OLD)]
    assert len(match(inventory(LIBC), database(glibc=twice)).findings) == 1


def test_a_version_that_cannot_be_compared_is_a_reason_that_names_it() -> None:
    got = match(inventory(Package("pypi", "pytz", "2004d")), database(pytz=[advisory("PYSEC-1")]))
    assert got.findings == []
    assert got.reasons == ["PYSEC-1 on pytz 2004d: a version cannot be compared (2004d)"]


def test_a_fixed_version_is_never_one_below() -> None:
    affected = {
        "ranges": [
            *ranges(("introduced", "0"), ("fixed", "1"))["ranges"],
            *ranges(("introduced", "2"), ("fixed", "3"))["ranges"],
        ]
    }
    (finding,) = match(inventory(Package("pypi", "x", "2.5")), database(x=[advisory("P-1", affected)])).findings
    assert finding.fixed == "3"


@pytest.mark.parametrize(
    ("found", "known", "names"),
    [
        (inventory(LIBC), {"Debian:11", "PyPI"}, "Debian 12"),
        (
            inventory(LIBC, distribution=Distribution("amzn", "2023", "Amazon Linux 2023")),
            {"Debian:12"},
            "Amazon Linux 2023",
        ),
        (inventory(LIBC, distribution=Distribution("odd", "1", "Odd 1")), {"Debian:12"}, "Odd 1"),
        (inventory(LIBC, Package("pypi", "x", "1")), {"Debian:12"}, "PyPI"),
        (inventory(LIBC, Package("npm", "x", "1")), {"Debian:12", "PyPI"}, "npm"),
    ],
)
def test_a_database_that_knows_nothing_of_an_ecosystem_is_no_pass(
    found: Inventory, known: set[str], names: str
) -> None:
    (reason,) = match(found, Database("sha256:x", 1, known)).reasons
    assert names in reason


def test_reasons_of_the_image_are_kept() -> None:
    found = inventory(LIBC)
    found.reasons.append("a layer cannot be read")
    assert match(found, database()).reasons == ["a layer cannot be read"]
