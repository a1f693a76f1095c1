"""break-glass: let one deployment through that the rules hold up, in an emergency; and review that afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, proposals, showing, signing
from pipeline.errors import Blocked, Rejected, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.cli.signing import Signer
    from pipeline.gating import Gate
    from pipeline.plan import Plan
    from pipeline.record.ledger import Ledger
    from pipeline.record.replay import Run
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

_REVIEW_COUNTS = timedelta(days=30)
"""A review counts once the store has it; every statement says how long it does at most."""


@click.command("break-glass")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.argument("stage", required=False)
@click.option(
    "--waive", metavar="LIST", help="What is not to count this once: approvals, window, scan, with commas between."
)
@click.option("--review", is_flag=True, help="Review that the glass was broken for STAGE of RUN, by somebody else.")
@signing.options(reason=False, expires="1h", examples="30m, 8h; 24h at most")
@common.project
@common.store
@common.key
@common.trust
@common.as_json
def break_glass(run_id: str | None, stage: str | None, *, waive: str | None, review: bool, **given: Any) -> None:
    """In an emergency, let STAGE of RUN through although the rules hold it up; sign, with your SSH key, what is not to count.

    Only those may whom the environment's `break-glass` names. Approvals, a freeze (`window`) and the scan can be waived; never a digest, an
    account, a lock, or that the run is outdated. Nothing is executed: the next `towpath resume` goes on. It stands in the target's ledger
    as open until somebody else has reviewed it: --review. Without RUN, list what is open.
    """
    asked = _Asked(**given)
    if run_id is None:
        _list(asked)
    elif stage is None:
        raise UsageError("which stage of the run is meant is not said", hint=f"towpath break-glass {run_id} STAGE ...")
    elif asked.signer.reason is None or (waive is None) == (not review):
        hint = (
            f"towpath break-glass {run_id} {stage} --waive approvals --reason TEXT, or with --review instead of --waive"
        )
        raise UsageError("say what is waived, or that this is a review, and give a reason", hint=hint)
    elif review:
        _review(asked, run_id, stage)
    else:
        _break(asked, run_id, stage, _waived(waive or ""))


@dataclass(frozen=True)
class _Asked:
    """What was said on the command line, beside the run and the stage."""

    signer: Signer
    project: str
    store: str | None
    key: str | None
    trust: str | None
    as_json: bool

    def opened(self) -> tuple[Store, Trust | None]:
        return common.open_store(self.store, Path(self.project)), common.trusted(self.trust)


def _waived(text: str) -> list[str]:
    from pipeline.gates import statements

    waives = [each.strip() for each in text.split(",") if each.strip()]
    wrong = [each for each in waives if each not in statements.WAIVABLE]
    if wrong or not waives:
        what = f"{wrong[0]!r} cannot be waived" if wrong else "--waive is empty"
        raise UsageError(what, hint=f"What can be: {', '.join(statements.WAIVABLE)}.")
    return waives


def _break(asked: _Asked, run_id: str, name: str, waives: list[str]) -> None:
    from pipeline.gates import statements

    store, trust = asked.opened()
    lasts = asked.signer.lasts
    run, plan = proposals.load(store, common.find_run(store, run_id))
    common.known(plan, (name,))
    stage, gate = plan.stages[name], _proposed(store, run, plan, name, trust)
    _refuse_to_sign(run, name, gate)
    if not asked.as_json:
        showing.print_proposal(proposals.Proposed(run, stage, gate))
    document, who = signing.sign(
        asked.signer,
        "break-glass",
        gate.judged_by.glass,
        question=f"break the glass for {name}, which waives {', '.join(waives)},",
        may="do this",
        ask=not asked.as_json,
        lasts=lasts,
        run=run.id,
        covers=[statements.Covered(name, statements.target_of(stage.gated_target), gate.digest)],
        seen=[run.head.as_json()],
        waives=waives,
    )
    _, key = signing.put(store, run.id, [name], document)
    after = _proposed(store, run, plan, name, trust)
    told = {"run": run.id, "stage": name, "person": who, "waives": waives, "document": f"{store.location}/{key}"}
    if asked.as_json:
        common.print_json({**told, "state": after.state, "reasons": after.reasons, "waived": sorted(after.waived)})
        return
    click.echo(f"\n{who}: breaking the glass is signed and in the inbox:\n  {told['document']}")
    showing.print_gate(proposals.Proposed(run, stage, after))
    click.echo(f"  towpath resume {run.id}")
    click.echo(f"  somebody else, afterwards: towpath break-glass {run.id} {name} --review --reason '...'")


def _proposed(store: Store, run: Run, plan: Plan, name: str, trust: Trust | None) -> Gate:
    """Give how the gate stands of what a stage has proposed, be it that it failed since: a scan that did not pass ends an attempt."""
    from pipeline import gating

    last = run.last(name)
    if last is None or last.proposal is None or last.outcome not in ("waiting", "failed"):
        state = (last.outcome or "running") if last else "not begun"
        raise UsageError(
            f"stage {name} of run {run.id} waits for nobody: it is {state}", hint="What waits: towpath approvals"
        )
    if trust:
        common.rely_on(store, run.id, trust)
    return gating.look(store, plan, run, plan.stages[name], last.proposal, trust=trust)


def _refuse_to_sign(run: Run, name: str, gate: Gate) -> None:
    """Say of what nobody can waive that nobody can."""
    reasons = "; ".join(gate.reasons)
    if not gate.judged_by.glass:
        hint = (
            "Name people under `break-glass` of the environment; that is a weaker rule, and approved by those in force."
        )
        raise UsageError(f"nobody may break the glass here: {gate.ledger.name}", hint=hint)
    if gate.state == "rejected":
        raise Rejected(f"stage {name} of run {run.id}: {reasons}", hint="A reject stands. Start anew: towpath run")
    if gate.state in ("outdated", "held", "locked", "busy"):
        raise Blocked(f"stage {name} of run {run.id} is {gate.state}, which nobody can waive: {reasons}")
    if gate.state == "open":
        raise UsageError(
            f"the gate of {name} is open: there is nothing to waive", hint=f"Go on: towpath resume {run.id}"
        )


def _review(asked: _Asked, run_id: str, name: str) -> None:
    from pipeline import reviews
    from pipeline.cli.progress import plain
    from pipeline.gates import decide, rules, statements
    from pipeline.record import ledger, ledgers

    store, trust = asked.opened()
    run, plan = proposals.load(store, common.find_run(store, run_id))
    common.known(plan, (name,))
    stage = plan.stages[name]
    book = ledgers.read(store, ledger.name_of(stage.gated_target), trust) if stage.rules else ledger.Ledger("")
    left = {of: each for of, each in book.glass.items() if (each["run"], each["stage"]) == (run.id, name)}
    if not left or not book.rules:
        raise UsageError(
            f"of {name} of run {run.id} there is nothing to review", hint="What is open: towpath break-glass"
        )
    (of, glass), in_force = next(iter(left.items())), rules.from_json(book.rules, book.name)
    if not asked.as_json:
        click.echo(plain(_text(book, glass)))
    excluded = decide.not_reviewers(in_force, glass)
    able = {who: keys for who, keys in decide.reviewers(in_force).items() if who not in excluded}
    if asked.signer.person in excluded:
        who = asked.signer.person
        raise UsageError(f"{who!r} cannot review this: {excluded[who]}")
    subject = next(
        each.data["subject"] for each in reversed(list(ledger.intended(book.events))) if each.data["run"] == run.id
    )
    document, who = signing.sign(
        asked.signer,
        "review",
        able,
        question=f"say that you have reviewed {name} of run {run.id}",
        may="do this",
        ask=not asked.as_json,
        lasts=_REVIEW_COUNTS,
        run=run.id,
        covers=[statements.Covered(name, statements.target_of(stage.gated_target), subject)],
        seen=[book.head.as_json()] if book.head else [],
        of=of,
    )
    _, key = signing.put(store, run.id, [name], document)
    own = common.runner_key(asked.key)
    if ledger.may_write(book, own, trust):
        book = reviews.take_up(store, book.name, own, trust)
    told = {"run": run.id, "stage": name, "person": who, "of": of, "document": f"{store.location}/{key}"}
    if asked.as_json:
        common.print_json({**told, "recorded": of not in book.glass})
        return
    click.echo(f"\n{who}: the review is signed and in the inbox:\n  {told['document']}")
    done = of not in book.glass
    click.echo(
        "and in the ledger"
        if done
        else "whoever deploys there next, or reviews with a gate's key, writes it into the ledger"
    )


def _list(asked: _Asked) -> None:
    """List what was let through by breaking the glass, and is not reviewed."""
    from pipeline.cli.progress import plain

    store, trust = asked.opened()
    left = list(open_ones(store, trust))
    if asked.as_json:
        common.print_json([{"ledger": book.name, "statement": of, **each} for book, of, each in left])
        return
    for book, _, each in left:
        click.echo(plain(_text(book, each)))
        click.echo(f"  towpath break-glass {each['run']} {each['stage']} --review --reason '...'")
    if not left:
        click.echo("nothing waits to be reviewed")


def open_ones(store: Store, trust: Trust | None) -> Iterator[tuple[Ledger, str, dict[str, Any]]]:
    """Give what waits to be reviewed, in every ledger of a store."""
    from pipeline.record import ledgers

    for name in store.names("ledgers"):
        book = ledgers.read(store, f"ledgers/{name}", trust)
        yield from ((book, of, each) for of, each in book.glass.items())


def _text(book: Ledger, glass: Mapping[str, Any]) -> str:
    where = book.name.removeprefix("ledgers/")
    what = f"{glass['stage']} of run {glass['run']} was let through at {glass['at']} to {where}"
    return f"{what}:\n  {glass['person']} broke the glass, which waived {', '.join(glass['waived'])}: {glass['reason']}"
