"""What a scan says, whatever the image put into it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from stages.bom.advisories import Database
from stages.bom.matching import Finding, Match
from stages.bom.packages import Distribution, Inventory, Package
from stages.scan import report
from stages.scan.handed import Image
from stages.scan.report import Scanned
from stages.scan.verdict import Policy, judge

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "sha256:" + "a" * 64
POLICY = Policy("HIGH", "fail")
DATABASE = Database("sha256:d", 7)
PACKAGE = Package("pypi", "x", "1.0")


def scanned(*findings: Finding, reasons: tuple[str, ...] = ()) -> Scanned:
    match = Match(list(findings), list(reasons))
    inventory = Inventory([PACKAGE], Distribution("debian", "12", "Debian 12"))
    return Scanned(Image(("F", "G"), CONFIG, {}), inventory, match, judge(match, POLICY), b"{}")


def finding(number: int, fixed: str | None = "2.0") -> Finding:
    return Finding(f"CVE-{number}", ("GHSA-1",), PACKAGE, "1.0", fixed, "HIGH", "f.json")


def test_the_statement_is_on_the_image_by_each_function() -> None:
    statement = report.statement(scanned(finding(1)), POLICY, DATABASE)
    assert statement["predicateType"] == "urn:towpath:scan-verdict:v1"
    assert statement["subject"] == [{"name": name, "digest": {"sha256": "a" * 64}} for name in ("F", "G")]
    assert statement["predicate"] == {
        "verdict": "FAIL",
        "policy": {"fail_on": "HIGH", "on_incomplete": "fail"},
        "database": {"digest": "sha256:d"},
        "counts": {"LOW": 0, "MEDIUM": 0, "HIGH": 1, "CRITICAL": 0, "UNKNOWN": 0},
        "sbom": {"sha256": hashlib.sha256(b"{}").hexdigest()},
    }


def test_files(tmp_path: Path) -> None:
    each = scanned(finding(1))
    report.write(tmp_path, [each], report.facts([each], POLICY, DATABASE))
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json"))
    assert names == ["findings.json", "sbom/F.cdx.json", "sbom/G.cdx.json", "verdict.json"]
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["v"], verdict["verdict"], verdict["images"][CONFIG]["verdict"]) == (1, "FAIL", "FAIL")
    (written,) = json.loads((tmp_path / "findings.json").read_text())["images"][CONFIG]
    assert (written["id"], written["package"], written["fixed"]) == ("CVE-1", "pkg:pypi/x@1.0", "2.0")


def test_the_message_names_the_worst_and_what_mends_them() -> None:
    said = report.failure_message([scanned(*map(finding, range(8)), finding(9, None))], POLICY)
    assert "F, G: 9 findings of HIGH or worse" in said
    assert "HIGH CVE-0 (GHSA-1) in x 1.0: fixed in 2.0" in said
    assert "and 4 more" in said
    assert report.failure_message([scanned(finding(9, None))], POLICY).endswith("no fixed version is known")


def test_a_hostile_image_does_not_fill_the_record_or_write_on_the_screen() -> None:
    facts = report.facts([scanned(reasons=tuple(f"{n}\x1b[2J\n{'x' * 10_000}" for n in range(1000)))], POLICY, DATABASE)
    text = json.dumps(facts)
    assert len(text) < 5_000
    assert "\\u001b" not in text
    assert facts["images"][CONFIG]["reasons"][-1] == "and 990 more"
