"""Look for known flaws in the packages of each image, and say PASS, FAIL or INCOMPLETE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.bom import advisories, matching
from stages.bom.packages import inventory
from stages.bom.sbom import sbom
from stages.contract import Failure, Result, StageError
from stages.log import log
from stages.scan import carriers, handed, report, verdict
from stages.scan.report import Scanned
from stages.scan.verdict import Policy

if TYPE_CHECKING:
    from stages.contract import Request

MOST_LOGGED = 200
_UPDATE = (
    "Update these packages, or the base image they come with, and build again. What each is fixed in stands beside it."
)
_INCOMPLETE = (
    "Give the scan what it lacks (docs/reference/scan.md says what it can read). With `on-incomplete: warn` it passes, and "
    "its verdict stays INCOMPLETE."
)


def check(request: Request, work: Path) -> Result:
    """Look whether there are advisories. Raises InvalidInput if not."""
    advisories.check(*_folder(request, work))
    return Result("succeeded")


def apply(request: Request, work: Path) -> Result:
    """Scan each image, write what was found, and fail unless the verdict is good enough.

    Raises InvalidInput for advisories that are none, StageError for an image that is not to be had or is another one.
    """
    policy = Policy(str(request.options.get("fail-on", "HIGH")), str(request.options.get("on-incomplete", "fail")))
    images, folder = handed.read(request, work)
    contents = carriers.contents(images, folder, request)
    found = {config: inventory(each) for config, each in contents.items()}
    wanted = set().union(*(matching.wanted(each) for each in found.values()))
    database = advisories.load(*_folder(request, work), wanted)
    log(f"advisories: {database.count}, {database.digest}")
    scanned = []
    for image in images:
        match = matching.match(found[image.config], database)
        made = sbom(image.config, found[image.config])
        scanned.append(Scanned(image, found[image.config], match, verdict.judge(match, policy), made))
    for each in scanned:
        _log(each, policy)
    facts = report.facts(scanned, policy, database)
    report.write(work / "outputs" / "scan", scanned, facts)
    statements = [report.statement(each, policy, database) for each in scanned]
    failure = _failure(scanned, str(facts["verdict"]), policy)
    if failure:
        return Result("failed", facts={"scan": facts}, statements=statements, failure=failure)
    return Result("succeeded", outputs=["scan"], facts={"scan": facts}, statements=statements)


def _folder(request: Request, work: Path) -> tuple[Path, str]:
    """The folder of advisories as the stage sees it, and as the user named it."""
    name = str(request.options.get("advisories", ""))
    if not name or request.source is None:
        raise StageError("scan was given no advisories", hint="Name their folder: with: {advisories: FOLDER}")
    return work / Path(request.source) / name, name


def _log(each: Scanned, policy: Policy) -> None:
    log(report.summary(each, policy), function=each.image.shown)
    for finding in sorted(each.match.findings, key=lambda one: (one.package, one.id))[:MOST_LOGGED]:
        log(f"  {report.described(finding)}", function=each.image.shown)
    for reason in each.reasons:
        log(f"  {reason}", function=each.image.shown, level="warning")


def _failure(scanned: list[Scanned], overall: str, policy: Policy) -> Failure | None:
    if overall == "FAIL":
        return Failure("terminal", report.failure_message(scanned, policy), hint=_UPDATE)
    if overall == "INCOMPLETE" and policy.on_incomplete != "warn":
        return Failure("terminal", report.failure_message(scanned, policy), hint=_INCOMPLETE)
    return None
