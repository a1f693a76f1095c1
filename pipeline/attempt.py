"""One try of one stage: claim it, run its phases, record what each is about to do and what came of it, close.

The order of writes is what a kill may rely on: an attempt's chain is opened before anything is done, `phase.intended`
(with the digest of the whole request) stands before the phase's process starts, outputs are stored before
`phase.finished` names them, and `chain.closed` comes last.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import earlier, inherit, jobs, reuse, source, standings
from pipeline.errors import StageFailed, VerificationFailed
from pipeline.record import artifacts, chain, digest, runs, seals, waiting
from pipeline.record.writer import ChainWriter, LogWriter
from pipeline.redaction import Redactor
from stages import contract
from stages.contract import Access, Earlier, Failure, Request, Result
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from pipeline.context import Context, Stop
    from pipeline.credentials import Lender
    from pipeline.evidence import Shown
    from pipeline.executors import Ended, Stream
    from pipeline.passage import Passage
    from pipeline.plan import PlannedStage
    from pipeline.record.replay import Attempt, Outcome, Run

_STATEMENT = "https://in-toto.io/Statement/v1"


def make(context: Context, name: str, stop: Stop) -> Attempt | None:
    """Attempt a stage and give the attempt as recorded; None if another runner has claimed it. Raises Blocked."""
    run, stage = context.run, context.plan.stages[name]
    last = run.last(name)
    number = last.number + 1 if last else 1
    unknown = earlier.unknown(context, name)
    writer = ChainWriter(context.store, runs.chain_name(run.id, f"{name}.{number}"), context.key)
    inputs = {each: _input(run, source, each) for each, source in stage.inputs.items()}
    turn = standings.turn(context.plan, run, name)  # first: who is applied builds on all that it came after
    ahead = [each for each in stage.after if not run.done(each)]
    below = [name for name in (*stage.needs, *stage.after) if name not in ahead]
    claim = {
        "opening": run.head.digest,
        "stage": name,
        "attempt": number,
        "executor": "container" if stage.image else context.executor.name,
        "inputs": inputs,
        "builds_on": [done.head.as_json() for each in below if (done := run.done(each))],
        "follows": earlier.follows(context, last) if last else None,
    }
    if not writer.open(claim):
        return None
    if last and last.outcome == "waiting":
        waiting.over(context.store, run.id, name, last.number)
    context.reporter.stage_started(name, number)
    log = LogWriter(context.store, runs.log_name(run.id, name, number), run.head.digest)
    attempt = _Attempt(context, stage, number, unknown, writer, log, stop, inputs, turn)
    try:
        outcome = attempt.phases()
    except Exception as error:
        attempt.redactor.error(error)
        raise
    log.flush()
    if outcome == "waiting":
        waiting.put(context.store, run.id, name, number)
    writer.close({"outcome": outcome, "log": log.head.as_json()})
    made = runs.load_attempt(context.store, run, f"{name}.{number}")
    context.reporter.stage_ended(made)
    return made


def cancel(context: Context, name: str) -> None:
    """Ask the process of a stage that is under way here to end; it does within `LIMITS.grace_s`."""
    for phase in KINDS[context.plan.stages[name].kind].phases:
        for number in range(1, len(context.run.attempts.get(name, [])) + 2):
            context.executor.cancel(f"{runs.handle(context.run.id, name, number)}-{phase}")


def _input(run: Run, source: str, name: str) -> dict[str, Any]:
    done = run.done(source)
    if done is None or name not in done.outputs:
        raise VerificationFailed(f"runs/{run.id}: stage {source} is recorded as done, without its output {name}")
    return {"stage": source, "attempt": done.number, "artifact": done.outputs[name]}


@dataclass
class _Attempt:
    """The phases of one attempt, while they run. `began` is the last of them that was about to begin, `turn` says for what the
    stage has to wait before it is applied, `adopted` that the proposal is an earlier attempt's."""

    context: Context
    stage: PlannedStage
    number: int
    unknown: list[Earlier]
    writer: ChainWriter
    log: LogWriter
    stop: Stop
    inputs: dict[str, dict[str, Any]]
    turn: list[str]
    proposal: contract.Proposal | None = None
    adopted: bool = False
    began: contract.Phase | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    redactor: Redactor = field(default_factory=Redactor)

    def phases(self) -> Outcome:
        """Run what phases there are to run, and give the outcome."""
        older = inherit.taken_over(self.context.store, self.context.run, self.stage.name)
        if older:
            return self._inherit(older)
        last = self.context.run.last(self.stage.name)
        if last and last.has_result:
            return self._take_over(last)
        phases = [phase for phase in KINDS[self.stage.kind].phases if phase != "check"]
        adopted = earlier.proposed(self.context.run, self.stage.name)
        if adopted and adopted.proposal:
            self.proposal, self.adopted, phases = adopted.proposal, True, ["apply"]
            told = {"from": adopted.number, "proposal": dataclasses.asdict(adopted.proposal)}
            self.writer.append(chain.PROPOSAL_ADOPTED, told)
        gate = self._passage(adopted) if self.stage.rules else None
        if gate and "propose" in phases and gate.is_held_up():
            return "failed"
        for phase in phases:
            if self.stop.is_set():
                return "canceled"
            if gate is None or phase != "apply":
                outcome = self._phase(phase)
            else:
                outcome = gate.held(self._proposed()) or self._pass(gate)
            if outcome != "succeeded":
                return outcome
        return "succeeded"

    def _passage(self, adopted: Attempt | None = None) -> Passage:
        """The way through the stage's gate. It is imported late: most stages have none, and an unchanged build takes its time in imports."""
        from pipeline.passage import Passage

        seen = adopted.looked if adopted else None
        return Passage(self.context, self.stage, self.number, self.writer, self._say, self.turn, seen)

    def _proposed(self) -> contract.Proposal:
        """What is to be applied: what the stage proposed, or took over; of a kind that proposes nothing, what it is asked for."""
        if self.proposal is None:
            from pipeline.gates import subjects

            given = {name: each["artifact"] for name, each in self.inputs.items()}
            named = self.stage.as_json().get("secrets")
            self.proposal = subjects.by_request(self.stage.kind, self.stage.options, given, self.stage.target, named)
            told = {"from": self.number, "proposal": dataclasses.asdict(self.proposal)}
            self.writer.append(chain.PROPOSAL_ADOPTED, told)
        return self.proposal

    def _pass(self, gate: Passage) -> Outcome:
        """Apply what the gate let through, and say in the ledger what came of it.

        Of what an older attempt had begun, one that could not even begin has nothing to say.
        """
        outcome = self._phase("apply", gate.told_apart)
        if self.began == "apply" or not gate.resumes:
            gate.leave(outcome, self.facts, self.failure)
        return outcome

    def _inherit(self, older: Attempt) -> Outcome:
        """Take over what an older run's attempt came to: nothing is done again."""
        told = self.context.run.data["inherits"]["stages"][self.stage.name]
        self._say(
            {"phase": None, "stream": "runner", "text": f"taken over from run {told['run']}, attempt {older.number}"},
            {},
        )
        result = {"outputs": older.outputs, "facts": older.facts, "statements": list(older.statements)}
        self.writer.append(chain.RESULT_INHERITED, {"from": told, **result})
        return "succeeded"

    def _take_over(self, last: Attempt) -> Outcome:
        """Adopt the result of an attempt that did all it had to do, and whose runner died before it could say so."""
        self.facts = last.facts
        result = {"outputs": last.outputs, "facts": last.facts, "statements": list(last.statements)}
        self.writer.append(chain.RESULT_ADOPTED, {"from": last.number, **result})
        if self.stage.rules:
            self._passage().leave("succeeded", self.facts)
        return "succeeded"

    def _phase(self, phase: contract.Phase, judge: Callable[[Result], Result] = lambda result: result) -> Outcome:
        """Run one phase. `judge` may say more of a failure than the stage can know."""
        try:
            job = self._prepare(phase)
        except (VerificationFailed, StageFailed) as error:
            cls: contract.ErrorClass = "mismatch" if isinstance(error, VerificationFailed) else "terminal"
            return self._finish(
                phase, None, Result("failed", failure=Failure(cls, error.message, error.where, error.hint)), {}
            )
        ended, result = jobs.run(
            job, self.context.executor, lambda stream, line: self._line(phase, stream, line), self.log.flush_if_due
        )
        if self.stage.options.get("writes"):
            self.context.source_changed()
        self._write(self.redactor.end())
        if ended.reason == "canceled":
            result = self._canceled(phase)
        elif ended.reason == "timed-out":
            result = self._timed_out(phase, result)
        outputs: dict[str, str] = {}
        if name := self.redactor.held_by(result.statements):
            result = _leaked(f"a statement of the stage holds the secret {name}")
        result = judge(result)
        if result.outcome == "succeeded":
            result, outputs = self._collect(phase, job, result)
        if result.proposal:
            for line in result.proposal.view.splitlines():
                self._say({"phase": phase, "stream": "proposal", "text": self.redactor.text(line)}, {})
        outcome = self._finish(phase, ended, result, outputs)
        if outcome == "succeeded" or job.secrets:  # the stage may have left what it was handed there
            jobs.discard(job.work)
        return outcome

    def _canceled(self, phase: contract.Phase) -> Result:
        """Say who ended it, and what nobody ended thereby."""
        text = f"it was canceled{f' by {self.stop.by}' if self.stop.by else ''}{self._outside(phase)}"
        return Result("failed", failure=Failure("terminal", text))

    def _timed_out(self, phase: contract.Phase, result: Result) -> Result:
        """Say that it took too long, and what goes on all the same."""
        text = result.failure.message if result.failure else "it took too long"
        hint = f"Go on with: towpath resume {self.context.run.id}   `timeout` of the stage says how long it may take."
        return Result("failed", failure=Failure("terminal", text + self._outside(phase), hint=hint))

    def _outside(self, phase: contract.Phase) -> str:
        outside = KINDS[self.stage.kind].outside if phase == "apply" else ""
        return f"; {outside}" if outside else ""

    def _prepare(self, phase: contract.Phase) -> jobs.Phase:
        run, stage = self.context.run, self.stage
        handle = runs.handle(run.id, stage.name, self.number)
        work = self.context.work / f"{handle}-{phase}"
        inputs = {name: _input(run, source, name)["artifact"] for name, source in stage.inputs.items()}
        previous = reuse.find(self.context.store, run.id, stage, self.context.key)
        shown = self._evidence(phase)
        request = Request(
            kind=stage.kind,
            phase=phase,
            handle=handle,
            options=stage.options,
            inputs={name: f"inputs/{name}" for name in inputs},
            source=jobs.source_of(stage, self.context.project, work),
            target=stage.target,
            access=self._access(phase),
            proposal=self.proposal,
            earlier=self.unknown,
            previous=previous.folders if previous else {},
            cache=self._cache(),
            commit=self._commit(),
            secrets=sorted(stage.secrets),
            evidence={name: f"evidence/{name}" for name in shown},
            fresh=self.proposal is not None and not self.adopted,
        )
        values = self._secrets()
        lender = self._sign_in(phase, handle)
        self.redactor = Redactor(values | (lender.secret_values() if lender else {}))
        files, shown_artifacts = (
            previous.files if previous else {},
            {name: each.artifact for name, each in shown.items()},
        )
        job = jobs.Phase(stage, request, inputs, work, files, values, lender, shown_artifacts)
        state = self._source_state()
        jobs.prepare(job, self.context.store)
        recorded = artifacts.put_json(self.context.store, {"v": contract.VERSION, **dataclasses.asdict(request)})
        told = {"phase": phase, "handle": work.name, "request": recorded, "source": state}
        mode = "container" if stage.image else self.context.executor.mode
        told["isolation"] = {"mode": mode, "network": "network" in jobs.needs_of(stage)}
        if previous:
            told["reuses"] = previous.as_json()
        if shown:
            told["shown"] = {name: each.as_json() for name, each in shown.items()}
        self.writer.append(chain.PHASE_INTENDED, told)
        self.began = phase
        return job

    def _evidence(self, phase: contract.Phase) -> dict[str, Shown]:
        """What a proposal is compared with. It is imported late: most stages propose nothing."""
        if phase != "propose" or not KINDS[self.stage.kind].evidence:
            return {}
        from pipeline import evidence

        context = self.context
        return evidence.find(context.store, context.plan, context.run, self.stage, context.trust)

    def _source_state(self) -> dict[str, Any] | None:
        """Say at which commit the project is that a stage is about to read, once it is held to the run's own."""
        if self.context.project is None or "source" not in KINDS[self.stage.kind].needs:
            return None
        state = self.context.source_state(self.context.project)
        source.compare(self.context.run.data.get("source"), state)
        return state

    def _commit(self) -> str | None:
        opened = self.context.run.data.get("source") or {}
        return None if opened.get("changed") else opened.get("commit")

    def _cache(self) -> str | None:
        if self.context.project is None or "cache" not in KINDS[self.stage.kind].needs:
            return None
        return str(self.context.project / ".towpath" / "cache" / self.stage.kind)

    def _secrets(self) -> dict[str, bytes]:
        """Take the values of the stage's secrets. What its earlier attempts left of theirs, when their runner died, goes now."""
        if not self.stage.secrets:
            return {}
        from pipeline import secrets

        for each in self.unknown:
            jobs.discard(self.context.work / f"{each.handle}-{each.phase}")
        key = self.context.key.public.raw
        handle = runs.handle(self.context.run.id, self.stage.name, self.number)
        places = secrets.Places(self.context.project, os.environ, self.context.endpoint, handle)
        return secrets.take(self.stage, places, key)

    def _access(self, phase: contract.Phase) -> Access | None:
        target, auth = self.stage.target, self.stage.auth
        if target is None:
            return None
        if auth:
            return Access(role=auth.roles[KINDS[self.stage.kind].role(phase)])
        return Access(self.context.endpoint() if target.embedded else None, self.stage.profile)

    def _sign_in(self, phase: contract.Phase, handle: str) -> Lender | None:
        """Sign in with the role of the phase, before anything of it is recorded; None where stages find credentials by themselves."""
        stage = self.stage
        if stage.auth is None or stage.target is None:
            return None
        from pipeline import credentials

        key, region = KINDS[stage.kind].role(phase), stage.target.region
        tags = {"towpath:run": self.context.run.id, "towpath:stage": stage.name}
        fetch = credentials.fetcher(
            stage.auth, key, region, os.environ, profile=stage.profile, session=handle, tags=tags
        )
        return credentials.Lender(fetch)

    def _collect(self, phase: contract.Phase, job: jobs.Phase, result: Result) -> tuple[Result, dict[str, str]]:
        """Store the outputs that the kind declares; anything else, missing or too much, fails the stage."""
        if any(each.get("_type") != _STATEMENT for each in result.statements):
            text = f"the stage states something that is not an in-toto statement ({_STATEMENT})"
            return Result("failed", failure=Failure("fault", text)), {}
        declared = set(self.stage.outputs) if phase == "apply" else set()
        if set(result.outputs) != declared:
            text = f"the stage handed on {sorted(result.outputs)}, but its kind declares {sorted(declared)}"
            return Result("failed", failure=Failure("fault", text)), {}
        try:
            return result, {
                name: artifacts.collect(self.context.store, job.work, name, self._inspect) for name in sorted(declared)
            }
        except StageFailed as error:
            return Result("failed", failure=Failure("terminal", error.message, error.where, error.hint)), {}

    def _inspect(self, path: str, file: BinaryIO) -> None:
        """Raise StageFailed for an output that holds a secret: it would be in the record, for all who may read that."""
        name = self.redactor.held_by(path) or self.redactor.held_by_file(file)
        if name:
            raise StageFailed(f"the output {path} holds the secret {name}", hint=_LEAKED)

    def _finish(self, phase: contract.Phase, ended: Ended | None, result: Result, outputs: dict[str, str]) -> Outcome:
        result = _masked(result, self.redactor)
        outcome: Outcome = result.outcome
        if ended and ended.reason in ("canceled", "timed-out"):
            outcome = "canceled" if ended.reason == "canceled" else "timed-out"
        proposal = result.proposal if phase == "propose" else None  # once its gate was looked at, it stays what it was
        self.proposal, self.facts, self.failure = proposal or self.proposal, result.facts, result.failure
        self.log.flush()  # first: what is said of the log's end must be so, whatever happens next
        told = {
            "phase": phase,
            "outcome": outcome,
            "status": ended.status if ended else None,
            "outputs": outputs,
            "facts": result.facts,
            "statements": [
                seals.put_statement(self.context.store, each, self.context.key) for each in result.statements
            ],
            "proposal": dataclasses.asdict(proposal) if proposal else None,
            "failure": dataclasses.asdict(result.failure) if result.failure else None,
            "log": self.log.head.as_json(),
        }
        self.writer.append(chain.PHASE_FINISHED, told)
        return outcome

    def _line(self, phase: contract.Phase, stream: Stream, line: bytes) -> None:
        message, fields = parse_line(line)
        about = {"phase": phase, "stream": stream}, fields
        self._write(self.redactor.line((stream, str(fields.get("function"))), message, about))

    def _write(self, lines: list[tuple[bytes, Any]]) -> None:
        """Write lines as the redactor gives them: nothing else of what a stage says reaches the log, or the screen."""
        for message, (data, fields) in lines:
            text = message.decode("utf-8", "backslashreplace")
            self._say({**data, "text": text}, self.redactor.value(fields))

    def _say(self, data: dict[str, Any], fields: dict[str, Any]) -> None:
        self.log.line({**data, "fields": fields} if fields else data)
        self.context.reporter.line(self.stage.name, data["text"], fields)


_LEAKED = "Write what others may read. Who needs the secret is to name it: secrets: [NAME]"


def _leaked(text: str) -> Result:
    return Result("failed", failure=Failure("terminal", text, hint=_LEAKED))


def _masked(result: Result, redactor: Redactor) -> Result:
    """Give a result with the texts in it masked, as far as they are recorded; no statement holds a secret by now."""
    if not redactor:
        return result
    proposal, failure = result.proposal, result.failure
    if proposal:
        proposal = contract.Proposal(**redactor.value(dataclasses.asdict(proposal)))
    if failure:
        failure = Failure(failure.cls, *map(redactor.value, (failure.message, failure.where, failure.hint)))
    return dataclasses.replace(result, facts=redactor.value(result.facts), proposal=proposal, failure=failure)


def parse_line(line: bytes) -> tuple[bytes, dict[str, Any]]:
    """Give a line's text and, if it is a JSON object with a message, the fields beside it. Data, never an instruction."""
    if line.startswith(b"{") and len(line) < LIMITS.log_line_bytes:
        try:
            value = digest.parse(line)  # what cannot be recorded as JSON is text
        except ValueError:
            value = None
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return value.pop("message").encode("utf-8", "surrogatepass"), value
    return line, {}
