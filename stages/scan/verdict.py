"""The verdict on what was found. Pure.

PASS: everything was looked at, and nothing is as bad as the threshold. FAIL: something is. INCOMPLETE: something could not
be looked at, so that nobody can say. Nothing else is ever taken for a pass.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.bom.severity import SEVERITIES, UNKNOWN, rank, reaches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.bom.matching import Finding, Match

Verdict = Literal["PASS", "FAIL", "INCOMPLETE"]


@dataclass(frozen=True)
class Policy:
    """From which severity on a finding fails the stage, and whether what is incomplete does."""

    fail_on: str
    on_incomplete: str


def judge(match: Match, policy: Policy) -> Verdict:
    """The verdict on one image."""
    if failing(match.findings, policy):
        return "FAIL"
    return "INCOMPLETE" if match.reasons else "PASS"


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on all images: the worst. On no image at all nobody can say."""
    found = set(verdicts)
    if "FAIL" in found:
        return "FAIL"
    return "PASS" if found == {"PASS"} else "INCOMPLETE"


def failing(findings: Iterable[Finding], policy: Policy) -> list[Finding]:
    """The findings that are as bad as the threshold, the worst first."""
    bad = [finding for finding in findings if reaches(finding.severity, policy.fail_on)]
    return sorted(bad, key=lambda each: (-rank(each.severity), each.package, each.id))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in (*SEVERITIES, UNKNOWN)}
