"""Deployments without an AWS: an executor that plays the kind `deploy` on stacks kept in memory, and runs all else as it is."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from support.approvers import SigningKey
from support.plans import House, command

from pipeline import engine, gating, inherit
from pipeline.executors import Ended, Job
from pipeline.executors.isolation import NONE
from pipeline.executors.process import ProcessExecutor
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY
from pipeline.plan import PlannedStage
from pipeline.record import digest, ledger, ledgers
from pipeline.standings import Wish
from stages import contract
from stages.contract import Failure, Proposal, Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.context import Context
    from pipeline.executors import Stream
    from pipeline.gates.rules import Rules
    from pipeline.gating import Gate
    from pipeline.record.replay import Run

STAGING = Target("staging", "222222222222", "eu-central-1", stack="demo", parameters={"Greeting": "hello"})
PRODUCTION = dataclasses.replace(STAGING, environment="production", account="333333333333")
BOOK = ledger.name_of(PRODUCTION)
_WRITE = """mkdir -p $TOWPATH_OUTPUTS/release; printf '%s' "$RELEASE" > $TOWPATH_OUTPUTS/release/release.json"""


class Stacks(ProcessExecutor):
    """See the module. `stacks` is what runs in each, by account: release and parameters."""

    def __init__(self, work: Path, stacks: dict[str, Any]) -> None:
        super().__init__(work, NONE)
        self.stacks = stacks
        self.played: set[str] = set()

    def submit(self, job: Job) -> None:
        if job.argv[-1] != "deploy":
            super().submit(job)
            return
        self.played.add(job.handle)
        request = contract.read_request(job.work / "request.json")
        contract.write(job.work / "result.json", self._play(request, job.work))

    def watch(self, handle: str, on_line: Callable[[Stream, bytes], None], on_quiet: Callable[[], None]) -> Ended:
        return Ended(0, "exited") if handle in self.played else super().watch(handle, on_line, on_quiet)

    def _play(self, request: contract.Request, work: Path) -> Result:
        target, folder = request.target, work / "outputs/deployment"
        assert target
        release = json.loads((work / request.inputs["release"] / "release.json").read_text())
        if request.phase == "propose":
            subject = {
                "target": {"account": target.account},
                "release": release["digest"],
                "images": release["functions"],
                "parameters": _parameters(target, self.stacks.get("secrets", {}), self.stacks.get("kept", {})),
                "execution": {"capabilities": target.capabilities},
                "base": self.stacks.get(target.account),
            }
            return Result("succeeded", proposal=Proposal(subject, {}, "as it is"))
        if self.stacks.pop("lost", None):
            return Result("failed", failure=Failure("retryable", "nobody knows how that ended"))
        self.stacks[target.account] = {"release": release["digest"], "parameters": target.parameters}
        folder.mkdir()
        (folder / "deployment.json").write_text("{}")
        running = {name: {"image": f"x@{each['manifest']}"} for name, each in release["functions"].items()}
        return Result("succeeded", outputs=["deployment"], facts={"functions": running})


def _parameters(target: Target, secrets: dict[str, str], kept: dict[str, str]) -> dict[str, Any]:
    """Give them as a subject has them: given, secret, and kept as the stack has them."""
    return {
        **{name: {"value": value, "from": "environment"} for name, value in target.parameters.items()},
        **{name: {"digest": digest.of_bytes(value.encode()), "from": "environment"} for name, value in secrets.items()},
        **{name: {"value": value, "from": "stack"} for name, value in kept.items()},
    }


@dataclass
class Town(House):
    """A project whose pipeline packages, deploys to staging, looks at it, deploys to production, and looks at that."""

    stacks: dict[str, Any] = field(default_factory=dict)

    def context(self, run_id: str) -> Context:
        context = super().context(run_id)
        context.executor = Stacks(context.work, self.stacks)
        return context

    def release(self, name: str, wanted: Rules = NOBODY, **parameters: str) -> str:
        """Open a run of a release; its opening says who asked and what was there."""
        return self.begin(*pipeline(self, name, wanted, parameters))

    def begin(self, *stages: PlannedStage, **told: Any) -> str:
        """Open a run as the command does."""
        books = {name: ledgers.read(self.store, name) for name in (ledger.name_of(STAGING), BOOK)}
        seen = {name: book.head.as_json() for name, book in books.items() if book.head}
        asked = {"requester": {"email": "dora@example.com"}, "authors": {name: ["eve@example.com"] for name in books}}
        return self.open(*stages, **{**asked, "ledgers": seen, **told})

    def take_part(self, older: str, kind: str, *environments: str, **told: Any) -> str:
        """Open a promotion or a rollback."""
        run = self.load(older)
        whole = inherit.whole(self.store, run)
        named = environments or ("production",)
        part = inherit.part(whole, named, scans=kind == "promote")
        taken = inherit.begin_at(part, run, inherit.deploying(whole, named))
        way = {"kind": kind, "environments": list(named), "plan": whole.digest}
        return self.begin(*part.stages.values(), **{"inherits": inherit.as_json(run, taken), "way": way, **told})

    def upto(self, run_id: str, *names: str) -> Run:
        """Drive some of a run's stages."""
        return engine.drive(self.context(run_id), Wish(only=frozenset(names)), 2)

    def gate(self, run_id: str, stage: str = "deploy-production") -> Gate:
        """How the gate of what was proposed stands."""
        run = self.load(run_id)
        last = run.last(stage)
        assert last
        assert last.proposal
        plan = self.plans[run_id]
        return gating.look(self.store, plan, run, plan.stages[stage], last.proposal)

    def decide(self, run_id: str, person: str, stage: str = "deploy-production") -> None:
        """Put a signed approval into the inbox."""
        now, gate, target = datetime.now(UTC), self.gate(run_id, stage), self.plans[run_id].stages[stage].target
        assert target
        statement = statements.make(
            "approve",
            person=person,
            reason="looked at it",
            run=run_id,
            covers=[statements.Covered(stage, statements.target_of(target), gate.digest)],
            made_at=now,
            expires_at=now + timedelta(hours=1),
        )
        sealed = statements.seal_up(statement, SigningKey(person).sign(statement))
        self.store.put_new(gating.document_key(run_id, stage, digest.of_bytes(statement)), sealed)

    @property
    def book(self) -> ledger.Ledger:
        """The ledger of production."""
        return ledgers.read(self.store, BOOK)

    def lift(self) -> None:
        """End what a rollback held."""
        held = self.book.hold
        assert held
        told = {"lifts": held.seq, "run": held.run, "reason": "mended", "requester": {"email": "dora@example.com"}}
        ledgers.append(self.store, self.book, [(ledger.HOLD_LIFTED, told)], self.key)

    def delete(self, kind: str = "delete", **told: Any) -> ledger.Ledger:
        """Write into production's ledger that a run of its own deleted the stack."""
        book, run, stage = self.book, "20990101-000000-gone", kind
        intent = {"run": run, "stage": stage, "kind": kind, "attempt": 1, "approvals": []}
        finished = {"run": run, "stage": stage, "outcome": "succeeded", "functions": {}, **told}
        self.stacks.pop(PRODUCTION.account)
        entries = [(ledger.DEPLOYMENT_INTENDED, intent), (ledger.DEPLOYMENT_FINISHED, finished)]
        return ledgers.append(self.store, book, entries, self.key)


