"""What CloudFormation's own validation finds before it touches anything.

The reason that a stack or a change set gives then says no more than that DescribeEvents has it:
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeEvents.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.aws import retry
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from mypy_boto3_cloudformation import CloudFormationClient

    from stages.contract import Json

_POINTER = "DescribeEvents"


def explain(
    client: CloudFormationClient, reasons: Iterable[str], *, since: datetime | None = None, **where: str
) -> list[str]:
    """Give reasons with what validation found in place of those that only point to it. `where` names the stack or the change set.

    Where it may not be asked for, the reasons stay as they are.
    """
    given = list(reasons)
    if not any(_POINTER in each for each in given):
        return given
    found = told(_events(client, where), since)
    return [*found, *(each for each in given if not found or _POINTER not in each)]


def told(events: Iterable[Json], since: datetime | None = None) -> list[str]:
    """Put the errors of a validation into words, each once: the resource, which rule, and why. Pure."""
    lines = [
        f"{each.get('LogicalResourceId', 'the template')} ({each.get('ResourceType', 'the whole')}) "
        f"{each.get('ValidationName', 'VALIDATION')}: {each.get('ValidationStatusReason', 'no reason given')}{_at(each)}"
        for each in events
        if each.get("EventType") == "VALIDATION_ERROR"
        and each.get("ValidationFailureMode") != "WARN"
        and (since is None or each["Timestamp"] >= since)
    ]
    return list(dict.fromkeys(lines))


def _at(event: Json) -> str:
    path = event.get("ValidationPath") or ""
    return f" ({path})" if path and path != f"/Resources/{event.get('LogicalResourceId')}" else ""


def _events(client: CloudFormationClient, where: dict[str, str]) -> list[Json]:
    doing = "asking what CloudFormation's validation has found"
    arguments: Any = {**where, "Filters": {"FailedEvents": True}}
    try:
        with retry.explained(doing):
            events: list[Any] = list(
                retry.call(lambda: client.describe_events(**arguments), doing=doing)["OperationEvents"]
            )
    except retry.CallFailed as error:
        log(error.message, level="warning")
        return []
    return events
