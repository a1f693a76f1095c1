"""Lambda, one call a function: what a deployed function is, and whether it is ready."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stages.aws import retry
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from mypy_boto3_lambda import LambdaClient

READY_WITHIN_S = 300.0
"""A function's first image is fetched and unpacked in seconds; minutes mean that something is stuck."""
FIRST_LOOK_S = 0.1
SLOWEST_LOOK_S = 2.0
NOT_YET = frozenset({"ResourceConflictException", "ResourceNotReadyException"})
"""Refusals of Invoke by a function that is still being made or updated: nothing was run."""
LIST_FOR = 10
"""For so many functions one page of ListFunctions, which has fifty of the account's, may be asked for."""
LIST_WINDOW_S = 2.0
"""How long a throttled ListFunctions is tried again: GetFunction has a rate of its own, and tells more."""


@dataclass(frozen=True)
class LiveFunction:
    """A function as it is now. `image` is what Lambda resolved the image's URI to: `repository@sha256:...`.

    `revision` is another one after every change of its code or configuration (RevisionId).
    """

    name: str
    arn: str
    state: str
    state_reason: str
    last_update: str
    last_update_reason: str
    image: str | None
    code_sha256: str | None
    revision: str | None = None

    @property
    def settled(self) -> bool:
        """Whether it has ended well or badly. An `Inactive` function is one that nobody called for weeks."""
        return self.state != "Pending" and self.last_update != "InProgress"

    @property
    def failure(self) -> str | None:
        """Why it is not usable, if it is not."""
        if self.state == "Failed":
            return f"state Failed: {self.state_reason}"
        if self.last_update == "Failed":
            return f"its last update failed: {self.last_update_reason}"
        return None

    @property
    def usable(self) -> bool:
        return self.settled and self.failure is None


@dataclass(frozen=True)
class Answer:
    """What an invocation gave. `error` is Lambda's word for a failing function (`Unhandled`), None if it did not fail."""

    payload: bytes
    error: str | None


def get_function(client: LambdaClient, name: str) -> LiveFunction | None:
    """The function of a name or ARN, or None."""
    doing = f"reading the function {name}"
    with retry.explained(doing):
        try:
            found: Any = retry.call(lambda: client.get_function(FunctionName=name), doing=doing)
        except ClientError as error:
            if retry.code(error) == "ResourceNotFoundException":
                return None
            raise
    return _live(found["Configuration"], found.get("Code", {}))


def _live(configuration: Any, code: Any) -> LiveFunction:
    return LiveFunction(
        name=configuration["FunctionName"],
        arn=configuration["FunctionArn"],
        state=configuration.get("State", "Active"),
        state_reason=configuration.get("StateReason", ""),
        last_update=configuration.get("LastUpdateStatus", "Successful"),
        last_update_reason=configuration.get("LastUpdateStatusReason", ""),
        image=code.get("ResolvedImageUri"),
        code_sha256=configuration.get("CodeSha256"),
        revision=configuration.get("RevisionId"),
    )


def revisions(client: LambdaClient, names: Collection[str]) -> dict[str, str] | None:
    """The revisions of functions by name, as far as some pages of the account's functions have them; None if we may not list them.

    It takes a tenth of the calls that reading each would: of few functions nothing is asked. ListFunctions tells neither state nor
    image: https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
    """
    found: dict[str, str] = {}
    where: Any = {}
    wanted = frozenset(names)
    doing = "listing the revisions of the functions"
    with retry.explained(doing):
        for _ in range(len(wanted) // LIST_FOR):
            try:
                page: Any = retry.call(
                    partial(client.list_functions, **where), doing=doing, window_s=LIST_WINDOW_S, tell=_silent
                )
            except ClientError as error:
                if retry.meaning(error) == "throttled":
                    return found
                if retry.meaning(error) == "denied":
                    return None
                raise
            told = ((each["FunctionName"], each.get("RevisionId")) for each in page["Functions"])
            found |= {name: revision for name, revision in told if revision and name in wanted}
            if found.keys() == wanted or not page.get("NextMarker"):
                break
            where = {"Marker": page["NextMarker"]}
    return found


def _silent(_: str) -> None:
    """Nothing is lost if it is not listed."""


def wait_until_ready(client: LambdaClient, name: str, logical_id: str) -> LiveFunction:
    """Look at a function until it is active and its last update successful. Raises StageError if it will not be."""
    until = time.monotonic() + READY_WITHIN_S
    for delay_s in retry.growing(FIRST_LOOK_S, SLOWEST_LOOK_S):
        found = get_function(client, name)
        if found is None:
            raise StageError(f"the function {logical_id} ({name}) does not exist, though the stack says it does")
        if found.failure:
            raise StageError(f"the function {logical_id} ({name}) is not usable: {found.failure}")
        if found.settled:
            return found
        if time.monotonic() > until:
            raise StageError(
                f"the function {logical_id} ({name}) was still not ready after {READY_WITHIN_S:.0f} s: "
                f"state {found.state}, last update {found.last_update}",
                cls="retryable",
            )
        time.sleep(delay_s)
    raise AssertionError  # delays never end


def invoke(client: LambdaClient, name: str, payload: bytes, *, window_s: float) -> Answer:
    """Call a function once, and wait for its answer.

    It is asked again, for `window_s` seconds, only where Lambda refused before it ran anything: throttled, or not ready.
    Raises botocore's errors.
    """
    until = time.monotonic() + window_s
    for delay_s in retry.growing(FIRST_LOOK_S, SLOWEST_LOOK_S):
        try:
            said = retry.call(
                lambda: client.invoke(FunctionName=name, Payload=payload),
                doing=f"calling the function {name}",
                repeatable=False,
                window_s=window_s,
            )
        except ClientError as error:
            if retry.code(error) not in NOT_YET or time.monotonic() > until:
                raise
            time.sleep(delay_s)
            continue
        return Answer(said["Payload"].read(), said.get("FunctionError"))
    raise AssertionError  # delays never end
