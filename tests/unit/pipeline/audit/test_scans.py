"""A verdict that does not follow from what was counted, or that somebody put in the place of another, is found."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.audit import scans

KEY = "runs/20261123-120000-aaaa/scan.1"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SBOM = "sha256:" + "b" * 64
OPTIONS = {"fail-on": "HIGH", "on-incomplete": "fail", "advisories": "advisories"}
NOTHING = {"LOW": 0, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 0, "UNKNOWN": 0}


def image(*functions: str, verdict: str = "PASS", reasons: tuple[str, ...] = (), **counts: int) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "counts": NOTHING | counts,
        "packages": 9,
        "functions": list(functions),
        "reasons": list(reasons),
    }


def facts(verdict: str = "PASS", **images: dict[str, Any]) -> dict[str, Any]:
    policy = {"fail_on": "HIGH", "on_incomplete": "fail"}
    named = {{"one": ONE, "two": TWO}[name]: value for name, value in images.items()}
    return {
        "scan": {"verdict": verdict, "policy": policy, "database": {"digest": SBOM, "advisories": 3}, "images": named}
    }


GOOD = facts(one=image("Hello", "Hola", LOW=2), two=image("Child/Other", MEDIUM=1))


def document(told: dict[str, Any]) -> dict[str, Any]:
    images = {config: {**value, "distribution": None, "sbom": SBOM} for config, value in told["scan"]["images"].items()}
    return {"v": 1, **told["scan"], "images": images}


def stated(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "predicateType": scans.PREDICATE,
            "subject": [{"name": name, "digest": {"sha256": config[7:]}} for name in value["functions"]],
            "predicate": {"verdict": value["verdict"], "counts": value["counts"], "sbom": {"sha256": SBOM[7:]}},
        }
        for config, value in told["scan"]["images"].items()
    ]


SBOMS = dict.fromkeys(("Hello", "Hola", "Child/Other"), SBOM)
IMAGES = {"functions": {"Hello": {"config": ONE}, "Hola": {"config": ONE}, "Child/Other": {"config": TWO}}}


def test_what_agrees_holds() -> None:
    assert scans.verdicts(KEY, GOOD, document(GOOD), OPTIONS) == []
    assert scans.statements(KEY, GOOD, stated(GOOD), SBOMS) == []
    assert scans.given(KEY, GOOD, IMAGES) == []


def said(told: dict[str, Any], options: dict[str, Any] = OPTIONS) -> str:
    return "\n".join(each.text for each in scans.verdicts(KEY, told, document(told), options))


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (image("Hello", HIGH=1), "FAIL"),
        (image("Hello", CRITICAL=1), "FAIL"),
        (image("Hello", UNKNOWN=1), "FAIL"),
        (image("Hello", reasons=("no advisories",)), "INCOMPLETE"),
        (image("Hello", reasons=("no advisories",), HIGH=1), "FAIL"),
    ],
)
def test_a_pass_that_does_not_follow(one: dict[str, Any], verdict: str) -> None:
    found = scans.verdicts(KEY, facts(one=one), document(facts(one=one)), OPTIONS)
    assert (found[0].text, found[0].expected) == (f"the verdict on {ONE} does not follow from its counts", verdict)
    one = {**one, "verdict": verdict}
    assert "is not the worst" in said(facts(one=one))
    assert "does not let pass" in said(facts(verdict, one=one))
    warn = {**OPTIONS, "on-incomplete": "warn"}
    assert "another threshold" in said(facts(verdict, one=one), warn)


def test_no_image_at_all_is_no_pass() -> None:
    assert "is not the worst" in said(facts())


def test_another_threshold_than_planned() -> None:
    assert "another threshold" in said(GOOD, {**OPTIONS, "fail-on": "CRITICAL"})


@pytest.mark.parametrize("field", ["verdict", "counts", "functions", "reasons", "packages"])
def test_a_verdict_swapped_in_the_artifact(field: str) -> None:
    told = document(GOOD)
    told["images"][ONE] |= {field: "other"}
    [found] = scans.verdicts(KEY, GOOD, told, OPTIONS)
    assert f"another {field} of {ONE}" in found.text


def test_verdicts_on_other_images() -> None:
    told = document(GOOD)
    told["images"][ONE.replace("1", "7")] = told["images"].pop(ONE)
    assert "is on other images" in scans.verdicts(KEY, GOOD, told, OPTIONS)[0].text


def test_a_statement_that_is_gone_doubled_or_on_something_else() -> None:
    def found(statements: list[dict[str, Any]], sboms: dict[str, str] = SBOMS) -> str:
        return "\n".join(each.text for each in scans.statements(KEY, GOOD, statements, sboms))

    assert f"nothing is stated on Child/Other with {TWO}" in found(stated(GOOD)[:1])
    assert "was not scanned, or twice" in found(stated(GOOD) + stated(GOOD)[:1])
    other = copy.deepcopy(stated(GOOD))
    other[0]["predicate"]["verdict"] = "FAIL"
    assert "the statement on Hello says something else" in found(other)
    assert "the statement on Hola says something else" in found(stated(GOOD), {**SBOMS, "Hola": ONE})
    other = copy.deepcopy(stated(GOOD))
    other[1]["subject"][0]["digest"]["sha256"] = ONE[7:]
    assert "was not scanned" in found(other)


@pytest.mark.parametrize(
    "functions",
    [
        {},
        {**IMAGES["functions"], "Hello": {"config": TWO}},
        {**IMAGES["functions"], "New": {"config": TWO}},
        {name: each for name, each in IMAGES["functions"].items() if name != "Hola"},
    ],
)
def test_images_that_the_scan_was_not_given(functions: dict[str, Any]) -> None:
    assert "differ in" in scans.given(KEY, GOOD, {"functions": functions})[0].text


@pytest.mark.parametrize("broken", [{}, {"scan": {}}, {"scan": {"images": 3}}, {"scan": None}])
def test_what_is_not_of_the_form_is_found(broken: dict[str, Any]) -> None:
    assert scans.verdicts(KEY, broken, document(GOOD), OPTIONS)
    assert scans.statements(KEY, broken, [], {})
    assert scans.given(KEY, broken, IMAGES)
