from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stages.aws import cloudformation, following
from stages.contract import Target

START = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = "arn:aws:cloudformation:eu-central-1:111122223333:stack/demo/1"


def nested_id(name: str) -> str:
    return ROOT.replace("stack/demo/1", f"stack/demo-{name}/1")


def event(stack: str, name: str, status: str, *, physical: str, seconds: float = 1) -> dict[str, Any]:
    return {
        "EventId": f"{stack} {name} {status}",
        "StackId": stack,
        "Timestamp": START + timedelta(seconds=seconds),
        "LogicalResourceId": name,
        "PhysicalResourceId": physical,
        "ResourceType": "AWS::CloudFormation::Stack",
        "ResourceStatus": status,
        "ClientRequestToken": "ours",
    }


class Client:
    """A client of stacks by their ids, with the events of each; `asked` is for whose it was asked."""

    def __init__(self, events: dict[str, list[dict[str, Any]]]) -> None:
        self.events = events
        self.asked: list[str] = []

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - the API's names
        self.asked.append(StackName)
        return {"StackEvents": self.events.get(StackName, [])[::-1]}


def many(count: int) -> Client:
    """A stack in which as many others are nested, all being made."""
    names = [f"Child{at}" for at in range(count)]
    own = [event(ROOT, "demo", "CREATE_IN_PROGRESS", physical=ROOT, seconds=0)]
    own += [event(ROOT, name, "CREATE_IN_PROGRESS", physical=nested_id(name)) for name in names]
    inner = {nested_id(name): [event(nested_id(name), "Fn", "CREATE_IN_PROGRESS", physical="fn")] for name in names}
    return Client({ROOT: own, **inner})


def test_dozens_of_nested_stacks_are_asked_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some four each time, and none twice before all others: the account's rate of calls is not ours alone."""
    monkeypatch.setattr(cloudformation, "EVENTS_EVERY_S", 0.05)
    monkeypatch.setattr(following, "SOON_S", 0.025)
    client = many(10)
    under_way = following.operation(client, ROOT, "ours", START)  # type: ignore[arg-type]
    shown = [each["path"] for _ in range(4) for each in under_way.new()]
    assert sorted(path for path in shown if path.endswith("/Fn")) == sorted(f"Child{at}/Fn" for at in range(10))
    rounds = "".join("r" if stack == ROOT else "n" for stack in client.asked).split("r")
    assert max(map(len, rounds)) == following.NESTED_AT_ONCE
    times = Counter(stack for stack in client.asked if stack != ROOT)
    assert max(times.values()) - min(times.values()) <= 1


@pytest.mark.parametrize(
    ("target", "command"),
    [
        (Target("production", "1", "eu-central-1", stack="demo"), "towpath recover production"),
        (
            Target("command", "1", "eu-central-1", stack="demo"),
            "towpath recover --stack-name demo --region eu-central-1",
        ),
    ],
)
def test_what_frees_a_stack(target: Target, command: str) -> None:
    assert following.recovery(target) == command


def test_what_is_under_way_is_told_by_the_last_event_of_each_resource() -> None:
    events = [
        {"path": "demo", "ResourceStatus": "CREATE_IN_PROGRESS", "Timestamp": START},
        {"path": "Slow", "ResourceStatus": "CREATE_IN_PROGRESS", "Timestamp": START + timedelta(seconds=5)},
        {"path": "Fn", "ResourceStatus": "CREATE_IN_PROGRESS", "Timestamp": START},
        {"path": "Fn", "ResourceStatus": "CREATE_COMPLETE", "Timestamp": START + timedelta(seconds=2)},
    ]
    assert following.unfinished(events) == [
        "demo (CREATE_IN_PROGRESS since 00:00:00 UTC)",
        "Slow (CREATE_IN_PROGRESS since 00:00:05 UTC)",
    ]


def test_a_stack_that_hangs_is_not_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(following, "QUIET_S", 0.2)
    monkeypatch.setattr(following, "_is_at_rest", lambda *_: False)
    client: Any = Client({ROOT: [event(ROOT, "demo", "UPDATE_IN_PROGRESS", physical=ROOT)]})
    under_way = following.operation(client, ROOT, "ours", START)
    monkeypatch.setattr(under_way.root, "due_in_s", lambda: 0)

    look = under_way.new

    def new() -> list[dict[str, Any]]:
        if "nothing new for" in capsys.readouterr().out:
            client.events[ROOT].append(event(ROOT, "demo", "UPDATE_COMPLETE", physical=ROOT, seconds=2))
        return look()

    monkeypatch.setattr(under_way, "new", new)
    closing = following.follow(client, under_way)
    assert closing["ResourceStatus"] == "UPDATE_COMPLETE"
