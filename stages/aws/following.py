"""Follow an operation on a stack, and on those nested in it, until it ends: every event is shown once, as it comes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.aws import cloudformation, retry
from stages.aws.cloudformation import Events
from stages.contract import COMMAND, StageError
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from mypy_boto3_cloudformation import CloudFormationClient

    from stages.contract import Json, Target

EVENTS_AFTER_S = 0.3
"""A stack that is done sooner is asked for its events once, not twice with a second between."""
QUICK_S = 3.0
"""For which the stack itself is looked at as well, more often than its events may be: many updates take no longer."""
QUIET_S = 60.0
"""After which, without anything new, what is still under way is told: a deployment that hangs is not silent."""
NESTED_AT_ONCE = 4
"""Nested stacks asked for their events each time that the root is, which is once a second: an application may nest dozens, and the
account's rate of calls belongs to everything in it."""
SOON_S = 0.5
"""What is due that soon is waited for, rather than left for the next time."""
TOKEN_WITHIN_S = 15.0
"""How long an operation may take to show in the stack's events."""
WINDOW_S = 300.0
"""How long a network may be away before we stop to follow: nothing is lost by waiting, as CloudFormation goes on alone."""
_STACK = "AWS::CloudFormation::Stack"


@dataclass
class _Nested:
    """A nested stack. `status` is what the stack around it said of it last, `behind` that there may be more to read of it."""

    path: str
    events: Events
    status: str = ""
    behind: bool = False
    readable: bool = True


@dataclass
class Operation:
    """What happens to a stack since an operation with our token began. Each event has the full `path` of its resource.

    `all` are the events so far, in the order in which they were given.
    """

    root: Events
    all: list[Json] = field(default_factory=list)
    _nested: dict[str, _Nested] = field(default_factory=dict)

    @property
    def stack_id(self) -> str:
        return self.root.stack_id

    def reconnect(self, client: CloudFormationClient) -> None:
        """Ask through another client from now on."""
        for each in (self.root, *(nested.events for nested in self._nested.values())):
            each.client = client

    def new(self) -> list[Json]:
        """The events since the last call, also of the nested stacks whose turn it is. Waits until the root may be asked."""
        found = self._placed("", self.root.new())
        asked: set[str] = set()
        for _ in range(NESTED_AT_ONCE):  # one may tell of another, which is asked at once
            left = [each for each in self._behind() if each.path not in asked]
            turn = min(left, key=lambda each: each.events.asked_at, default=None)
            if turn is None or turn.events.due_in_s() > SOON_S:
                break
            asked.add(turn.path)
            found += self._read(turn)
        self.all += (fresh := sorted(found, key=lambda event: event["Timestamp"]))
        return fresh

    def rest(self) -> list[Json]:
        """What was not read yet of nested stacks, once all is over."""
        found = [event for each in self._behind() for event in self._read(each)]
        self.all += (fresh := sorted(found, key=lambda event: event["Timestamp"]))
        return fresh

    def _behind(self) -> list[_Nested]:
        return [each for each in self._nested.values() if each.behind and each.readable]

    def _read(self, nested: _Nested) -> list[Json]:
        nested.behind = nested.status.endswith("_IN_PROGRESS")
        try:
            return self._placed(nested.path, nested.events.new())
        except StageError as error:
            if isinstance(error, retry.CallFailed) and error.meaning not in ("denied", "other"):
                raise
            nested.readable = False  # the stack around it tells what becomes of it all the same
            log(f"the events of the nested stack {nested.path} cannot be read: {error.message}", level="warning")
            return []

    def _placed(self, path: str, events: list[Json]) -> list[Json]:
        """Give events the full paths of their resources, and note the nested stacks that they tell of."""
        for event in events:
            name, physical = event["LogicalResourceId"], event.get("PhysicalResourceId")
            of_itself = physical == event["StackId"]
            event["path"] = (path or name) if of_itself else f"{path}/{name}" if path else name
            if physical and not of_itself and event["ResourceType"] == _STACK:
                self._tells_of(physical, event)
        return events

    def _tells_of(self, stack_id: str, event: Json) -> None:
        if stack_id not in self._nested:
            since = self.root.all[0]["Timestamp"]
            events = Events(self.root.client, stack_id, None, since, window_s=self.root.window_s)
            self._nested[stack_id] = _Nested(event["path"], events)
        self._nested[stack_id].status, self._nested[stack_id].behind = event["ResourceStatus"], True


def operation(client: CloudFormationClient, stack_id: str, token: str, since: datetime) -> Operation:
    """The operation on a stack that carries a token, and is younger than `since` by CloudFormation's clock."""
    return Operation(Events(client, stack_id, token, since, window_s=WINDOW_S))


def has_begun(under_way: Operation, within_s: float) -> bool:
    """Whether the operation shows in the stack's events, now or within that time. Raises Gone, StageError."""
    until = time.monotonic() + within_s
    while not under_way.root.peek():
        if time.monotonic() >= until:
            return False
    return True


def begin(under_way: Operation, call: Callable[[], object]) -> None:
    """Make a call that begins the operation; where its answer is lost, the stack's events tell. Raises CallFailed, Gone, StageError."""
    try:
        call()
    except retry.CallFailed as error:
        decided = error.meaning not in ("unavailable", "other")
        if decided or not has_begun(under_way, TOKEN_WITHIN_S):
            raise
        log("an answer was lost, and it was begun; following it")


