"""How a proposal and its gate are shown: to people, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.progress import plain

if TYPE_CHECKING:
    from pipeline.cli.proposals import Proposed

_VIEW_CHARACTERS = 100_000


def print_proposal(proposed: Proposed) -> None:
    """Print what people are asked to decide on."""
    run, stage, gate, last = proposed.run, proposed.stage, proposed.gate, proposed.last
    source, target = run.data.get("source") or {}, stage.target
    changes = "" if source.get("clean") else " (with changes that are in no commit)"
    told = [
        f"{stage.name} of run {run.id}, attempt {last.number}",
        f"  source   {source.get('commit') or 'unknown'}{changes}",
    ]
    if target:
        partition = "embedded AWS" if target.embedded else target.partition
        where = f"{target.stack or 'no stack'} in {target.account}, {target.region}, {partition}"
        told.append(f"  target   {target.environment}: {where}")
    told += [f"  subject  {gate.digest}", ""]
    view = last.proposal.view if last.proposal else ""
    told += [f"  {line}" for line in view[:_VIEW_CHARACTERS].splitlines()]
    if len(view) > _VIEW_CHARACTERS:
        told.append(f"  ... and {len(view) - _VIEW_CHARACTERS:,} characters more: towpath logs {run.id} {stage.name}")
    told.append("")
    for name, image in gate.subject["proposal"].get("images", {}).items():
        told.append(f"  {name} is {image.get('image')}, config {image['config']}")
    told += [f"  scan of {config}: {verdict or 'none'}" for config, verdict in gate.subject["scan"].items()]
    way = gate.subject.get("way")
    if gate.origin:
        told.append(f"  way      {gate.reasons[0]}")
    elif way:
        told.append(f"  way      promotes run {way['run']}")
    told.append(
        f"  rules    {gate.judged_by.people} must approve, of: {', '.join(sorted(gate.judged_by.approvers)) or 'nobody'}"
    )
    if gate.change and gate.change.kind != "equal":
        told += [f"  rules become {gate.change.kind}: {reason}" for reason in gate.change.reasons]
    for line in told:
        click.echo(plain(line))


def print_gate(proposed: Proposed) -> None:
    """Print how a gate stands, why, and what to do."""
    run, stage, gate = proposed.run, proposed.stage, proposed.gate
    click.echo(f"{run.id} {stage.name}: {gate.state}")
    for reason in gate.reasons:
        click.echo(f"  {plain(reason)}")
    for each in gate.decision.refused if gate.decision else []:
        click.echo(f"  not counted: {plain(each.reason)}")
    if gate.hint:
        click.echo(f"  {plain(gate.hint)}")
    if gate.state in ("frozen", "locked"):
        click.echo(f"  what is proposed is kept; once that is over: towpath resume {run.id}")
    if gate.state == "waiting":
        click.echo(f"  towpath approve {run.id} {stage.name} --reason '...'")


def as_json(proposed: Proposed) -> dict[str, Any]:
    """Give the JSON form of how a gate stands."""
    stage, gate = proposed.stage, proposed.gate
    decision = gate.decision
    return {
        "run": proposed.run.id,
        "stage": stage.name,
        "environment": stage.target.environment if stage.target else None,
        "state": gate.state,
        "reasons": gate.reasons,
        "newer": gate.newer.as_json() if gate.newer else None,
        "subject": gate.digest,
        "missing": decision.missing if decision else 0,
        "counted": [
            {"person": each.person, "decision": each.decision, "reason": each.reason} for each in decision.counted
        ]
        if decision
        else [],
        "refused": [{"person": each.person, "reason": each.reason} for each in decision.refused] if decision else [],
    }
