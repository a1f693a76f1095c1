"""What people approve: a subject around the proposal's own, so that any difference in what it was judged by is another. Pure.

    {"v":1,"stage":…,"proposal":<the proposal's subject>,"rules":{"judged_by":…,"wanted":…},"scan":{<config digest>:<verdict>}}

With it `way`, {"kind":"promote" or "rollback","run":…}, if the run takes over from another one in that way.

The runner composes it before it asks people, an audit composes it again from the record and compares.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from pipeline.gates import rollbacks
from pipeline.gates import rules as gate_rules
from pipeline.record import digest
from stages.contract import Proposal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.gates.rules import Change, Rules
    from stages.contract import Target

VERSION = 1
PASSED = "PASS"
"""The one verdict of a scan that a gate takes."""


def compose(
    stage: str,
    proposal: Mapping[str, Any],
    *,
    judged_by: Rules,
    wanted: Rules,
    verdicts: Mapping[str, str],
    way: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the subject. `proposal` is the proposal's own, `verdicts` are those of the run's scans by config digest."""
    return {
        "v": VERSION,
        "stage": stage,
        "proposal": proposal,
        "rules": {"judged_by": judged_by.digest, "wanted": wanted.digest},
        "scan": {config: verdicts.get(config) for config in configs(proposal)},
        **({"way": dict(way)} if way else {}),
    }


def proposal_digest(proposal: Proposal) -> str:
    """Give the digest that names a proposal as a whole: what people approve, and how to do it."""
    return digest.of_bytes(digest.canonical(dataclasses.asdict(proposal)))


def by_request(
    kind: str,
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    target: Target | None,
    secrets: Mapping[str, Any] | None = None,
) -> Proposal:
    """Give the proposal of a kind that has none of its own: what it is asked to do.

    `inputs` are digests of artifacts, `secrets` where those are taken from that it is handed.
    """
    where = target.as_json() if target else None
    subject: dict[str, Any] = {"v": 1, "kind": kind, "options": options, "inputs": inputs, "target": where}
    view = f"{kind} in {target.environment if target else 'no environment'}: {json.dumps(options, sort_keys=True)}"
    if secrets:
        subject["secrets"] = secrets
        view += f"\nwith the secrets {', '.join(sorted(secrets))}"
    return Proposal(subject, {}, view)


def judge(
    in_force: Rules | None, wanted: Rules, *, goes_back: bool = False, kind: str = "deploy"
) -> tuple[Rules, Rules, Change | None]:
    """Give the rules that count, those that are in force afterwards, and how these differ from those before.

    Where the wanted ones are weaker, those in force count, with what is stricter in the wanted ones. Going back changes no rules, whatever the
    older run's plan wants: the shorter rule counts for the deployment alone, those in force for what else the run does behind a gate.
    """
    if goes_back and in_force:
        return rollbacks.short(in_force) if kind == "deploy" else in_force, in_force, None
    change = gate_rules.compare(in_force, wanted) if in_force else None
    is_weaker = in_force is not None and change is not None and change.kind == "weaker"
    return (gate_rules.together(in_force, wanted) if in_force and is_weaker else wanted), wanted, change


def verdicts(facts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Give the verdict on each image by config digest, out of the facts of the scans that succeeded; the worst, if there are two."""
    found: dict[str, str] = {}
    for each in facts:
        for config, image in each.get("scan", {}).get("images", {}).items():
            found[config] = image["verdict"] if found.get(config, PASSED) == PASSED else found[config]
    return found


def not_passed(subject: Mapping[str, Any], judged_by: Rules) -> list[str]:
    """Give the images that have not passed a scan, if the rules demand one."""
    return (
        [config for config, verdict in subject["scan"].items() if verdict != PASSED]
        if judged_by.scan == "required"
        else []
    )


def configs(proposal: Mapping[str, Any]) -> list[str]:
    """Give the config digests of the images that a proposal deploys."""
    return sorted({each["config"] for each in proposal.get("images", {}).values()})


def requesters(opening: Mapping[str, Any]) -> list[str]:
    """Give every name that a run's opening has for who asked: whoever sets one of them cannot hide behind it.

    With them those who asked for the run that it takes results over from.
    """
    asked = [opening.get("requester"), *(opening.get("inherits") or {}).get("requesters", [])]
    names = ("email", "login", "user")
    return [told[name] for told in asked if told for name in names if isinstance(told.get(name), str) and told[name]]