def follow(client: CloudFormationClient, under_way: Operation) -> Json:
    """Show the events of an operation until it has ended, and give the one that ended it. Raises Gone, StageError."""
    started = said_at = time.monotonic()
    for delay_s in retry.growing(cloudformation.FIRST_LOOK_S, cloudformation.SLOWEST_LOOK_S):
        passed_s = time.monotonic() - started
        if (passed_s < QUICK_S and _is_at_rest(client, under_way.stack_id)) or (
            passed_s > EVENTS_AFTER_S and under_way.root.due_in_s() == 0
        ):
            fresh = under_way.new()
            for event in fresh:
                show(event)
            said_at = time.monotonic() if fresh else said_at
            if time.monotonic() - said_at > QUIET_S:
                log(
                    f"nothing new for {time.monotonic() - said_at:.0f} s; under way: {', '.join(unfinished(under_way.all))}"
                )
                said_at = time.monotonic()
            closing = under_way.root.closing()
            if closing and not _goes_on(client, under_way.stack_id, closing):
                for event in under_way.rest():
                    show(event)
                return closing
        time.sleep(min(delay_s, under_way.root.due_in_s() or delay_s))
    raise AssertionError  # delays never end


def unfinished(events: Sequence[Json]) -> list[str]:
    """The resources that something is being done to, each with what and since when, by the last event of each. Pure."""
    last = {event["path"]: event for event in events}
    return [
        f"{path} ({event['ResourceStatus']} since {event['Timestamp']:%H:%M:%S} UTC)"
        for path, event in last.items()
        if event["ResourceStatus"].endswith("_IN_PROGRESS")
    ]


def _goes_on(client: CloudFormationClient, stack_id: str, closing: Json) -> bool:
    """Whether a stack that says it failed is about to roll back."""
    return closing["ResourceStatus"] in cloudformation.FAILED_FIRST and not _is_at_rest(client, stack_id)


def _is_at_rest(client: CloudFormationClient, stack_id: str) -> bool:
    stack = cloudformation.describe_stack(client, stack_id)
    return stack is None or not stack["StackStatus"].endswith("_IN_PROGRESS")


def show(event: Json) -> None:
    """Put an event into the stage's log."""
    reason = event.get("ResourceStatusReason") or None
    text = f"{event['ResourceStatus']}  {event['path']}  {event['ResourceType']}"
    level = "error" if event["ResourceStatus"].endswith("FAILED") else "info"
    at = event["Timestamp"].isoformat()
    log(f"{text}  {reason}" if reason else text, resource=event["path"], at=at, level=level)


@contextmanager
def going_on_outside(stack: str) -> Iterator[None]:
    """Say of a call that failed that nothing is decided thereby: CloudFormation goes on, and so may the next attempt."""
    try:
        yield
    except retry.CallFailed as error:
        message = f"{error.message}\n  The stack {stack} was not followed to its end: what CloudFormation has begun goes on there."
        hint = error.hint or ""
        hint += "" if "towpath resume" in hint else f"{' Then f' if hint else 'F'}ollow it on with `towpath resume`."
        raise retry.CallFailed(message, hint=hint, cls="retryable", meaning=error.meaning) from error


def reasons(closing: Json, events: Sequence[Json]) -> list[str]:
    """Why an operation failed, in words: the first resource that did so by itself on top, the others below it. Pure.

    `events` are those of the stack and of the stacks nested in it, with their paths, in the order of their times.
    """
    own = [event for event in events if event["StackId"] == closing["StackId"] and _is_of_itself(event)]
    failed = (
        [event for event in events if _failed_by_itself(event) and not _is_for_another(event)]
        or [event for event in events if _failed_by_itself(event)]
        or [event for event in own if event["ResourceStatus"].endswith("_FAILED")]
        or [event for event in own if event.get("ResourceStatusReason")]
        or [closing]
    )
    return [
        f"{event['path']} ({event['ResourceType']}) {event['ResourceStatus']}: "
        f"{event.get('ResourceStatusReason') or 'no reason given'}"
        for event in failed
    ]


def _is_of_itself(event: Json) -> bool:
    """Whether a stack says it of itself, and not of one of its resources."""
    return bool(event.get("PhysicalResourceId") == event["StackId"])


def _failed_by_itself(event: Json) -> bool:
    return event["ResourceStatus"].endswith("_FAILED") and not _is_of_itself(event) and not _is_cancelled(event)


def _is_cancelled(event: Json) -> bool:
    """Whether a resource failed because another one did."""
    return "cancelled" in (event.get("ResourceStatusReason") or "").lower()


def _is_for_another(event: Json) -> bool:
    """Whether a nested stack failed because a resource in it did, which its own events tell."""
    return (event.get("ResourceStatusReason") or "").startswith("Embedded stack ")


def anew(target: Target) -> str:
    """The command that begins anew, with the source as it is then."""
    return "towpath run" if target.environment != COMMAND else "towpath deploy"


def recovery(target: Target) -> str:
    """The command that frees the stack of a target when it is stuck."""
    if target.environment != COMMAND:
        return f"towpath recover {target.environment}"
    where = "--aws embedded " if target.embedded else ""
    return f"towpath recover --stack-name {target.stack} {where}--region {target.region}"
