"""Runs that tell somebody: real runs of a gated stage, and an HTTP server that is told."""

from __future__ import annotations

import dataclasses
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import SigningKey, rules
from support.gated import ASKED, TARGET, break_glass, decide, deployed, gated, release
from support.plans import House, command, killed_in
from support.receiver import receiver

from pipeline import engine
from pipeline.errors import Blocked, Rejected, StageFailed, Waiting
from pipeline.gates.rules import NOBODY
from pipeline.notifications import notices
from pipeline.plan import Channel, Plan, SecretSource
from pipeline.plan import from_json as plan_of
from pipeline.record import artifacts, runs
from pipeline.standings import Wish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.receiver import Receiver

    from pipeline.plan import PlannedStage

ALL = ["waiting", "approved", "voided", "deployed", "failed", "rolled-back", "break-glass"]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_KEY", "correct-horse-battery")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with receiver() as made:
        yield made


def opened(house: House, at: Receiver, *stages: PlannedStage, on: list[str] | None = None, **more: Any) -> str:
    """Open a run of a plan that tells this receiver."""
    told = {**ASKED, **more.pop("told", {})}
    run_id = house.open(*stages, **told)
    hook = Channel("webhook", on or ALL, url=f"{at.url}/hook", secrets={"secret": SecretSource("variable", "HOOK_KEY")})
    plan = dataclasses.replace(house.plans[run_id], notifications=[dataclasses.replace(hook, **more)])
    digest = artifacts.put_json(house.store, plan.as_json())
    run_id = runs.open_run(house.store, {"plan": digest, **told}, house.key)
    house.plans[run_id] = plan
    return run_id


def events(at: Receiver) -> list[str]:
    return [each.headers["towpath-event"] for each in at.got]


def test_who_waits_who_approved_and_that_it_is_told_once(house: House, at: Receiver) -> None:
    run_id = opened(house, at, gated(house, rules(people=2)))
    for _ in range(3):
        with pytest.raises(Waiting):
            house.drive(run_id)
    assert events(at) == ["waiting"]
    assert at.got[0].json["command"] == f"towpath approve {run_id} migrate --reason '...'"
    assert "0 of 2 approved" in at.got[0].json["text"]
    assert (at.got[0].json["environment"], at.got[0].json["asked_for_by"]) == ("production", "dora@example.com")
    decide(house, run_id, "alice")
    decide(house, run_id, "bob")
    house.drive(run_id)
    assert events(at) == ["waiting", "approved", "approved"]
    house.drive(run_id)
    assert len(at.got) == 3
    marks = [house.store.read(key) for key in house.store.walk(f"notices/{run_id}")]
    assert len(marks) == 3
    assert all(b'"outcome":"sent"' in (each or b"") for each in marks)
    assert all(b"correct-horse" not in (each or b"") for each in marks)


def test_an_approval_has_one_id_whoever_tells_of_it(house: House, at: Receiver) -> None:
    run_id = opened(house, at, gated(house, rules()))
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice")
    run = house.drive(run_id)
    [looked] = [each.people for each in run.attempts["migrate"] if each.people and each.people["goes_on"]]
    told = notices.approved(house.plans[run_id], run, "migrate", looked["decisions"][0], "any")
    assert at.got[-1].headers["towpath-event-id"] == told.id


def test_what_fails_is_told_and_again_when_it_fails_again(house: House, at: Receiver) -> None:
    run_id = opened(house, at, command("build", "exit 3"))
    for _ in range(2):
        with pytest.raises(StageFailed):
            house.drive(run_id)
    assert events(at) == ["failed", "failed"]
    assert len({each.headers["towpath-event-id"] for each in at.got}) == 2
    assert at.got[0].json["command"] == f"towpath logs {run_id} build"
    assert "exit code 3" in at.got[0].json["text"]


def test_what_was_rejected(house: House, at: Receiver) -> None:
    run_id = opened(house, at, gated(house, rules()), on=["failed"])
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "bob", "reject", reason="not on a Friday")
    with pytest.raises(Rejected):
        house.drive(run_id)
    assert events(at) == ["failed"]
    assert "not on a Friday" in at.got[0].json["text"]


def test_who_broke_the_glass_is_told_loudly(house: House, at: Receiver) -> None:
    wanted = rules(people=2, glass={"carol": (SigningKey("carol").line,)})
    run_id = opened(house, at, gated(house, wanted), on=["break-glass"])
    with pytest.raises(Waiting):
        house.drive(run_id)
    break_glass(house, run_id, "carol", "approvals")
    house.drive(run_id)
    assert events(at) == ["break-glass"]
    assert "carol broke the glass" in at.got[0].json["text"]
    assert at.got[0].json["command"] == f"towpath break-glass {run_id} migrate --review --reason '...'"


def test_what_is_outdated_is_void_and_told_once_however_often_it_is_tried(house: House, at: Receiver) -> None:
    run_id = opened(house, at, *release(house), on=["voided", "failed"])
    deployed(house, house.open(*release(house), **ASKED))
    for _ in range(2):
        with pytest.raises(Blocked):
            house.drive(run_id, Wish(only=frozenset({"migrate"})))
    assert events(at) == ["voided"]
    assert at.got[0].json["command"] == "towpath run"


