"""CloudFormation, one call a function: tried again where that is safe, and None where there is nothing.

Answers are botocore's own dictionaries; `stages.deploy` turns them into what it decides upon.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stages.aws import retry
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.literals import ChangeSetTypeType, TemplateStageType

    from stages.contract import Json

EVENTS_EVERY_S = 1.0
"""DescribeStackEvents is asked at most this often: an account's rate is shared by everything in it."""
FIRST_LOOK_S = 0.05
SLOWEST_LOOK_S = 1.0
NOTHING_TO_CHANGE = re.compile(r"didn't contain changes|No updates are to be performed", re.IGNORECASE)


@dataclass(frozen=True)
class ChangeSetSpec:
    """What a change set is made of. `name` doubles as client token, so that a lost answer makes no second one.

    `template` is the template's text, or its https:// address in S3. `kept` names parameters that keep the value which the
    stack has. `delete_on_failure`: a stack that cannot be made is deleted. `nested`: with a change set for each nested stack.
    """

    stack: str
    name: str
    type: ChangeSetTypeType
    description: str
    template: str
    parameters: dict[str, str]
    capabilities: list[str]
    tags: dict[str, str]
    kept: frozenset[str] = frozenset()
    role: str | None = None
    notifications: list[str] = field(default_factory=list)
    delete_on_failure: bool = False
    nested: bool = False

    def arguments(self) -> Json:
        """CreateChangeSet's."""
        at = "TemplateURL" if self.template.startswith("https://") else "TemplateBody"
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()]
        return {
            "StackName": self.stack,
            "ChangeSetName": self.name,
            "ChangeSetType": self.type,
            "ClientToken": self.name,
            "Description": self.description,
            at: self.template,
            "Parameters": given + [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(self.kept)],
            "Capabilities": self.capabilities,  # the service judges them
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            "NotificationARNs": self.notifications,  # an empty list takes away what the stack has
            **({"RoleARN": self.role} if self.role else {}),
            **({"OnStackFailure": "DELETE"} if self.delete_on_failure else {}),
            **({"IncludeNestedStacks": True} if self.nested else {}),
        }


def describe_stack(client: CloudFormationClient, stack: str) -> Json | None:
    """The stack of a name or ARN, or None."""
    with retry.explained(f"looking at the stack {stack}"):
        try:
            found = retry.call(lambda: client.describe_stacks(StackName=stack), doing=f"looking at the stack {stack}")
        except ClientError as error:
            if _is_absent(error):
                return None
            raise
    stacks: list[Any] = list(found["Stacks"])
    return stacks[0] if stacks else None


def create_change_set(client: CloudFormationClient, spec: ChangeSetSpec) -> str:
    """Make a change set and return its ARN."""
    doing = f"making a change set for the stack {spec.stack}"
    arguments: Any = spec.arguments()

    def create() -> str:
        return client.create_change_set(**arguments)["Id"]

    with retry.explained(doing):
        try:
            return retry.call(create, doing=doing)
        except ClientError as error:
            if retry.code(error) == "InsufficientCapabilitiesException":
                raise insufficient_capabilities(error, spec.capabilities) from error
            if retry.code(error) != "AlreadyExistsException":
                raise
    made = describe_change_set(client, spec.name, spec.stack)  # an answer was lost, and this is what it told of
    if made is None:
        raise StageError(f"the change set {spec.name} of {spec.stack} exists and cannot be found", cls="retryable")
    return str(made["ChangeSetId"])


def insufficient_capabilities(error: ClientError, stated: Iterable[str] = ()) -> StageError:
    """CloudFormation's own refusal, for what the checks before it did not foresee."""
    wanted = re.findall(r"CAPABILITY_\w+", retry.text(error))
    line = f"capabilities: [{', '.join(dict.fromkeys([*stated, *wanted]))}]"
    return StageError(
        f"CloudFormation refuses the template without capabilities: {retry.text(error)}",
        hint=f"Add to the environment: `{line}`" if wanted else None,
    )


