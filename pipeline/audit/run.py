"""Verify one run: read everything it left, apply the rules. The only I/O is reading.

The order of checks: the opening; the plan and its files; every attempt's chain and links; artifacts; requests; statements; scans;
logs; seals; ledgers, with approvals; what deployments found running; objects that have no place; completeness. The first that
does not hold is the first finding. The rules stand in `chains`, `logs`, `scans`, `books`, `intents`, `approvals`, `holds` and `rules`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipeline import inherit
from pipeline import plan as plans
from pipeline.audit import chains, logs, relocations, rules, scans
from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.errors import VerificationFailed
from pipeline.gates import rollbacks
from pipeline.record import artifacts, chain, digest, replay, runs, seals
from pipeline.record.store.ahead import KEPT_BYTES
from pipeline.record.writer import event_key
from pipeline.signing import dsse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.audit.blobs import Blobs
    from pipeline.audit.chains import Examined
    from pipeline.audit.targets import BrokenGlass, Targets
    from pipeline.plan import Plan, PlannedStage
    from pipeline.record.prunes import Prune
    from pipeline.record.replay import Attempt, Run
    from pipeline.record.store.ahead import Ahead
    from pipeline.signing.signers import Trust

Others: TypeAlias = "Callable[[str], Report]"
"""Verifies another run of the store."""

Verdict = Literal["authentic", "consistent", "incomplete", "broken"]


@dataclass(frozen=True)
class Pruned:
    """What one prune has removed of what a run handed on, by digest."""

    prune: Prune
    contents: set[str]


@dataclass
class Report:
    """What was found of one run. `sealed_by` maps chains to key fingerprints, `covered` are chains that others vouch for.

    `ledgers` are those it stands in, `approved_by` says who let each gated stage through, `glass` past what
    the glass was broken for it. `pruned`, by the prune's id, is content that
    is gone by a rule, and whose digests stand: nothing that a verdict rests on.
    `versions`: the store keeps those of every object, and showed them.
    """

    run: str
    trust: str | None
    name: str | None = None
    findings: list[Finding] = field(default_factory=list)
    sealed_by: dict[str, str] = field(default_factory=dict)
    covered: list[str] = field(default_factory=list)
    chains: int = 0
    events: int = 0
    log_lines: int = 0
    blobs: int = 0
    way: dict[str, Any] | None = None
    deployed: list[str] = field(default_factory=list)
    ledgers: list[str] = field(default_factory=list)
    approved_by: dict[str, list[str]] = field(default_factory=dict)
    glass: dict[str, BrokenGlass] = field(default_factory=dict)
    pruned: dict[str, Pruned] = field(default_factory=dict)
    versions: bool = False

    @property
    def verdict(self) -> Verdict:
        """`consistent`: everything holds, but nobody said which keys count."""
        grades = {each.grade for each in self.findings}
        if grades:
            return "broken" if "broken" in grades else "incomplete"
        return "authentic" if self.trust else "consistent"


class RunAudit:
    """One run, while it is verified."""

    def __init__(
        self, seen: Ahead, trust: Trust | None, blobs: Blobs, targets: Targets, report: Report, *, others: Others
    ) -> None:
        self.seen, self.store = seen, seen
        self.trust, self.blobs, self.targets, self.report = trust, blobs, targets, report
        self.others = others
        self.found = report.findings
        self.base = f"runs/{report.run}"
        self.chains: dict[str, Examined] = {}

    def walk(self) -> None:
        run = self._opening()
        if run is None:
            self._take_seals()
            return
        self.report.name = str(run.data.get("name") or "") or None
        self.report.way = rollbacks.told(run.data)
        plan = self._plan(run)
        self._attempts(run)
        self._look_ahead(run)
        if plan is not None:
            self._rules(plan, run)
        self._take_seals()
        if plan is not None:
            self._ledgers(plan, run)
            self._read_back(plan, run)
        self._strays(plan)
        if plan is not None and not self._is_unused(run):
            self.found += rules.completeness(plan, run)

    def _is_unused(self, run: Run) -> bool:
        """Tell whether another run goes on in this one's place, as both were opened for the same run of a CI system."""
        with reading(f"{self.base}/open", self.found):
            return not run.attempts and runs.yielded_to(self.store, run.id) is not None
        return False

    def _opening(self) -> Run | None:
        name = f"{self.base}/open"
        examined = self._chain(name)
        if not examined.events:
            if not examined.findings:
                self.found.append(broken(event_key(name, 0), "is missing: nothing else can be judged without it"))
            return None
        with reading(name, self.found):
            run = replay.opening(self.report.run, list(examined.events))
            if run is None:
                text = "the run was never opened whole: its runner was killed, or the end of the chain was removed"
                self.found.append(missing(name, text, "chain.closed", examined.events[-1].type))
            return run
        return None

    def _plan(self, run: Run) -> Plan | None:
        value = self.blobs.json(run.plan, "the plan", self.found)
        plan = None
        with reading(f"{artifacts.blob_key(str(run.plan))}", self.found):
            plan = plans.from_json(value, "the plan") if value is not None else None
        if plan is not None:
            self.seen.look_at(artifacts.blob_key(each) for each in _digests(value))
            files = dict(plan.definition)
            for stage in plan.stages.values():
                files |= stage.files
            for path, sha256 in files.items():
                self._blob(sha256, f"the file {path} of the plan")
        return plan

    def _attempts(self, run: Run) -> None:
        for name in self.store.names(self.base):
            number = name.rpartition(".")[2]
            if name == "open" or not (number.isascii() and number.isdecimal()):
                continue
            full = f"{self.base}/{name}"
            if not self.store.names(full):
                continue  # a folder is no object: a claim that was cut off may leave one
            examined = self._chain(full)
            if not examined.events:
                if not examined.findings:
                    self.found.append(
                        broken(event_key(full, 0), "is missing, though there are other objects of its chain")
                    )
                continue
            with reading(event_key(full, 0), self.found):
                run.add(replay.attempt(run, name, list(examined.events)))

    def _look_ahead(self, run: Run) -> None:
        """Have the small content read that is going to be checked: what events name, then what the manifests among it name."""
        if self.store.local:
            return
        known = {sha256 for examined in self.chains.values() for sha256 in examined.digests}
        named = {
            each for examined in self.chains.values() for event in examined.events for each in _digests(event.data)
        }
        self.seen.look_at(map(artifacts.blob_key, sorted(named - known)))
        files: set[str] = set()
        for sha256 in (each for attempt in self._each(run) for each in attempt.outputs.values()):
            with suppress(VerificationFailed):  # it is checked, and told, in its turn
                files |= {each.sha256 for each in artifacts.manifest(self.store, sha256) if each.size <= KEPT_BYTES}
        self.seen.look_at(artifacts.blob_key(each) for each in sorted(files) if digest.is_digest(each))

    def _rules(self, plan: Plan, run: Run) -> None:
        self.found += rules.numbering(plan, run)
        known = [each for each in self._each(run) if each.stage in plan.stages]
        with reading(f"{self.base}/open", self.found):
            self._inheritance(run, known)
        for attempt in known:
            events = self._events(attempt)
            self.found += rules.links(plan, run, attempt, self.chains)
            stage, name = plan.stages[attempt.stage], runs.chain_name(run.id, attempt.name)
            older = [each for each in run.attempts[attempt.stage] if each.number < attempt.number]
            self.found += rules.phases(run, stage, attempt, events)
            self.found += rules.isolation(plan, name, events)
            self.found += rules.gate(name, stage, events) + rules.proposals(name, stage, attempt, events, older)
        for attempt in known:
            self._artifacts(attempt)
        for attempt in known:
            self._documents(plan, run, attempt)
        for attempt in known:
            if plan.stages[attempt.stage].kind == "scan" and attempt.outcome == "succeeded":
                self._scan(plan.stages[attempt.stage], attempt)
        for attempt in known:
            if plan.stages[attempt.stage].kind == "package" and "release" in attempt.inputs:
                self._copy(attempt)
        for attempt in known:
            self._log(run, attempt)

    def _inheritance(self, run: Run, attempts: list[Attempt]) -> None:
        """Hold what is taken over against the older runs, each verified itself, read and told of once."""
        told = run.data.get("inherits") or {"stages": {}}
        ids = {each["run"] for each in told["stages"].values()} | ({told["run"]} if "run" in told else set())
        older: dict[str, Run] = {}
        for run_id in sorted(each for each in ids if self.store.names(f"runs/{each}")):
            wrong = next((each for each in self.others(run_id).findings if each.grade == "broken"), None)
            if wrong:
                text = f"is what this run takes results over from, and is broken: {wrong}"
                self.found.append(broken(f"runs/{run_id}", text))
                return
            older[run_id] = runs.load(self.store, run_id)
        parent = older.get(str(told.get("run")))
        of = inherit.whole_digest(self.store, parent) if parent else None
        self.found += rules.descent(run, older.get, self._whole(run), of)
        for attempt in attempts:
            self.found += rules.inherited(run, attempt, self._events(attempt), older.get)

    def _whole(self, run: Run) -> Plan | None:
        """Give the plan that a promotion's or a rollback's is a part of."""
        way = run.data.get("way")
        value = self.blobs.json(way["plan"], "the plan that it is a part of", self.found) if way else None
        if value is not None:
            with reading(artifacts.blob_key(str(way and way["plan"])), self.found):
                return plans.from_json(value, "the plan that it is a part of")
        return None

    def _artifacts(self, attempt: Attempt) -> None:
        for event in self._events(attempt):
            if event.type != chain.PHASE_FINISHED:
                continue
            with reading(event_key(f"{self.base}/{attempt.name}", event.seq), self.found):
                for name, sha256 in event.data["outputs"].items():
                    self._artifact(sha256, f"the output {name} of {attempt.name}")

    def _artifact(self, sha256: Any, what: str) -> None:
        wrong = self.blobs.check(sha256, what)
        if wrong:
            self.found.append(wrong)
            return
        with reading(artifacts.blob_key(sha256), self.found):
            for file in artifacts.manifest(self.store, sha256):
                prune = self.blobs.pruned(file.sha256)
                if prune is None:
                    self._blob(file.sha256, f"{file.path} in {what}", file.size)
                else:  # its digest is what counts, and that stands
                    self.report.pruned.setdefault(prune.id, Pruned(prune, set())).contents.add(file.sha256)

    def _documents(self, plan: Plan, run: Run, attempt: Attempt) -> None:
        """Look at requests and statements."""
        stage, proposal = plan.stages[attempt.stage], None
        for event in self._events(attempt):
            with reading(event_key(f"{self.base}/{attempt.name}", event.seq), self.found):
                proposal = event.data.get("proposal") or proposal
                if event.type == chain.PHASE_INTENDED:
                    sha256, phase = event.data["request"], event.data["phase"]
                    document = self.blobs.json(sha256, f"the request of {attempt.name}, {phase}", self.found)
                    if document is not None:
                        self.found += rules.request(
                            run,
                            stage,
                            attempt,
                            document,
                            phase=phase,
                            proposal=proposal,
                            key=artifacts.blob_key(sha256),
                        )
                elif event.type == chain.PHASE_FINISHED:
                    for sha256 in event.data["statements"]:
                        self._statement(sha256, attempt, event.at)

    def _statement(self, sha256: Any, attempt: Attempt, at: str) -> None:
        what = f"a statement of {attempt.name}"
        wrong = self.blobs.check(sha256, what)
        if wrong:
            self.found.append(wrong)
            return
        key = artifacts.blob_key(sha256)
        with reading(key, self.found):
            envelope = dsse.parse(self.blobs.read(sha256, what), key)
            if envelope.type != dsse.IN_TOTO:
                self.found.append(broken(key, f"{what} is of another type", dsse.IN_TOTO, envelope.type))
            chains.signed(envelope, key, chains.Writer(attempt.writer.get("key"), at), self.trust, self.found)

    def _scan(self, stage: PlannedStage, attempt: Attempt) -> None:
        key = f"{self.base}/{attempt.name}"
        with reading(key, self.found):
            files = {each.path: each.sha256 for each in artifacts.manifest(self.store, attempt.outputs["scan"])}
            document = json.loads(self.blobs.read(files["verdict.json"], "verdict.json"))
            self.found += scans.verdicts(key, attempt.facts, document, stage.options)
            listed = [sha256 for event in self._events(attempt) for sha256 in event.data.get("statements") or []]
            stated = [json.loads(dsse.parse(self.blobs.read(each, "a statement"), key).payload) for each in listed]
            sboms = {
                path.removeprefix("sbom/").removesuffix(".cdx.json"): sha256
                for path, sha256 in files.items()
                if path.startswith("sbom/")
            }
            self.found += scans.statements(key, attempt.facts, stated, sboms)
            [(name, given)] = attempt.inputs.items()
            inputs = {each.path: each.sha256 for each in artifacts.manifest(self.store, given["artifact"])}
            about = f"{name}.json"
            self.found += scans.given(key, attempt.facts, json.loads(self.blobs.read(inputs[about], about)))

    def _copy(self, attempt: Attempt) -> None:
        """Look at a release that was copied, once it was."""
        key = f"{self.base}/{attempt.name}"
        with reading(key, self.found):
            if attempt.outcome == "succeeded":
                given, made = (
                    self._files(attempt.inputs["release"]["artifact"]),
                    self._files(attempt.outputs["release"]),
                )
                self.found += relocations.copied(key, given, made)

    def _files(self, sha256: str) -> dict[str, bytes]:
        """Give the files of a small artifact by their paths."""
        listed = artifacts.manifest(self.store, sha256)
        return {each.path: self.blobs.read(each.sha256, each.path) for each in listed}

    def _log(self, run: Run, attempt: Attempt) -> None:
        name = runs.log_name(run.id, attempt.stage, attempt.number)
        successor = self.chains.get(f"{self.base}/{attempt.stage}.{attempt.number + 1}")
        with reading(name, self.found):
            told = rules.log_heads(self._events(attempt), successor)
            keys = self.store.names(name)
            contents = self.store.read_each(f"{name}/{key}" for key in keys)
            segments = ((key, data or b"") for key, data in zip(keys, contents, strict=True))
            log = logs.examine(name, run.head.digest, segments, told)
            self.report.log_lines += log.lines
            still_open = attempt.outcome is None and successor is None
            self.found += [each for each in log.findings if not (still_open and each.grade == "missing")]

    def _take_seals(self) -> None:
        """Say who sealed what, and which chains nobody vouches for."""
        self.found += [each for examined in self.chains.values() for each in examined.findings if _of_seal(each)]
        lengths = chains.vouched(self.chains.values())
        for name, examined in self.chains.items():
            stage, _, number = name.rpartition("/")[2].rpartition(".")
            successor = f"{self.base}/{stage}.{int(number) + 1}" if stage else ""
            took_over = successor if successor in self.chains else None
            self.found += chains.unvouched(examined, lengths.get(name, 0), took_over)
            if examined.sealed_by:
                self.report.sealed_by[name] = examined.sealed_by
            elif lengths.get(name):
                self.report.covered.append(name)
        self.report.blobs = len(self.blobs)

    def _ledgers(self, plan: Plan, run: Run) -> None:
        events = {each.name: self._events(each) for each in self._each(run)}
        judged = self.targets.verify(run, plan, events)
        self.found += judged.findings
        self.report.ledgers, self.report.approved_by = judged.ledgers, judged.approved_by
        self.report.glass = judged.glass

    def _read_back(self, plan: Plan, run: Run) -> None:
        for attempt in self._each(run):
            stage = plan.stages.get(attempt.stage)
            if stage is None or stage.kind != "deploy" or attempt.proposal is None:
                continue
            with reading(f"{self.base}/{attempt.name}", self.found):
                files = {
                    each.path: each for each in artifacts.manifest(self.store, attempt.inputs["release"]["artifact"])
                }
                release = json.loads(self.blobs.read(files["release.json"].sha256, "release.json"))
                self.found += rules.released(run, attempt, release)
                if attempt.outcome == "succeeded":
                    self.found += rules.read_back(run, attempt, release)
                    self.report.deployed.append(attempt.name)

    def _strays(self, plan: Plan | None) -> None:
        """Name what stands in the run's place and is no part of it."""
        for name in self.store.names(self.base):
            full = f"{self.base}/{name}"
            if not self.store.names(full) and self.store.read(full) is None:
                continue
            if full not in self.chains or (plan and name != "open" and name.rpartition(".")[0] not in plan.stages):
                self.found.append(broken(full, "has no place in this run"))
                continue
            known = {f"{seq:08d}.json" for seq in range(len(self.store.names(full)))} | {seals.NAME}
            known |= {"log"} if name != "open" else set()
            for each in self.store.names(full):
                if each not in known and not each.endswith(".json"):
                    self.found.append(broken(f"{full}/{each}", "has no place in this chain"))

    def _chain(self, name: str) -> Examined:
        lines = {
            key: self.store.read(f"{name}/{key}") or b""
            for key in self.store.names(name)
            if key.endswith(".json") and key != seals.NAME
        }
        examined = chains.examine(name, lines, self.store.read(seals.seal_key(name)), self.trust)
        self.chains[name] = examined
        self.found += [each for each in examined.findings if not _of_seal(each)]
        self.report.chains += 1
        self.report.events += len(examined.events)
        return examined

    def _events(self, attempt: Attempt) -> tuple[chain.Event, ...]:
        return self.chains[f"{self.base}/{attempt.name}"].events

    def _each(self, run: Run) -> Iterator[Attempt]:
        for attempts in run.attempts.values():
            yield from attempts

    def _blob(self, sha256: Any, what: str, size: int | None = None) -> None:
        wrong = self.blobs.check(sha256, what, size)
        if wrong:
            self.found.append(wrong)


def _digests(value: Any) -> Iterator[str]:
    """Give what has the form of a digest in a JSON value."""
    if isinstance(value, str) and digest.is_digest(value):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _digests(each)


def _of_seal(finding: Finding) -> bool:
    return finding.key.endswith(f"/{seals.NAME}")