def test_only_what_is_wanted_and_only_where(house: House, at: Receiver) -> None:
    run_id = opened(house, at, gated(house, NOBODY, "exit 1"), environments=["staging"])
    with pytest.raises(StageFailed):
        house.drive(run_id)
    other = opened(house, at, gated(house, rules()), on=["deployed"])
    with pytest.raises(Waiting):
        house.drive(other)
    assert at.got == []


def test_a_notification_that_fails_fails_nothing_is_told_and_not_tried_for_ever(house: House, at: Receiver) -> None:
    at.answers = [404] * 10
    run_id = opened(house, at, gated(house, rules()))
    for _ in range(2):
        context = house.context(run_id)
        with pytest.raises(Waiting):
            engine.drive(context, Wish(), 1)
    assert len(at.got) == 1
    [mark] = [house.store.read(key) for key in house.store.walk(f"notices/{run_id}")]
    assert b'"outcome":"failed"' in (mark or b"")
    assert b"HTTP 404" in (mark or b"")


@pytest.mark.parametrize("how", ["no secret", "nobody there", "not a store's fault"])
def test_whatever_is_wrong_the_run_ends_as_it_does(
    house: House, at: Receiver, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"url": "http://127.0.0.1:9/"} if how == "nobody there" else {}
    run_id = opened(house, at, gated(house, NOBODY, "exit 3"), **more)
    if how == "no secret":
        monkeypatch.delenv("HOOK_KEY")
    if how == "not a store's fault":
        monkeypatch.setattr("pipeline.notifications.senders.signature", lambda *_: 1 / 0)
    context = house.context(run_id)
    with pytest.raises(StageFailed, match="exit code 3"):
        engine.drive(context, Wish(), 1)
    [note] = [each for each in context.reporter.notes if "could not be told" in each]  # type: ignore[attr-defined]
    assert "webhook at 127.0.0.1 could not be told of failed, migrate of run" in note
    assert ("HOOK_KEY" in note) == (how == "no secret")


def test_a_killed_runner_has_its_successor_tell(house: House, at: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies after the stage failed was recorded, and before anybody is told."""
    run_id = opened(
        house, at, command("one", "exit 3"), command("two", f"sleep 1; touch {house.project}/two.started; sleep 30")
    )
    at.slow_s = 5
    assert killed_in(house, run_id, "two").returncode == -signal.SIGKILL
    at.slow_s = 0
    at.got.clear()
    until = time.monotonic() + 10
    while not (last := house.load(run_id).last("one")) or not last.closed_at:
        assert time.monotonic() < until
    with pytest.raises(StageFailed):
        house.drive(run_id, Wish(only=frozenset({"one"})))
    first = notices.of_run(house.plans[run_id], house.load(run_id), datetime.now(UTC) - timedelta(hours=1))[0]
    assert events(at).count("failed") == 2  # that of before, and this one
    assert first.id in {each.headers["towpath-event-id"] for each in at.got}


def test_what_is_old_is_no_news(house: House, at: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a record was carried to another store."""
    run_id = opened(house, at, command("one", "true"), command("two", "exit 3"))
    monkeypatch.setattr(house.store, "now", lambda: time.time() + 2 * 86_400)
    with pytest.raises(StageFailed):
        house.drive(run_id)
    assert at.got == []


def test_a_rollback_is_told_as_one(house: House) -> None:
    run_id = house.open(*release(house), **ASKED)
    run, plan = house.load(run_id), house.plans[run_id]
    run.data["way"] = {"kind": "rollback"}
    last = dataclasses.replace(_succeeded(run_id), stage="deploy")
    run.add(last)
    [found] = notices.of_run(plan, run, datetime.now(UTC) - timedelta(hours=1))
    assert (found.event, found.command) == ("rolled-back", "towpath rollback production --lift --reason '...'")
    run.data.pop("way")
    [found] = notices.of_run(plan, run, datetime.now(UTC) - timedelta(hours=1))
    assert (found.event, found.text) == ("deployed", f"deploy of run {run_id} deployed to production")


def _succeeded(run_id: str) -> Any:
    from pipeline.record.chain import Head
    from pipeline.record.replay import Attempt

    now = datetime.now(UTC).isoformat()
    return Attempt("deploy", 1, Head(f"runs/{run_id}/deploy.1", "x", 1), now, now, {}, {}, None, outcome="succeeded")


def test_channels_are_part_of_the_plan_and_change_no_other(house: House, at: Receiver) -> None:
    run_id = opened(house, at, gated(house, NOBODY), target=TARGET, topic="arn:aws:sns:eu-west-1:111122223333:x")
    plan = house.plans[run_id]
    assert plan_of(plan.as_json(), "plan") == plan
    assert "notifications" not in Plan("x", {}, {}, {}).as_json()
