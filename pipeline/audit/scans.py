"""Scans: whether the verdicts that gates decide by are those of the scan's own artifact and statements. Pure.

1. The facts of a scan, `verdict.json` and the signed statements say the same of the same images.
2. Each image's verdict follows from what was counted: FAIL if anything reaches the threshold, else INCOMPLETE if there are reasons,
   else PASS; and the verdict on all is the worst.
3. The threshold is the plan's, and a scan that succeeded has no verdict that the plan does not let pass.
4. The images are those of the artifact it was given.

The form of `verdict.json` and of the statement is in docs/reference/scan.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREDICATE = "urn:towpath:scan-verdict:v1"
_RANKS = {"LOW": 1, "MEDIUM": 2, "HIGH": 3, "UNKNOWN": 3, "CRITICAL": 4}
"""UNKNOWN counts as HIGH: nobody says that it is less."""
_WORST = ("FAIL", "INCOMPLETE", "PASS")


def verdicts(
    key: str, facts: Mapping[str, Any], document: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Finding]:
    """Rules 1 (but for statements), 2 and 3. `key` names the attempt, `document` is its `verdict.json`, `options` the plan's."""
    found: list[Finding] = []
    with reading(key, found):
        scan = facts["scan"]
        found += [
            broken(key, f"verdict.json has another {name}", scan[name], document[name])
            for name in ("verdict", "policy", "database")
            if scan[name] != document[name]
        ]
        if set(scan["images"]) != set(document["images"]):
            found.append(
                broken(key, "verdict.json is on other images", sorted(scan["images"]), sorted(document["images"]))
            )
        for config, image in scan["images"].items():
            told = document["images"].get(config, {})
            for name, value in image.items():
                if told.get(name) != value:
                    found.append(broken(key, f"verdict.json has another {name} of {config}", value, told.get(name)))
            expected = _judged(image, scan["policy"]["fail_on"])
            if image["verdict"] != expected:
                found.append(
                    broken(key, f"the verdict on {config} does not follow from its counts", expected, image["verdict"])
                )
        expected = _worst(image["verdict"] for image in scan["images"].values())
        if scan["verdict"] != expected:
            found.append(broken(key, "the verdict on all is not the worst of them", expected, scan["verdict"]))
        found += _policy(key, scan, options)
    return found


def statements(
    key: str, facts: Mapping[str, Any], stated: Iterable[Mapping[str, Any]], sboms: Mapping[str, str]
) -> list[Finding]:
    """Rule 1 for the statements. `sboms` maps functions to the digests of their bills of materials in the artifact."""
    found: list[Finding] = []
    with reading(key, found):
        images = facts["scan"]["images"]
        waiting = {(name, config) for config, image in images.items() for name in image["functions"]}
        for statement in (each for each in stated if each["predicateType"] == PREDICATE):
            predicate = statement["predicate"]
            for subject in statement["subject"]:
                name, config = subject["name"], f"sha256:{subject['digest']['sha256']}"
                if (name, config) not in waiting:
                    found.append(
                        broken(key, f"a statement is on {name} with {config}, which was not scanned, or twice")
                    )
                    continue
                waiting.remove((name, config))
                expected = (images[config]["verdict"], images[config]["counts"], sboms.get(name))
                told = (predicate["verdict"], predicate["counts"], f"sha256:{predicate['sbom']['sha256']}")
                if told != expected:
                    found.append(broken(key, f"the statement on {name} says something else", expected, told))
        found += [broken(key, f"nothing is stated on {name} with {config}") for name, config in sorted(waiting)]
    return found


def given(key: str, facts: Mapping[str, Any], document: Mapping[str, Any]) -> list[Finding]:
    """Rule 4. `document` is `images.json` or `release.json` of what the scan was given."""
    found: list[Finding] = []
    with reading(key, found):
        wanted = {(name, each["config"]) for name, each in document["functions"].items()}
        scanned = {(name, config) for config, image in facts["scan"]["images"].items() for name in image["functions"]}
        for name, config in sorted(wanted ^ scanned):
            found.append(broken(key, f"the scan and what it was given differ in {name}", None, config))
    return found


def _judged(image: Mapping[str, Any], fail_on: str) -> str:
    threshold = _RANKS[fail_on]
    if any(count and _RANKS[severity] >= threshold for severity, count in image["counts"].items()):
        return "FAIL"
    return "INCOMPLETE" if image["reasons"] else "PASS"


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts) or {"INCOMPLETE"}
    return next(each for each in _WORST if each in found)


def _policy(key: str, scan: Mapping[str, Any], options: Mapping[str, Any]) -> list[Finding]:
    wanted = {"fail_on": options["fail-on"], "on_incomplete": options["on-incomplete"]}
    if scan["policy"] != wanted:
        return [broken(key, "the scan was judged by another threshold than planned", wanted, scan["policy"])]
    if scan["verdict"] == "FAIL" or (scan["verdict"] == "INCOMPLETE" and wanted["on_incomplete"] != "warn"):
        return [broken(key, "succeeded with a verdict that the plan does not let pass", None, scan["verdict"])]
    return []