def describe_change_set(client: CloudFormationClient, change_set: str, stack: str | None = None) -> Json | None:
    """A change set by ARN, or by name and stack, with all its pages of changes; None if there is none."""
    where: Any = {"ChangeSetName": change_set} | ({"StackName": stack} if stack else {})
    doing = f"reading the change set {change_set}"
    with retry.explained(doing):
        try:
            found: Any = retry.call(lambda: client.describe_change_set(**where), doing=doing)
            while found.get("NextToken"):
                next_page = partial(client.describe_change_set, **where, NextToken=found["NextToken"])
                more: Any = retry.call(next_page, doing=doing)
                found = {**found, "Changes": found["Changes"] + more["Changes"], "NextToken": more.get("NextToken")}
        except ClientError as error:
            if _is_absent(error):
                return None
            raise
    return dict(found)


def wait_for_change_set(client: CloudFormationClient, arn: str) -> Json:
    """Look at a change set until CloudFormation has made it, or has given up (`Status` FAILED)."""
    for delay_s in retry.growing(FIRST_LOOK_S, SLOWEST_LOOK_S):
        found = describe_change_set(client, arn)
        if found is None:
            raise StageError(f"the change set {arn} was deleted while it was being made", cls="retryable")
        if not str(found["Status"]).startswith("CREATE_") or found["Status"] == "CREATE_COMPLETE":
            return found
        time.sleep(delay_s)
    raise AssertionError  # delays never end


def is_empty(change_set: Json) -> bool:
    """Whether CloudFormation gave up because there is nothing to change."""
    return change_set["Status"] == "FAILED" and bool(NOTHING_TO_CHANGE.search(change_set.get("StatusReason") or ""))


def delete_change_set(client: CloudFormationClient, arn: str) -> None:
    """Delete a change set; one that is gone is fine."""
    doing = f"deleting the change set {arn}"
    with retry.explained(doing):
        try:
            retry.call(lambda: client.delete_change_set(ChangeSetName=arn), doing=doing)
        except ClientError as error:
            if not _is_absent(error):
                raise


def withdraw_change_set(client: CloudFormationClient, arn: str, stack_id: str) -> None:
    """Delete a change set, and its stack if that holds nothing and no other change set is for it."""
    delete_change_set(client, arn)
    stack = describe_stack(client, stack_id)
    if stack is None or stack["StackStatus"] != "REVIEW_IN_PROGRESS":
        return
    doing = f"deleting the stack {stack['StackName']}, which holds nothing"
    with retry.explained(doing):
        others: Any = retry.call(lambda: client.list_change_sets(StackName=stack_id), doing=doing)
        if not others["Summaries"]:
            retry.call(lambda: client.delete_stack(StackName=stack_id), doing=doing)


def template(
    client: CloudFormationClient, stage: TemplateStageType, *, change_set: str | None = None, stack: str | None = None
) -> str | Json | None:
    """The template of a change set (by ARN) or of a stack, as written or as processed; None if there is none."""
    where: Any = {"ChangeSetName": change_set} if change_set else {"StackName": stack}
    doing = f"reading the {stage.lower()} template of {change_set or stack}"
    with retry.explained(doing):
        try:
            found = retry.call(lambda: client.get_template(**where, TemplateStage=stage), doing=doing)
        except ClientError as error:
            if _is_absent(error) or retry.code(error) == "ValidationError":  # never processed, or failed before
                return None
            raise
    body: Any = found.get("TemplateBody")  # stubs say dict; it is text for a template written in YAML
    return body if body is None or isinstance(body, str) else dict(body)


def execute_change_set(
    client: CloudFormationClient,
    arn: str,
    token: str,
    *,
    disable_rollback: bool = False,
    retain_except_on_create: bool = False,
) -> bool:
    """Execute a change set; False if CloudFormation says that its state does not allow that (any more).

    Raises StageError, `blocked` if somebody else is changing the stack.
    """
    doing = f"executing the change set {arn}"
    how: Any = {"ChangeSetName": arn, "ClientRequestToken": token}
    how |= {"DisableRollback": True} if disable_rollback else {}
    how |= {"RetainExceptOnCreate": True} if retain_except_on_create else {}
    with retry.explained(doing):
        try:
            retry.call(lambda: client.execute_change_set(**how), doing=doing)
        except ClientError as error:
            if retry.code(error) in ("InvalidChangeSetStatus", "TokenAlreadyExistsException") or _is_absent(error):
                return False
            if retry.code(error) == "ValidationError" and "_IN_PROGRESS state" in retry.text(error):
                raise StageError(
                    f"somebody else is changing the stack: {retry.text(error)}",
                    hint="Nothing was done. Wait until it is over, then `towpath resume`: it proposes anew.",
                    cls="blocked",
                ) from error
            raise
    return True


