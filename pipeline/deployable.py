"""Whether a release that ran somewhere could still be deployed there: by the record, by the rules, and by what AWS has, which is asked by
a program of `stages.deploy`. Nothing is changed anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import inherit, jobs, questions
from pipeline import plan as plans
from pipeline.errors import TowpathError, VerificationFailed
from pipeline.gates import rollbacks
from pipeline.gates import rules as gate_rules
from pipeline.record import artifacts, runs
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.credentials import Lender
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.ledger import Deployment, Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from stages.contract import Access, Target


@dataclass
class Found:
    """What was found of one deployment: what is missing, and what could not be looked at."""

    deployment: Deployment
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Give what tells people and programs of it. `deployable` is null where something could not be looked at."""
        is_so = False if self.missing else None if self.unknown else True
        told = {**self.deployment.as_json(), "release": self.deployment.release, "commit": self.deployment.commit}
        return {**told, "deployable": is_so, "missing": self.missing, "unknown": self.unknown}


@dataclass(frozen=True)
class Asked:
    """A release in a folder, and the target that AWS is to be asked about, with who may ask."""

    stage: PlannedStage
    target: Target
    folder: Path


def of_rules(book: Ledger) -> list[str]:
    """Say why nobody could let a rollback through now, by the rules in force."""
    in_force = gate_rules.from_json(book.rules, book.name) if book.rules else None
    if in_force is None or not rollbacks.short(in_force).people:
        return []
    now = datetime.now(UTC)
    able = [who for who, keys in in_force.approvers.items() if any(in_force.valid_at(key, now) for key in keys)]
    return [] if able else ["nobody could approve it: no key of those who may counts any longer"]


def of_record(store: Store, found: Found, folder: Path) -> list[Asked]:
    """Read what a rollback to a deployment would be given, as it would be, into a folder; gives what AWS is to be asked then."""
    asked: list[Asked] = []
    try:
        run = runs.load(store, found.deployment.run)
        if run.head.digest != found.deployment.opening:
            raise VerificationFailed(f"run {run.id} is another than the ledger says")
        plan = _part(store, run, found.deployment)
        taken = inherit.begin_at(plan, run, [found.deployment.stage])
        for name, stage in plan.stages.items():
            if name in taken:
                continue
            for path, sha256 in stage.files.items():
                artifacts.read_blob(store, sha256, path)
            for each, source in stage.inputs.items():
                if source in taken:
                    artifacts.materialise(store, taken[source].outputs[each], folder / name / each)
            if stage.kind == "deploy" and stage.target:
                asked.append(Asked(stage, stage.target, folder / name / "release"))
    except (TowpathError, KeyError) as error:
        found.missing.append(f"the record: {error}")
    return asked


def _part(store: Store, run: Run, deployment: Deployment) -> Plan:
    whole = inherit.whole(store, run)
    target = plans.of(store, run).stages[deployment.stage].target
    return inherit.part(whole, [target.environment] if target else [])


def of_aws(found: Found, asked: Asked, access: Access, lender: Lender | None) -> None:
    """Have AWS asked for images, nested templates and files in S3, and write down what is not there. Raises StageFailed if it cannot be asked."""
    missing, skipped = questions.ask(
        "deployable", asked.target, access, lender, LIMITS.check_ask_s, release=str(asked.folder)
    )
    found.missing += [str(each["message"]) for each in missing]
    found.unknown += skipped


def clear(folder: Path) -> None:
    """Remove what was read into a folder, read-only as it is."""
    jobs.discard(folder)
