"""approve, reject: what people decide. Deciding never executes anything."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, proposals, showing, signing
from pipeline.errors import Blocked, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.cli.proposals import Proposed
    from pipeline.cli.signing import Signer
    from pipeline.gates.rules import Keys
    from pipeline.gates.statements import ApprovalDecision
    from pipeline.record.replay import Run
    from pipeline.record.store import Store


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        common.as_json,
        common.trust,
        common.store,
        common.project,
        signing.options(reason=True, expires="8h", examples="30m, 8h, 2d"),
        click.argument("stage"),
        click.argument("run_id", metavar="RUN"),
    ):
        function = option(function)
    return function


@click.command()
@_options
def approve(**given: Any) -> None:
    """Approve what STAGE of RUN is about to do: sign, with your SSH key, a statement over its proposal's subject.

    Of a stage with several environments it is one statement over all that wait; each is let through by it alone.

    Nothing is executed. The next `towpath resume` counts the approvals, and goes on if there are enough.
    """
    _decide("approve", **given)


@click.command()
@_options
def reject(**given: Any) -> None:
    """Reject what STAGE of RUN is about to do. One reject ends the proposal, whoever else approves."""
    _decide("reject", **given)


def _decide(
    decision: ApprovalDecision,
    *,
    signer: Signer,
    run_id: str,
    stage: str,
    project: str,
    store: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    from pipeline.gates import statements

    lasts = signer.lasts
    if not (signer.reason or "").strip():
        raise UsageError("--reason is empty", hint="Say in a sentence why: it is part of what you sign.")
    opened, trusted = common.open_store(store, Path(project)), common.trusted(trust)
    proposed = proposals.find_all(opened, run_id, stage, trusted)
    for each in proposed:
        if decision == "approve" and each.gate.state == "outdated":
            text = f"stage {each.stage.name} of run {each.run.id} is not deployed any more, {each.gate.reasons[0]}"
            raise Blocked(text, hint=each.gate.hint)
        if not as_json:
            showing.print_proposal(each)
    run, names = proposed[0].run, [each.stage.name for each in proposed]
    document, who = signing.sign(
        signer,
        decision,
        _able(proposed),
        question=f"{decision} {' and '.join(names)}",
        may="approve here",
        ask=not as_json,
        lasts=lasts,
        run=run.id,
        covers=[
            statements.Covered(each.stage.name, statements.target_of(each.stage.gated_target), each.gate.digest)
            for each in proposed
        ],
        seen=[run.head.as_json(), *(each.last.head.as_json() for each in proposed)],
    )
    sha256, key = signing.put(opened, run.id, names, document)
    after = [proposals.find(opened, run.id, name, trusted) for name in names]
    if decision == "approve":
        _tell(opened, run, names, {"statement": sha256, "person": who}, Path(project))
    if as_json:
        told = {"statement": sha256, "person": who, "document": f"{opened.location}/{key}"}
        stages = [showing.as_json(each) for each in after]
        common.print_json({**stages[0], **told} if len(stages) == 1 else {"run": run.id, "stages": stages, **told})
        return
    click.echo(f"\n{who}: {decision} is signed and in the inbox:\n  {opened.location}/{key}")
    for each in after:
        showing.print_gate(each)


def _able(proposed: list[Proposed]) -> dict[str, Keys]:
    """Give who may approve at all of these gates, each with the keys that count at all."""
    approvers = [each.gate.judged_by.approvers for each in proposed]
    everywhere = set.intersection(*map(set, approvers))
    return {
        who: tuple(key for key in approvers[0][who] if all(key in each[who] for each in approvers))
        for who in sorted(everywhere)
    }


def _tell(store: Store, run: Run, stages: list[str], said: dict[str, str], project: Path) -> None:
    """Tell those whom the project's own definition names that somebody approved.

    Never those whom a plan in the store names: whoever can write there would have us read secrets of this machine, and send them.
    Who cannot be told now is told by whoever goes on with the run.
    """
    from pipeline import compiling, embedded
    from pipeline.errors import TowpathError
    from pipeline.notifications import notices
    from pipeline.notifications.notifier import Notifier

    try:
        definition, folder = common.load(project / "pipeline.yaml")
    except TowpathError:
        return
    channels = [compiling.channel(definition, each) for each in definition.notifications]
    if not channels:
        return

    def warn(text: str) -> None:
        click.echo(f"{text}; whoever goes on with the run does", err=True)

    def endpoint() -> str:
        return embedded.endpoint(warn)

    notifier = Notifier(store, channels, project=folder, endpoint=endpoint, key=b"", warn=warn)
    _, plan = proposals.load(store, run.id)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    notifier.tell([notices.approved(plan, run, each, said, at) for each in stages], give_up=False)
    notifier.close()
