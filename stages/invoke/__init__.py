"""Call what was deployed, and compare the answers with what is expected."""

from __future__ import annotations

import difflib
import json
import time
from typing import TYPE_CHECKING, Any

from stages.aws.session import connect
from stages.contract import InvalidInput, Result, StageError
from stages.invoke import requests, standing
from stages.invoke.calls import call_endpoint, call_function
from stages.invoke.compare import differences
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_lambda import LambdaClient

    from stages.contract import Json, Problem, Request, Target
    from stages.invoke.requests import Call

__all__ = ["apply", "check"]


def check(request: Request, work: Path) -> Result:
    """Look for mistakes in the requests file."""
    return Result("succeeded", facts={"requests": len(_load(request, work))})


def apply(request: Request, work: Path) -> Result:
    """Make every call, one after another, and fail if an answer is not what was expected.

    What the functions run is looked at before the first call and after the last: the answers must be this deployment's.
    """
    if request.target is None or request.access is None:
        raise StageError("the stage has no environment", cls="fault")
    calls = _load(request, work)
    deployment = _deployment(work / request.inputs["deployment"] / "deployment.json")
    _refuse_other_target(request.target, deployment["target"])
    problems = list(_unknown(calls, deployment))
    if problems:
        raise InvalidInput(problems)
    timeout_s = max(call.timeout_s for call in calls)
    session = connect(request.target, request.access)
    standing.refuse_other(session.lambda_, deployment, "before the first call,")
    client: LambdaClient = session.client("lambda", read_timeout_s=timeout_s)
    outcomes = [_outcome(call, client, deployment) for call in calls]
    standing.refuse_other(session.lambda_, deployment, "after the last call,")
    failed = [outcome for outcome in outcomes if outcome["differences"]]
    if failed:
        raise StageError(_report(failed, len(calls)))
    return Result("succeeded", facts={"requests": [{k: o[k] for k in ("name", "time_s")} for o in outcomes]})


def _load(request: Request, work: Path) -> list[Call]:
    if request.source is None:
        raise StageError("the stage has no source", cls="fault")
    return requests.load(work / request.source, request.options["requests"])


def _deployment(path: Path) -> Json:
    try:
        document: Any = json.loads(path.read_bytes())
        if document["v"] != 1:
            raise ValueError(document["v"])  # noqa: TRY301 - answered below like every other flaw of the file
        functions = {
            name: {"name": str(each["name"]), "image": each["image"]} for name, each in document["functions"].items()
        }
        return {"target": dict(document["target"]), "outputs": dict(document["outputs"]), "functions": functions}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"deployment.json is not of format version 1: {error!r}", cls="mismatch") from error


def _refuse_other_target(target: Target, deployed: Json) -> None:
    wrong = [
        name for name in ("partition", "account", "region", "stack") if deployed.get(name) != getattr(target, name)
    ]
    if wrong:
        raise StageError(
            f"the deployment to call is of another target than the environment {target.environment}: "
            + ", ".join(f"its {name} is {deployed.get(name)}, not {getattr(target, name)}" for name in wrong),
            hint="Give the stage the environment of the `deploy` stage that it needs.",
        )


def _unknown(calls: list[Call], deployment: Json) -> Iterator[Problem]:
    """Calls of what the stack does not have."""
    for call in calls:
        kind, known = ("output", "outputs") if call.kind == "endpoint" else ("function", "functions")
        if call.of not in deployment[known]:
            close = difflib.get_close_matches(call.of, deployment[known], n=1)
            names = ", ".join(deployment[known]) or "none"
            hint = f"Did you mean {close[0]}?" if close else f"It has: {names}."
            yield requests.at(call, f"the stack has no {kind} {call.of!r}", hint)
        elif call.kind == "endpoint" and _url(call, deployment) is None:
            value = deployment["outputs"][call.of]["value"]
            yield requests.at(call, f"the output {call.of} is {value!r}, which is no URL")


def _url(call: Call, deployment: Json) -> str | None:
    output = deployment["outputs"][call.of]
    url = str(output.get("url") or output["value"])
    return url if url.startswith(("https://", "http://")) else None


def _outcome(call: Call, client: LambdaClient, deployment: Json) -> Json:
    started = time.monotonic()
    try:
        if call.kind == "endpoint":
            answer = call_endpoint(call, str(_url(call, deployment)))
        else:
            answer = call_function(client, call, deployment["functions"][call.of]["name"])
        wrong = differences(call, answer)
    except StageError as error:
        wrong = [error.message]
    time_s = round(time.monotonic() - started, 3)
    log(f"{'FAILED' if wrong else 'ok'}  {call.name}  {time_s:.3f} s", call=call.name, time_s=time_s, ok=not wrong)
    return {"name": call.name, "time_s": time_s, "differences": wrong, "where": call.place.where}


def _report(failed: list[Json], total: int) -> str:
    lines = [f"{len(failed)} of {total} requests were not answered as expected:"]
    for outcome in failed:
        lines.append(f"  {outcome['name']} ({outcome['where']})")
        lines += [f"    {difference}" for difference in outcome["differences"]]
    return "\n".join(lines)
