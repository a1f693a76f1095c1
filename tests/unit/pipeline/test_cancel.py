from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.plans import command, runner_argv

from pipeline import cancel
from pipeline.errors import Interrupted, StageFailed
from pipeline.record.writer import read_chain
from pipeline.standings import Wish

if TYPE_CHECKING:
    from pathlib import Path

    from support.plans import House


def _until(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_is_stopped_by_a_request_from_elsewhere_and_gone_on_with(house: House) -> None:
    started, go = house.project / "started", house.project / "go"
    run_id = house.open(
        command("slow", f"touch {started}; test -e {go} || sleep 60"), command("after", "true", needs=("slow",))
    )
    with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True) as runner:
        _until(started)
        asked_at = time.monotonic()
        cancel.ask(house.store, run_id, ["slow.1"], "ada@elsewhere", whole=True)
        _, said = runner.communicate(timeout=20)
    assert time.monotonic() - asked_at < 8
    assert (runner.returncode, "canceled by ada@elsewhere" in said) == (143, True)
    attempt = house.load(run_id).attempts["slow"][0]
    assert attempt.outcome == "canceled"
    assert attempt.failure is not None
    assert attempt.failure.message == "it was canceled by ada@elsewhere"
    go.touch()
    assert house.drive(run_id).done("after")  # the old request means nothing to the attempt that follows


def test_one_stage_is_stopped_and_the_others_go_on(house: House) -> None:
    started = house.project / "started"
    run_id = house.open(command("slow", f"touch {started}; sleep 60"), command("other", f"sleep 3; touch {started}2"))

    def ask() -> None:
        _until(started)
        cancel.ask(house.store, run_id, ["slow.1"], "ada", whole=False)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(StageFailed, match="stage slow: it was canceled by ada"):
        house.drive(run_id)
    asking.join()
    assert house.load(run_id).done("other")


def test_a_request_that_is_none_of_this_runners_or_none_at_all_stops_nothing(house: House) -> None:
    run_id = house.open(command("a", "sleep 1.5"))
    cancel.ask(house.store, run_id, ["a.2", "b.1"], "ada", whole=True)
    cancel.ask(house.store, "20260101-000000-aaaa", ["a.1"], "ada", whole=True)
    for number, junk in enumerate((b"", b"{", b"[]", json.dumps({"v": 1, "run": run_id}).encode(), b"[" * 100_000)):
        house.store.put_new(f"cancels/{run_id}/{number}.json", junk)
    assert house.drive(run_id).done("a")


def test_who_asked_cannot_drive_a_terminal_or_fill_the_record(house: House) -> None:
    cancel.ask(house.store, "r", ["a.1"], "\x1b[31mada\n" + "x" * 1000, whole=False)
    [asked] = cancel.Requests(house.store, "r").new()
    assert asked.by.startswith("?[31mada?x")
    assert len(asked.by) == 200


def test_a_store_that_does_not_answer_stops_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.record.store import StoreError

    def fail(*_: object) -> list[str]:
        raise StoreError("it does not answer")

    run_id = house.open(command("a", "sleep 1.5"))
    context = house.context(run_id)
    from pipeline import engine

    monkeypatch.setattr(cancel.Requests, "new", fail)
    assert engine.drive(context, Wish(), 1).done("a")


def test_canceled_from_the_terminal_says_so_and_not_who(house: House) -> None:
    started = house.project / "started"
    run_id = house.open(command("slow", f"touch {started}; sleep 60"))
    with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True) as runner:
        _until(started)
        runner.terminate()
        runner.communicate(timeout=20)
    assert runner.returncode == Interrupted("", code=143).code
    closed = read_chain(house.store, f"runs/{run_id}/slow.1")
    assert [event.data["failure"]["message"] for event in closed if event.type == "phase.finished"] == [
        "it was canceled"
    ]
