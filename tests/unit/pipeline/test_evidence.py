"""What a proposal is compared with is what this run and the one that stands at the target have; it is never a reason to stop."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

from support.gated import TARGET, deployed
from support.plans import command

from pipeline import evidence, jobs
from pipeline.gates.rules import NOBODY
from pipeline.record import artifacts
from stages.contract import Request

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.evidence import Shown
    from pipeline.plan import PlannedStage


def stages(says: str) -> list[PlannedStage]:
    scan = command(
        "scan", f"mkdir -p $TOWPATH_OUTPUTS/scan; echo {says} > $TOWPATH_OUTPUTS/scan/verdict.json", outputs=["scan"]
    )
    other = dataclasses.replace(scan, name="unneeded")
    package = command("package", "true", needs=("scan",))
    deploy = dataclasses.replace(
        package, name="deploy", kind="deploy", needs=["package"], target=TARGET, rules=NOBODY.as_json()
    )
    return [scan, other, package, deploy]


def scanned(house: House, says: str) -> str:
    """A run in which all is done but the deployment."""
    run_id = house.open(*stages(says))
    context = house.context(run_id)
    for name in ("scan", "unneeded", "package"):
        house.attempt(context, name)
    return run_id


def found(house: House, run_id: str) -> dict[str, Shown]:
    run, plan = house.load(run_id), house.plans[run_id]
    return evidence.find(house.store, plan, run, plan.stages["deploy"], None)


def test_the_scan_of_this_run_and_of_the_one_that_stands(house: House) -> None:
    first = scanned(house, "one")
    assert {name: (each.run, each.stage) for name, each in found(house, first).items()} == {"scan": (first, "scan")}
    deployed(house, first)
    second = scanned(house, "two")
    shown = found(house, second)
    assert {name: (each.run, each.stage) for name, each in shown.items()} == {
        "scan": (second, "scan"),
        "standing-scan": (first, "scan"),
    }
    assert shown["scan"].artifact != shown["standing-scan"].artifact


def test_a_deployment_that_failed_or_a_record_that_is_elsewhere_shows_nothing(house: House) -> None:
    first = scanned(house, "one")
    deployed(house, first, outcome="failed")
    assert set(found(house, first)) == {"scan"}
    deployed(house, first)
    assert set(found(house, first)) == {"scan", "standing-scan"}
    shutil.rmtree(house.project.parent / "store" / "runs" / first)
    assert set(found(house, scanned(house, "two"))) == {"scan"}


def test_evidence_that_was_pruned_is_not_laid_out_and_stops_nothing(house: House) -> None:
    run_id = scanned(house, "one")
    artifact = found(house, run_id)["scan"].artifact
    deploy = house.plans[run_id].stages["deploy"]
    request = Request("deploy", "propose", "h", evidence={"scan": "evidence/scan"})
    job = jobs.Phase(
        deploy, request, {}, house.project / "work", evidence={"scan": artifact, "gone": "sha256:" + "0" * 64}
    )
    jobs.prepare(job, house.store)
    assert (job.work / "evidence" / "scan" / "verdict.json").read_text() == "one\n"
    assert not (job.work / "evidence" / "gone").exists()
    assert artifacts.manifest(house.store, artifact)