def pipeline(house: House, name: str, wanted: Rules, parameters: dict[str, str]) -> list[PlannedStage]:
    """The stages of a release that is called so."""
    config, manifest = (digest.of_bytes(f"{name} {each}".encode()) for each in ("config", "manifest"))
    functions = {"Hello": {"config": config, "manifest": manifest, "image": f"x@{manifest}"}}
    document = {"digest": digest.of_bytes(name.encode()), "functions": functions, "templates": {"": {}}}
    package = command("package", _WRITE, outputs=["release"])
    package.options["variables"] = {"RELEASE": json.dumps(document)}
    production = dataclasses.replace(PRODUCTION, parameters={**PRODUCTION.parameters, **parameters})
    return [
        package,
        _deploy("deploy-staging", ["package"], STAGING, NOBODY),
        command("smoke", "true", needs=("deploy-staging",)),
        _deploy("deploy-production", ["package", "smoke"], production, wanted),
        command("look", f"test ! -e {house.project}/sick-{name}", needs=("deploy-production",)),
    ]


def _deploy(name: str, needs: list[str], target: Target, wanted: Rules) -> PlannedStage:
    return PlannedStage(
        name, "deploy", needs, {}, {"release": "package"}, target, None, 60, idempotent=True, rules=wanted.as_json()
    )
