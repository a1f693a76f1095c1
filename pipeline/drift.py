"""Whether a stack is still what the record says was deployed there: AWS is asked by a program of `stages.deploy`, and what it
found is compared here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline import questions
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pipeline.credentials import Lender
    from stages.contract import Access, Target

ASKED = (
    "the stack's template, as written and as processed",
    "its parameters, tags, service role and topics",
    "the image that each function runs",
    "who began the stack's last operation",
)
"""What is compared of a stack in any case."""


def ask(target: Target, access: Access, lender: Lender | None = None) -> dict[str, Any]:
    """Have AWS asked what runs in the target's stack, as `stages.deploy.found` tells it. Raises StageFailed.

    `lender` lends the credentials for it; without one they are found where AWS's tools look.
    """
    found: dict[str, Any] = questions.ask("running", target, access, lender, LIMITS.drift_ask_s)[0]
    return found


def compare(
    current: dict[str, Any] | None, proposal: dict[str, Any] | None, found: dict[str, Any], tokens: frozenset[str]
) -> dict[str, Any]:
    """Hold what was found against the record. Pure.

    `current` is the deployment that stands there by `environments.told`, `proposal` what was approved of it, and `tokens` are those
    of Towpath's own operations.
    `differs` lists what is not as recorded, each with `what`, `recorded` and `found`; `not_asked` what nobody looked at, and why.
    """
    stack = found["stack"]
    not_asked = list(found["not_asked"])
    told: dict[str, Any] = {
        "asked": list(ASKED),
        "not_asked": not_asked,
        "last": found.get("last"),
        "status": found.get("status"),
    }
    if stack is None or current is None or proposal is None:
        asked = "whether there is a stack"
        here = None if stack is None else stack["stack_id"]
        last = found.get("last") or {}
        if current is None and last.get("token") in tokens:
            asked += f"; one is, as a deployment that failed has left it: {found.get('status')}"
            here = None
        recorded = current["release"] if current else None
        differs = [_differ("the stack", recorded, here)] if (here is None) != (current is None) else []
        return {**told, "asked": [asked], "differs": differs}
    if found["resources"] is not None:
        told["asked"].append("what CloudFormation's drift detection finds in the resources")
    secret = sorted(name for name, each in proposal["parameters"].items() if "digest" in each)
    if secret:
        not_asked.append({"what": f"the value of {', '.join(secret)}", "why": "it is secret, and nobody is shown it"})
    archived = sorted(name for name, each in stack["functions"].items() if "code_sha256" in each)
    if archived:
        text = "they are no images, and the record does not hold the digest of such code"
        not_asked.append({"what": f"the code of {', '.join(archived)}", "why": text})
    differs = [
        *_templates(proposal["template"], stack["template"]),
        *_values("parameter", _shown(proposal), {k: v for k, v in stack["parameters"].items() if k not in secret}),
        *_values("tag", proposal["execution"]["tags"], stack["tags"]),
        *_values("the stack's", _options(proposal["execution"]), _options(stack, proposal["execution"])),
        *_images(current["functions"], stack["functions"]),
        *_operation(current, proposal, found["last"], tokens),
        *_resources(found["resources"] or []),
    ]
    return {**told, "differs": differs}


def _differ(what: str, recorded: Any, found: Any) -> dict[str, Any]:
    return {"what": what, "recorded": recorded, "found": found}


def _templates(recorded: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _differ(f"the {stage} template", recorded[stage], found[stage])
        for stage in ("original", "processed")
        if recorded.get(stage) != found.get(stage)
    ]


def _shown(proposal: dict[str, Any]) -> dict[str, Any]:
    return {name: each["value"] for name, each in proposal["parameters"].items() if "digest" not in each}


def _values(what: str, recorded: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _differ(f"{what} {name}", recorded.get(name), found.get(name))
        for name in sorted({*recorded, *found})
        if _text(recorded.get(name)) != _text(found.get(name))
    ]


_OPTIONS = {"service_role": "service role", "notification_arns": "topics"}
"""What else a stack has, by its name in a proposal and in words."""


def _options(of: dict[str, Any], said: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give these, as far as the proposal has `said` anything of them: an older one has not."""
    return {what: of[name] or None for name, what in _OPTIONS.items() if name in (said or of)}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _images(recorded: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    differ = []
    for name in sorted({*recorded, *found}):
        ours, theirs = recorded.get(name), found.get(name)
        now = "no function" if theirs is None or theirs.get("missing") else theirs.get("image")
        then = ours.get("image") if ours else "no function"
        if now != then:
            differ.append(_differ(f"the image of {name}", then, now or "code that is no image"))
    return differ


def _operation(
    current: dict[str, Any], proposal: dict[str, Any], last: dict[str, Any] | None, tokens: frozenset[str]
) -> list[dict[str, Any]]:
    """Tell of a last operation that no deployment in the ledger began: its token is the one that each gives to its change set."""
    if last is None or last["token"] in tokens:
        return []
    if proposal.get("nothing_to_do") and datetime.fromisoformat(last["at"]) < datetime.fromisoformat(current["at"]):
        return []  # what Towpath found there was what it was to deploy
    begun = f"an operation that {'has the token ' + last['token'] if last['token'] else 'has no token'}"
    return [_differ("the stack's last operation", "one of Towpath's", f"{last['status']} at {last['at']}, {begun}")]


def _resources(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        _differ(
            f"the resource {each['resource']} ({each['type']})",
            "as its stack says",
            f"{each['status']}: {', '.join(each['properties'])}" if each["properties"] else each["status"],
        )
        for each in found
    ]
