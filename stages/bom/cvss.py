"""The base score of a CVSS v3 vector: https://www.first.org/cvss/v3.1/specification-document, section 7.1."""

from __future__ import annotations

_WEIGHTS: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0},
    "I": {"H": 0.56, "L": 0.22, "N": 0},
    "A": {"H": 0.56, "L": 0.22, "N": 0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def base_score(vector: str) -> float | None:
    """The score from 0.0 to 10.0, or None if it is no vector of version 3.0 or 3.1."""
    version, *metrics = vector.strip().split("/")
    said = dict(each.partition(":")[::2] for each in metrics)
    try:
        scope, weight = said["S"], {name: _WEIGHTS[name][said[name]] for name in _WEIGHTS}
        privileges = _PRIVILEGES[scope][said["PR"]]
    except KeyError:
        return None
    if version not in ("CVSS:3.0", "CVSS:3.1"):
        return None
    impact = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    changed = scope == "C"
    scaled = 7.52 * (impact - 0.029) - 3.25 * (impact - 0.02) ** 15 if changed else 6.42 * impact
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    if scaled <= 0:
        return 0.0
    return _rounded_up(min((1.08 if changed else 1.0) * (scaled + exploitability), 10))


def _rounded_up(score: float) -> float:
    """To one decimal, upwards, as the specification's appendix A does it."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
