"""What a scan says: files for people and programs, facts for the record, a statement on each image for gates."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.bom.purl import purl
from stages.scan import verdict as verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from stages.bom.advisories import Database
    from stages.bom.matching import Finding, Match
    from stages.bom.packages import Inventory
    from stages.contract import Json
    from stages.scan.handed import Image
    from stages.scan.verdict import Policy, Verdict

VERSION = 1
PREDICATE = "urn:towpath:scan-verdict:v1"
MOST_SHOWN = 5
MOST_REASONS = 10
REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Scanned:
    """All about one image."""

    image: Image
    inventory: Inventory
    match: Match
    verdict: Verdict
    sbom: bytes

    @property
    def sbom_digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.sbom).hexdigest()}"

    @property
    def reasons(self) -> list[str]:
        """Why the image is not known completely; not so many, and not so long, that they fill the record."""
        reasons = [shown(each) for each in self.match.reasons[:MOST_REASONS]]
        more = len(self.match.reasons) - len(reasons)
        return [*reasons, *([f"and {more} more"] if more else [])]


def shown(text: str) -> str:
    """What came out of an image, fit to be printed."""
    plain = "".join(each if each.isprintable() else "?" for each in text)
    return plain if len(plain) <= REASON_CHARACTERS else plain[: REASON_CHARACTERS - 3] + "..."


def facts(scanned: list[Scanned], policy: Policy, database: Database) -> Json:
    """What the record says of the scan."""
    return {
        "verdict": verdicts.overall(each.verdict for each in scanned),
        "policy": dataclasses.asdict(policy),
        "database": {"digest": database.digest, "advisories": database.count},
        "images": {each.image.config: _facts(each) for each in scanned},
    }


def _facts(each: Scanned) -> Json:
    return {
        "verdict": each.verdict,
        "counts": verdicts.counts(each.match.findings),
        "packages": len(each.inventory.packages),
        "functions": list(each.image.functions),
        "reasons": each.reasons,
    }


def statement(each: Scanned, policy: Policy, database: Database) -> Json:
    """The verdict on one image as an unsigned in-toto Statement v1; its predicate is in docs/reference/scan.md."""
    predicate: Json = {
        "verdict": each.verdict,
        "policy": dataclasses.asdict(policy),
        "database": {"digest": database.digest},
        "counts": verdicts.counts(each.match.findings),
        "sbom": {"sha256": each.sbom_digest.removeprefix("sha256:")},
    }
    config = {"sha256": each.image.config.removeprefix("sha256:")}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": config} for name in each.image.functions],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def write(folder: Path, scanned: list[Scanned], facts: Json) -> None:
    """Write the artifact `scan`."""
    (folder / "sbom").mkdir(parents=True)
    for each in scanned:
        for function in each.image.functions:
            (folder / "sbom" / f"{function}.cdx.json").write_bytes(each.sbom)
    images = {each.image.config: facts["images"][each.image.config] | _more(each) for each in scanned}
    _write(folder / "verdict.json", {"v": VERSION, **facts, "images": images})
    findings = {each.image.config: [finding_json(one, each) for one in each.match.findings] for each in scanned}
    _write(folder / "findings.json", {"v": VERSION, "images": findings})


def _more(each: Scanned) -> Json:
    distribution = each.inventory.distribution
    return {
        "distribution": dataclasses.asdict(distribution) if distribution else None,
        "manifest": each.image.carrier.get("manifest"),
        "sbom": each.sbom_digest,
    }


def finding_json(finding: Finding, each: Scanned) -> Json:
    """One finding as findings.json has it."""
    return {
        "id": finding.id,
        "aliases": list(finding.aliases),
        "package": purl(finding.package, each.inventory.distribution).to_string(),
        "installed": finding.installed,
        "fixed": finding.fixed,
        "severity": finding.severity,
        "advisory": finding.file,
    }


def _write(path: Path, document: Json) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def summary(each: Scanned, policy: Policy) -> str:
    """One line on an image."""
    bad, all_found = len(verdicts.failing(each.match.findings, policy)), len(each.match.findings)
    distribution = each.inventory.distribution
    where = f" of {distribution.name}" if distribution else ""
    found = f"{_count(bad)} of {policy.fail_on} or worse, {all_found - bad} below"
    return shown(f"{each.image.shown}: {each.verdict}, {len(each.inventory.packages)} packages{where}, {found}")


def described(finding: Finding) -> str:
    """One finding in words: what is wrong, in what, and which version mends it."""
    also = f" ({', '.join(finding.aliases[:2])})" if finding.aliases else ""
    mended = f"fixed in {finding.fixed}" if finding.fixed else "no fixed version is known"
    return shown(f"{finding.severity} {finding.id}{also} in {finding.package.name} {finding.installed}: {mended}")


def failure_message(scanned: list[Scanned], policy: Policy) -> str:
    """Why the stage fails: the worst findings of each image, or else why it is incomplete."""
    lines: list[str] = []
    for each in scanned:
        bad = verdicts.failing(each.match.findings, policy)
        if bad:
            lines.append(f"{each.image.shown}: {_count(len(bad))} of {policy.fail_on} or worse")
            lines += [f"  {described(finding)}" for finding in bad[:MOST_SHOWN]]
            lines += [f"  and {len(bad) - MOST_SHOWN} more, in the log"] if len(bad) > MOST_SHOWN else []
        elif each.verdict == "INCOMPLETE":
            lines.append(f"{each.image.shown}: INCOMPLETE, so nobody can say what is in it")
            lines += [f"  {reason}" for reason in each.reasons[:MOST_SHOWN]]
    return "\n".join(lines)


def _count(findings: int) -> str:
    return f"{findings} finding{'' if findings == 1 else 's'}"
