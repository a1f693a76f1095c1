"""How bad an advisory says it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.bom import cvss

if TYPE_CHECKING:
    from stages.contract import Json

SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
UNKNOWN = "UNKNOWN"
COUNTS_AS = "HIGH"
"""What nobody has judged may be bad."""

_WORDS = {
    "NEGLIGIBLE": "LOW",
    "UNIMPORTANT": "LOW",
    "LOW": "LOW",
    "MODERATE": "MEDIUM",
    "MEDIUM": "MEDIUM",
    "IMPORTANT": "HIGH",
    "HIGH": "HIGH",
    "CRITICAL": "CRITICAL",
}


def reaches(severity: str, threshold: str) -> bool:
    """Whether a severity is as bad as the threshold, or worse."""
    return rank(severity) >= SEVERITIES.index(threshold)


def rank(severity: str) -> int:
    """The place of a severity among all, the worst last."""
    return SEVERITIES.index(COUNTS_AS if severity == UNKNOWN else severity)


def severity(advisory: Json, affected: Json) -> str:
    """Take the word of whoever wrote the advisory, else its CVSS score; of the package before that of the whole.

    An advisory of malware (`MAL-`) is critical whatever it says.
    """
    if str(advisory["id"]).startswith("MAL-"):
        return "CRITICAL"
    found = (word for part in (affected, advisory) for word in (_word(part), _scored(part)) if word)
    return next(found, UNKNOWN)


def _word(part: Json) -> str | None:
    said = [
        specific.get(key)
        for name in ("ecosystem_specific", "database_specific")
        if isinstance(specific := part.get(name), dict)
        for key in ("severity", "urgency")
    ]
    said += [each.get("score") for each in _severities(part) if each.get("type") == "Ubuntu"]
    return next((_WORDS[word.upper()] for word in said if isinstance(word, str) and word.upper() in _WORDS), None)


def _scored(part: Json) -> str | None:
    scores = [cvss.base_score(str(each.get("score"))) for each in _severities(part)]
    known = [score for score in scores if score is not None]
    return _of_score(max(known)) if known else None


def _severities(part: Json) -> list[Json]:
    entries: Any = part.get("severity")
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _of_score(score: float) -> str:
    return "LOW" if score < 4 else "MEDIUM" if score < 7 else "HIGH" if score < 9 else "CRITICAL"
