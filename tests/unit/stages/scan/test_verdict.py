"""The verdict: only what was looked at completely, and found good enough, is a pass."""

from __future__ import annotations

import itertools

import pytest

from stages.bom.matching import Finding, Match
from stages.bom.packages import Package
from stages.scan.verdict import Policy, Verdict, counts, failing, judge, overall


def finding(severity: str, name: str = "x") -> Finding:
    return Finding(f"CVE-{name}", (), Package("pypi", name, "1"), "1", "2", severity, "f.json")


@pytest.mark.parametrize(
    ("severities", "reasons", "expected"),
    [
        ([], [], "PASS"),
        (["LOW", "MEDIUM"], [], "PASS"),
        (["LOW", "HIGH"], [], "FAIL"),
        (["CRITICAL"], [], "FAIL"),
        (["UNKNOWN"], [], "FAIL"),
        ([], ["a layer cannot be read"], "INCOMPLETE"),
        (["LOW"], ["a layer cannot be read"], "INCOMPLETE"),
        (["HIGH"], ["a layer cannot be read"], "FAIL"),
    ],
)
def test_one_image(severities: list[str], reasons: list[str], expected: Verdict) -> None:
    match = Match([finding(each) for each in severities], reasons)
    assert judge(match, Policy("HIGH", "fail")) == expected
    assert judge(match, Policy("HIGH", "warn")) == expected


def test_all_images() -> None:
    """On no image at all nobody can say; one bad image is enough."""
    assert overall([]) == "INCOMPLETE"
    assert overall(["PASS", "PASS"]) == "PASS"
    every: list[Verdict] = ["PASS", "INCOMPLETE", "FAIL"]
    for some in itertools.permutations(every):
        assert overall(some) == "FAIL"
    assert overall(["PASS", "INCOMPLETE"]) == "INCOMPLETE"


def test_the_worst_come_first() -> None:
    found = [finding("HIGH", "b"), finding("CRITICAL", "c"), finding("LOW", "d"), finding("UNKNOWN", "a")]
    assert [each.package.name for each in failing(found, Policy("HIGH", "fail"))] == ["c", "a", "b"]
    assert counts(found) == {"LOW": 1, "MEDIUM": 0, "HIGH": 1, "CRITICAL": 1, "UNKNOWN": 1}
