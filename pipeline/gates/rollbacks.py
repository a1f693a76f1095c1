"""Going back to a release that ran at a target before, by a shorter rule. Pure.

The rule, derived from the rules in force alone: one of those who may approve, who may be whoever asked for the rollback or wrote
what it deploys; nobody, where nobody need approve. A scan is not demanded anew, and no freeze holds it up. Everything else stays:
digests, account, chain.

It is only for what the target's ledger proves: that the very run whose results are taken over has deployed there and succeeded, that this
stood before what stands there, so that nobody comes back by it to what somebody had gone back from, and
that what is proposed now is what was deployed then, by release, images, parameters and rights. Secrets that were changed since are as they are today. Any other claim opens nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.gates.rules import Rules
    from pipeline.record.ledger import Deployment
    from pipeline.record.replay import Run

Kind = Literal["promote", "rollback"]


def way(opening: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the way by which a run takes over from another, as its opening has it; None for a run that is neither of these.

    It is part of what people approve, and of the ledger's intent: `{"kind": …, "run": <the run taken over from>}`.
    """
    told, inherits = opening.get("way"), opening.get("inherits")
    return {"kind": told["kind"], "run": inherits["run"]} if told and inherits else None


def told(opening: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the same for people, with the environments that it is about."""
    found = way(opening)
    return {**found, "environments": opening["way"]["environments"]} if found else None


def is_rollback(opening: Mapping[str, Any]) -> bool:
    """Tell whether a run says of itself that it goes back to an older release."""
    told = way(opening)
    return told is not None and told["kind"] == "rollback"


def short(rules: Rules) -> Rules:
    """Give the rule for going back, from the rules in force."""
    return dataclasses.replace(rules, people=min(rules.people, 1), scan="none", freezes=())


def origin(run: Run, made: Iterable[Deployment], stage: str | None = None) -> Deployment | None:
    """Give the deployment to which a run goes back, its last if there are several; None if the ledger has none, whatever the run says.

    It is one of those that stood before what stands, but for what this run has done itself; `made` holds deletions too. `stage` is the one that must have done it;
    without it any of that run.
    """
    stood = standing(each for each in made if each.run != run.id)
    found = [each for each in stood[:-1] if not each.deletes and _is_named(run, each) and stage in (None, each.stage)]
    return found[-1] if found else None


def ran(run: Run, deployments: Iterable[Deployment]) -> bool:
    """Tell whether what a run says it goes back to was ever deployed there."""
    return any(_is_named(run, each) for each in deployments)


def _is_named(run: Run, deployment: Deployment) -> bool:
    inherits = run.data.get("inherits") or {}
    return (deployment.run, deployment.opening) == (inherits.get("run"), inherits.get("opening"))


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what of a deployment would be another than that which ran: both are subjects of proposals.

    What a late-bound parameter stands for may have changed since, and is shown; what runs there now is another anyway. So may a secret, and
    what the stack keeps: a rollback takes those as they are today.
    """
    found = [name for name, part in _SAME.items() if part(then) != part(now)]
    if _role(now) != _role(then) and _role(now) != (now.get("base") or {}).get("service_role"):
        found.append("service role")
    ours, theirs = then["parameters"], now["parameters"]
    same = ours.keys() == theirs.keys() and all(_is_same(ours[name], theirs[name]) for name in ours)
    return found if same else [*found, "parameters"]


def others_than_then(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say of each parameter, and of the role, that a rollback takes it as it is today, and not as it was then."""
    ours, theirs = then["parameters"], now["parameters"]
    role = [] if _role(then) == _role(now) else [f"the stack's service role stays {_role(now)}, then {_role(then)}"]
    return role + [
        f"{name} is another secret than then"
        if _is_secret(theirs[name])
        else f"{name} stays {theirs[name]['value']}, then {ours[name].get('value')}"
        for name in sorted({*ours} & {*theirs})
        if any(ours[name].get(each) != theirs[name].get(each) for each in ("value", "digest"))
    ]


_SAME: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "target": lambda subject: subject["target"],
    "release": lambda subject: subject["release"],
    "images": lambda subject: subject["images"],
    "capabilities": lambda subject: subject["execution"]["capabilities"],
    "notification ARNs": lambda subject: subject["execution"].get("notification_arns"),
    "behaviour on failure": lambda subject: _on_failure(subject["execution"]),
}


def _on_failure(execution: Mapping[str, Any]) -> tuple[Any, Any]:
    """One that would delete a stack that is made rolls back one that is there, by the same definition."""
    way = execution.get("on_failure")
    return "rollback" if way == "delete" else way, execution.get("retain_except_on_create")


def _role(subject: Mapping[str, Any]) -> Any:
    """The role that CloudFormation takes; without one of its own, that which the stack has."""
    return subject["execution"].get("service_role")


_OWN = ("default", "stack")
"""Where the value of a parameter that nobody gives is from: the template's, until a stack is there that keeps it."""


def _is_same(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Compare a parameter by its value, if that is given; a secret by where it is from, as is what the stack keeps."""
    if _is_secret(then) != _is_secret(now):
        return False
    if not _is_secret(then) and then["value"] == now["value"]:
        return True
    return (_is_secret(then) or now.get("from") == "stack") and _source(then) == _source(now)


def _is_secret(parameter: Mapping[str, Any]) -> bool:
    return "value" not in parameter


def _source(parameter: Mapping[str, Any]) -> Any:
    return "own" if parameter.get("from") in _OWN else parameter.get("from")


def parameters(then: Mapping[str, Any], today: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each parameter of two subjects with what it was then and is today, None where there is no such."""
    ours, theirs = then["parameters"], today["parameters"]
    return [
        {"name": name, "then": _shown(ours.get(name)), "today": _shown(theirs.get(name))}
        for name in sorted({*ours, *theirs})
    ]


def parameters_today(subject: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each parameter that a proposal would change, beside what CloudFormation shows of the stack as it is. Secrets it does not show."""
    ours, today = subject["parameters"], (subject["base"] or {}).get("parameters", {})
    told = [
        {"name": name, "then": _shown(ours.get(name)), "today": today.get(name)} for name in sorted({*ours, *today})
    ]
    secret = {name for name, each in ours.items() if "value" not in each}
    return [each for each in told if each["then"] != each["today"] and each["name"] not in secret]


def _shown(parameter: Mapping[str, Any] | None) -> str | None:
    """A secret is shown by the beginning of its digest: that it is another one can be seen."""
    if parameter is None:
        return None
    secret = f"secret {str(parameter['digest'])[:20]}…" if parameter.get("digest") else "secret, kept from the stack"
    told = str(parameter["value"]) if "value" in parameter else secret
    return f"{told} ({parameter['resolved']})" if "resolved" in parameter else told


def standing(deployments: Iterable[Deployment]) -> list[Deployment]:
    """Give what stands at a target, last, and before it what it replaced, as far as nobody went back from that.

    Where the last one deletes, nothing stands. A rollback to a deployment makes it stand again, and takes away what came after it.
    """
    known: dict[tuple[str, str], Deployment] = {}
    made: list[Deployment] = []
    for each in deployments:
        back_to = known.get((str(each.way.get("run")), each.stage)) if each.way and each.goes_back else None
        if back_to is None:
            known[each.run, each.stage] = each
            made.append(each)
        elif back_to in made:
            del made[made.index(back_to) + 1 :]
        else:
            made.append(back_to)
    return made