def continue_rollback(client: CloudFormationClient, stack_id: str, token: str, skip: list[str]) -> None:
    """Go on with the rollback of an update, `skip` being left as they are. Raises StageError.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ContinueUpdateRollback.html
    """
    doing = f"continuing the rollback of the stack {stack_id}"
    more: Any = {"ResourcesToSkip": skip} if skip else {}
    _begin(lambda: client.continue_update_rollback(StackName=stack_id, ClientRequestToken=token, **more), doing)


def rollback(client: CloudFormationClient, stack_id: str, token: str) -> None:
    """Roll back an update that failed and was left as it was. Raises StageError."""
    doing = f"rolling back the stack {stack_id}"
    _begin(lambda: client.rollback_stack(StackName=stack_id, ClientRequestToken=token), doing)


def delete(client: CloudFormationClient, stack_id: str, token: str, retain: list[str]) -> None:
    """Delete a stack; `retain` are resources that a deletion failed at, and that stay where they are. Raises StageError."""
    doing = f"deleting the stack {stack_id}"
    more: Any = {"RetainResources": retain} if retain else {}
    _begin(lambda: client.delete_stack(StackName=stack_id, ClientRequestToken=token, **more), doing)


def _begin(call: Callable[[], object], doing: str) -> None:
    """Begin an operation that carries a token: one that was begun already, as an answer was lost, is fine."""
    with retry.explained(doing):
        try:
            retry.call(call, doing=doing)
        except ClientError as error:
            if retry.code(error) != "TokenAlreadyExistsException":
                raise


class Gone(StageError):
    """The stack is not there any more."""


FAILED_FIRST = ("CREATE_FAILED", "UPDATE_FAILED")
"""States in which a stack stays if nothing is to roll back; else it goes through them, where it fails before anything was made."""


def _rolls_back(failed: Json, after: Json) -> bool:
    """Whether the next event of a stack that failed is its own rollback, and not one that somebody asks for later."""
    same = failed.get("ClientRequestToken") == after.get("ClientRequestToken")
    return same and str(after["ResourceStatus"]).endswith("ROLLBACK_IN_PROGRESS")


