from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stages.aws import cloudformation

START = datetime(2026, 1, 1, tzinfo=UTC)
STACK = "arn:aws:cloudformation:eu-central-1:111122223333:stack/demo/1"


def event(number: int, status: str, *, physical: str = "x", operation: str | None = "ours") -> dict[str, Any]:
    return {
        "EventId": str(number),
        "Timestamp": START + timedelta(seconds=number),
        "ResourceStatus": status,
        "PhysicalResourceId": physical,
        **({"ClientRequestToken": operation} if operation else {}),
    }


class Pages:
    """A client whose stack's events, newest first, come in pages of two."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.asked = 0

    def describe_stack_events(self, StackName: str, NextToken: str = "0") -> dict[str, Any]:  # noqa: N803 - the API's names
        assert StackName == STACK
        self.asked += 1
        newest, at = self.events[::-1], int(NextToken)
        more = {"NextToken": str(at + 2)} if at + 2 < len(newest) else {}
        return {"StackEvents": newest[at : at + 2], **more}


def follow(events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> tuple[Pages, cloudformation.Events]:
    monkeypatch.setattr(cloudformation, "EVENTS_EVERY_S", 0.0)
    pages = Pages(events)
    return pages, cloudformation.Events(pages, STACK, "ours", START)  # type: ignore[arg-type]


def test_events_of_our_operation_come_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(-2, "CREATE_COMPLETE"), event(-1, "CREATE_COMPLETE", physical=STACK, operation="theirs")]
    events += [event(number, "UPDATE_IN_PROGRESS") for number in range(1, 6)]
    pages, ours = follow(events, monkeypatch)
    assert [each["EventId"] for each in ours.new()] == ["1", "2", "3", "4", "5"]
    pages.events.append(event(6, "UPDATE_COMPLETE"))
    assert [each["EventId"] for each in ours.new()] == ["6"]


def test_only_the_pages_that_may_hold_something_new_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pages, ours = follow([event(-number, "CREATE_COMPLETE") for number in range(500, 0, -1)], monkeypatch)
    assert ours.new() == []
    assert pages.asked == 1


@pytest.mark.parametrize(
    ("status", "physical", "operation", "closes"),
    [
        ("UPDATE_COMPLETE", STACK, "ours", True),
        ("UPDATE_ROLLBACK_FAILED", STACK, "ours", True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", STACK, "ours", False),
        ("UPDATE_COMPLETE", "a-nested-stack", "ours", False),
        ("UPDATE_COMPLETE", STACK, "theirs", False),
        ("UPDATE_COMPLETE", STACK, None, False),
    ],
)
def test_what_closes_an_operation(
    monkeypatch: pytest.MonkeyPatch, status: str, physical: str, operation: str | None, *, closes: bool
) -> None:
    _, ours = follow([event(1, status, physical=physical, operation=operation)], monkeypatch)
    ours.new()
    assert (ours.closing() is not None) is closes


def test_a_failure_that_is_rolled_back_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that fails before anything of it is made says so itself, and then rolls back."""
    events = [event(1, "CREATE_FAILED", physical=STACK), event(2, "ROLLBACK_IN_PROGRESS", physical=STACK)]
    pages, ours = follow(events[:1], monkeypatch)
    ours.new()
    assert ours.closing() == events[0]  # as far as is known: who follows it looks at the stack as well
    pages.events = events
    ours.new()
    assert ours.closing() is None
    pages.events = [*events, event(3, "ROLLBACK_COMPLETE", physical=STACK)]
    ours.new()
    assert (ours.closing() or {})["ResourceStatus"] == "ROLLBACK_COMPLETE"


def test_a_failure_that_stays_is_an_end_though_somebody_rolls_it_back_later(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(1, "UPDATE_FAILED", physical=STACK)]
    events += [event(2, "UPDATE_ROLLBACK_IN_PROGRESS", physical=STACK, operation="theirs")]
    _, ours = follow(events, monkeypatch)
    ours.new()
    assert ours.closing() == events[0]


def test_what_somebody_does_in_the_middle_ends_our_operation_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels an update has another token: whoever waits for an end with ours waits for ever."""
    events = [event(1, "UPDATE_IN_PROGRESS", physical=STACK)]
    events += [event(2, "UPDATE_ROLLBACK_IN_PROGRESS", physical=STACK, operation="theirs")]
    events += [event(3, "UPDATE_ROLLBACK_COMPLETE", physical=STACK, operation="theirs")]
    events += [event(4, "UPDATE_IN_PROGRESS", physical=STACK, operation="another")]
    pages, ours = follow(events[:1], monkeypatch)
    assert [each["EventId"] for each in ours.new()] == ["1"]
    pages.events = events
    assert [each["EventId"] for each in ours.new()] == ["2", "3"]  # what begins after the end is no part of it
    assert ours.closing() == events[2]
    assert ours.new() == []


def test_an_event_seen_by_a_peek_is_still_new(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = follow([event(1, "UPDATE_IN_PROGRESS")], monkeypatch)
    assert ours.peek()
    assert len(ours.new()) == 1


@pytest.mark.parametrize(
    ("status", "reason", "empty"),
    [
        ("FAILED", "The submitted information didn't contain changes. Submit different information ...", True),
        ("FAILED", "No updates are to be performed.", True),
        ("FAILED", "Transform failed", False),
        ("FAILED", None, False),
        ("CREATE_COMPLETE", "", False),
    ],
)
def test_what_an_empty_change_set_is(status: str, reason: str | None, *, empty: bool) -> None:
    assert cloudformation.is_empty({"Status": status, "StatusReason": reason}) is empty


def test_events_are_not_asked_for_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of calls belongs to the whole account; the limit holds for pages too."""
    pages, ours = follow([event(number, "UPDATE_IN_PROGRESS") for number in range(1, 5)], monkeypatch)
    monkeypatch.setattr(cloudformation, "EVENTS_EVERY_S", 0.1)
    started = time.monotonic()
    ours.new()
    ours.new()
    assert pages.asked == 3
    assert time.monotonic() - started >= 0.2
