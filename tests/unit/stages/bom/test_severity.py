"""How bad an advisory is. Scores are those of FIRST's calculator and of the NVD."""

from __future__ import annotations

from typing import Any

import pytest

from stages.bom.cvss import base_score
from stages.bom.severity import reaches, severity


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:C/C:H/I:N/A:N", 6.1),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N/E:P/RL:O", 7.5),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("CVSS:3.1/AV:N", None),
        ("CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", None),
        ("7.5", None),
        ("", None),
    ],
)
def test_base_score(vector: str, score: float | None) -> None:
    assert base_score(vector) == score


CRITICAL = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]


@pytest.mark.parametrize(
    ("advisory", "affected", "expected"),
    [
        ({}, {}, "UNKNOWN"),
        ({"severity": CRITICAL}, {}, "CRITICAL"),
        ({"severity": CRITICAL, "database_specific": {"severity": "MODERATE"}}, {}, "MEDIUM"),
        ({"severity": CRITICAL}, {"ecosystem_specific": {"urgency": "unimportant"}}, "LOW"),
        ({"severity": CRITICAL}, {"ecosystem_specific": {"urgency": "not yet assigned"}}, "CRITICAL"),
        ({"database_specific": {"severity": "Important"}}, {}, "HIGH"),
        ({"severity": [{"type": "Ubuntu", "score": "medium"}]}, {}, "MEDIUM"),
        ({"severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}]}, {}, "UNKNOWN"),
        ({"severity": "high", "database_specific": ["x"]}, {"severity": [None]}, "UNKNOWN"),
        ({"id": "MAL-2024-1", "database_specific": {"severity": "LOW"}}, {}, "CRITICAL"),
    ],
)
def test_severity(advisory: dict[str, Any], affected: dict[str, Any], expected: str) -> None:
    assert severity({"id": "X-1", **advisory}, affected) == expected


@pytest.mark.parametrize(
    ("word", "threshold", "expected"),
    [
        ("LOW", "HIGH", False),
        ("HIGH", "HIGH", True),
        ("CRITICAL", "HIGH", True),
        ("UNKNOWN", "HIGH", True),
        ("UNKNOWN", "CRITICAL", False),
        ("LOW", "LOW", True),
    ],
)
def test_what_nobody_has_judged_counts_as_high(word: str, threshold: str, *, expected: bool) -> None:
    assert reaches(word, threshold) is expected