@dataclass
class Events:
    """The events of one operation on a stack, each given once, oldest first. They are younger than `since`.

    The operation begins with the first event that has its token, and ends with the stack's own next one that is not in
    progress: what somebody does in between, such as to cancel it, has another token and is part of it. Without a token all
    events are given. The service is asked at most every `EVENTS_EVERY_S`; `due_in_s` says how long that is from now.
    """

    client: CloudFormationClient
    stack_id: str
    token: str | None
    since: datetime
    window_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    all: list[Json] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _waiting: list[Json] = field(default_factory=list)
    overtaken: bool = False
    """Whether something else was begun on the stack after the operation had ended."""
    asked_at: float = float("-inf")

    def due_in_s(self) -> float:
        return max(0.0, self.asked_at + EVENTS_EVERY_S - self.clock())

    def new(self) -> list[Json]:
        """The events since the last call. Raises Gone, StageError."""
        self.peek()
        fresh, self._waiting = self._waiting, []
        return fresh

    def peek(self) -> bool:
        """Whether there is any event of the operation yet; `new` gives what was found. Raises Gone, StageError."""
        fresh = self._of_operation(self._fetch())
        self._seen.update(event["EventId"] for event in fresh)
        self._waiting += fresh
        self.all += fresh
        return bool(self.all)

    def closing(self) -> Json | None:
        """The event that ended the operation: the stack's own, in a state that is not in progress."""
        end = self._end(self.all)
        return self.all[end - 1] if end else None

    def _end(self, events: list[Json]) -> int | None:
        """How many events there are up to the one that ends the operation. A failure that a rollback of ours follows is no end."""
        own = [at for at, event in enumerate(events) if event.get("PhysicalResourceId") == self.stack_id]
        for at, after in zip(own, [*own, None][1:], strict=True):
            status = events[at]["ResourceStatus"]
            if status.endswith("_IN_PROGRESS") or (
                status in FAILED_FIRST and after is not None and _rolls_back(events[at], events[after])
            ):
                continue
            return at + 1
        return None

    def _of_operation(self, fresh: list[Json]) -> list[Json]:
        if self.token is None:
            return fresh
        if not self.all:
            tokens = [event.get("ClientRequestToken") for event in fresh]
            fresh = fresh[tokens.index(self.token) :] if self.token in tokens else []
        end = self._end([*self.all, *fresh])
        if end is None:
            return fresh
        ours = max(0, end - len(self.all))
        self.overtaken |= any(event.get("PhysicalResourceId") == self.stack_id for event in fresh[ours:])
        return fresh[:ours]

    def _fetch(self) -> list[Json]:
        """All events that were not given yet, oldest first, whosever they are."""
        fresh: list[Json] = []
        token = None
        while True:
            page = self._page(token)
            known = [self._is_known(event) for event in page["StackEvents"]]
            fresh += [event for event, old in zip(page["StackEvents"], known, strict=True) if not old]
            token = page.get("NextToken")
            if any(known) or not token:
                return fresh[::-1]

    def _is_known(self, event: Json) -> bool:
        return event["EventId"] in self._seen or event["Timestamp"] < self.since

    def _page(self, token: str | None) -> Any:
        time.sleep(self.due_in_s())
        self.asked_at = self.clock()
        doing = f"reading the events of the stack {self.stack_id}"
        where: Any = {"StackName": self.stack_id} | ({"NextToken": token} if token else {})
        with retry.explained(doing):
            try:
                return retry.call(
                    lambda: self.client.describe_stack_events(**where), doing=doing, window_s=self.window_s
                )
            except ClientError as error:
                if _is_absent(error):
                    raise Gone(f"the stack {self.stack_id} is not there any more") from error
                raise


def latest_event(client: CloudFormationClient, stack: str) -> Json | None:
    """The newest event of a stack. Raises StageError."""
    doing = f"reading the events of the stack {stack}"
    with retry.explained(doing):
        page = retry.call(lambda: client.describe_stack_events(StackName=stack), doing=doing)
    events: list[Any] = list(page["StackEvents"])
    return events[0] if events else None


def begun(client: CloudFormationClient, stack_id: str) -> Json | None:
    """The event with which what is being done to a stack began, as far as it is among its newest. Raises StageError."""
    doing = f"reading the events of the stack {stack_id}"
    with retry.explained(doing):
        page: Any = retry.call(lambda: client.describe_stack_events(StackName=stack_id), doing=doing)
    found: Json | None = None
    for event in page["StackEvents"]:  # the newest first
        if event.get("PhysicalResourceId") == stack_id:
            if not _is_in_progress(event):
                break
            found = event
    return found


def _is_in_progress(event: Json) -> bool:
    return bool(event["ResourceStatus"].endswith("_IN_PROGRESS"))


def resources(client: CloudFormationClient, stack: str) -> dict[str, Json]:
    """The resources of a stack by logical id."""
    doing = f"listing the resources of the stack {stack}"
    found: dict[str, Json] = {}
    token = None
    with retry.explained(doing):
        while True:
            where: Any = {"StackName": stack} | ({"NextToken": token} if token else {})
            page: Any = retry.call(partial(client.list_stack_resources, **where), doing=doing)
            found.update({each["LogicalResourceId"]: each for each in page["StackResourceSummaries"]})
            token = page.get("NextToken")
            if not token:
                return found


def _is_absent(error: ClientError) -> bool:
    name = retry.code(error)
    return name == "ChangeSetNotFound" or (name == "ValidationError" and "does not exist" in retry.text(error))
