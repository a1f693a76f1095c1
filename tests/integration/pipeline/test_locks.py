"""Two runs come to one target: in a folder and in S3, with runners that are processes and are killed with kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from support import s3 as support
from support.gated import ASKED, TARGET, gated
from support.plans import House, run_process, runner_argv
from support.signing import trust_line

from pipeline import locks
from pipeline.audit import verify
from pipeline.errors import Blocked
from pipeline.gates.rules import NOBODY
from pipeline.record import ledger, ledgers
from pipeline.record.store import directory, s3
from pipeline.record.writer import read_chain
from pipeline.signing import signers

if TYPE_CHECKING:
    from pathlib import Path

NAME = ledger.name_of(TARGET)


BOTH = pytest.mark.parametrize("house", ["directory", "s3"], indirect=True)


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    (tmp_path / "project").mkdir()
    if getattr(request, "param", "directory") == "directory":
        return House(tmp_path / "project", directory.open_store(tmp_path / "store", create=True))
    bucket = support.make_bucket(request.getfixturevalue("server"))
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    store = s3.open_store(f"s3://{bucket.name}/shop", create=True)
    return House(tmp_path / "project", cast("Any", store))


def started(house: House, run_id: str, *flags: str) -> subprocess.Popen[str]:
    """A runner that is in the middle of its stage."""
    runner = subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while runner.poll() is None and not any((house.project / flag).exists() for flag in flags):
        assert time.monotonic() < until
        time.sleep(0.02)
    return runner


def fresh(house: House) -> ledger.Ledger:
    return ledgers.read(house.store, NAME)


def broken(house: House, run_id: str) -> list[str]:
    trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    return [str(each) for each in verify.Audit(house.store, trust).run(run_id).findings if each.grade == "broken"]


@BOTH
def test_of_runs_that_come_at_once_one_applies_at_a_time(house: House) -> None:
    """Each writes that it is in, and waits to see whether another is."""
    script = f"cd {house.project}; mkdir inside; sleep 1; rmdir inside"  # mkdir fails if somebody is inside
    ids = [house.open(gated(house, NOBODY, script), **ASKED) for _ in range(3)]
    runners = [subprocess.Popen(runner_argv(house, each), stderr=subprocess.PIPE, text=True) for each in ids]
    said = [runner.communicate(timeout=60)[1] for runner in runners]
    codes = [runner.returncode for runner in runners]
    assert set(codes) <= {0, 6}, said
    assert codes.count(0) >= 1
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "is deploying here since" in text
    for each in ids:
        assert broken(house, each) == []


def test_who_is_held_up_is_told_by_whom_and_goes_on_once_that_is_over(house: House) -> None:
    first = house.open(gated(house, NOBODY, f"cd {house.project}; touch one.in; sleep 2"), **ASKED)
    second = house.open(gated(house, NOBODY), **ASKED)
    runner = started(house, first, "one.in")
    blocked = run_process(house, second)
    assert blocked.returncode == 6
    assert f"run {first} is deploying here since 20" in blocked.stderr
    assert f": stage migrate, attempt 1, process {runner.pid} on " in blocked.stderr
    assert "asked for by dora@example.com" in blocked.stderr
    runner.communicate(timeout=30)
    assert runner.returncode == 0
    assert run_process(house, second).returncode == 0
    [looked] = [
        event for event in read_chain(house.store, f"runs/{second}/migrate.1") if event.type == "gate.looked-at"
    ]
    assert looked.data["state"] == "busy"
    assert looked.data["failure"]["cls"] == "blocked"
    assert broken(house, second) == []


@BOTH
def test_what_a_killed_runner_held_passes_on_and_says_from_whom(house: House) -> None:
    first = house.open(gated(house, NOBODY, f"cd {house.project}; touch one.in; sleep 60"), **ASKED)
    second = house.open(gated(house, NOBODY), **ASKED)
    runner = started(house, first, "one.in")
    assert run_process(house, second).returncode == 6
    runner.send_signal(signal.SIGKILL)
    runner.communicate(timeout=20)
    assert run_process(house, second).returncode == 0
    intent = list(ledger.intended(fresh(house).events))[-1].data
    assert (intent["run"], intent["after"]) == (second, [{"run": first, "stage": "migrate"}])
    reasons = [
        event for event in read_chain(house.store, f"runs/{second}/migrate.2") if event.type == "gate.looked-at"
    ][-1]
    assert any(
        "nobody saw how that ended: stage migrate, " in each and "its stack is looked at first" in each
        for each in reasons.data["reasons"]
    )
    assert broken(house, second) == []
    third = house.open(gated(house, NOBODY), **ASKED)  # which the one that was killed is no matter to any more
    assert run_process(house, third).returncode == 0
    assert list(ledger.intended(fresh(house).events))[-1].data["after"] == []
    looked = [each for each in read_chain(house.store, f"runs/{third}/migrate.1") if each.type == "gate.looked-at"]
    assert [each for each in looked if "nobody saw" in str(each.data["reasons"])] == []
    assert locks.holders(house.store, fresh(house), "") == []
    assert broken(house, third) == []


def test_who_went_on_with_what_a_dead_runner_left_holds_the_target(house: House) -> None:
    """The ledger names the attempt that died, then the one that is at it."""
    once = f"cd {house.project}; test -e one.in || {{ touch one.in; sleep 60; }}; touch two.in; sleep 2"
    first = house.open(gated(house, NOBODY, once), **ASKED)
    second = house.open(gated(house, NOBODY), **ASKED)
    runner = started(house, first, "one.in")
    runner.send_signal(signal.SIGKILL)
    runner.communicate(timeout=20)
    again = started(house, first, "two.in")
    blocked = run_process(house, second)
    assert (blocked.returncode, f"attempt 2, process {again.pid} on " in blocked.stderr) == (6, True), blocked.stderr
    again.communicate(timeout=30)
    assert run_process(house, second).returncode == 0


def test_a_runner_elsewhere_holds_a_target_until_somebody_says_that_it_is_dead(house: House) -> None:
    first = house.open(gated(house, NOBODY, f"cd {house.project}; touch one.in; sleep 60"), **ASKED)
    second = house.open(gated(house, NOBODY), **ASKED)
    elsewhere = "from pipeline.record import writer; writer.boot_id = lambda: 'another-machine'\n"
    argv = runner_argv(house, first)
    argv[2] = elsewhere + argv[2]
    with subprocess.Popen(argv, env=os.environ) as runner:
        while not (house.project / "one.in").exists():
            time.sleep(0.02)
        runner.kill()
    assert run_process(house, second).returncode == 6
    act = locks.Act({"email": "grace@example.com"}, "the machine is gone")
    locks.release(house.store, NAME, act, first, key=house.key, trust=None)
    assert run_process(house, second).returncode == 0
    assert broken(house, second) == []


def test_who_is_said_to_be_dead_holds_the_target_again_once_it_goes_on(house: House) -> None:
    """Another machine resumes what a dead one had begun: what was said is said of the attempt that died, and not of a live one."""
    once = f"cd {house.project}; test -e one.in || {{ touch one.in; sleep 60; }}; touch two.in; sleep 3"
    first = house.open(gated(house, NOBODY, once), **ASKED)
    second = house.open(gated(house, NOBODY), **ASKED)
    runner = started(house, first, "one.in")
    runner.send_signal(signal.SIGKILL)
    runner.communicate(timeout=20)
    act = locks.Act({"email": "grace@example.com"}, "the machine is gone")
    book = locks.release(house.store, NAME, act, first, key=house.key, trust=None)
    assert book.events[-1].data["attempts"] == [{"stage": "migrate", "attempt": 1}]
    again = started(house, first, "two.in")
    assert f"attempt 2, process {again.pid} on " in run_process(house, second).stderr
    with pytest.raises(
        Blocked, match=f"alive, on this machine: stage migrate, attempt 2, process {again.pid} "
    ) as caught:
        locks.release(house.store, NAME, act, first, key=house.key, trust=None)
    assert f"towpath cancel {first}" in str(caught.value.hint)
    again.communicate(timeout=30)
    assert run_process(house, second).returncode == 0
    assert broken(house, second) == []


@BOTH
def test_a_lock_of_peoples_keeps_everybody_out_until_it_is_taken_away(house: House) -> None:
    act = locks.Act({"email": "grace@example.com", "user": "grace"}, "incident 4711")
    locks.take(house.store, NAME, act, key=house.key, trust=None)
    run_id = house.open(gated(house, NOBODY), **ASKED)
    for _ in range(2):
        blocked = run_process(house, run_id)
        assert blocked.returncode == 6
        assert "locked by grace@example.com since 20" in blocked.stderr
        assert ": incident 4711" in blocked.stderr
    assert len(house.load(run_id).attempts["migrate"]) == 1  # what is proposed is kept
    locks.release(house.store, NAME, act, None, key=house.key, trust=None)
    assert run_process(house, run_id).returncode == 0
    types = [event.type for event in fresh(house).events]
    assert types[:5] == ["chain.opened", "lock.taken", "lock.released", "target.enrolled", "deployment.intended"]
    assert broken(house, run_id) == []
    assert json.dumps(fresh(house).lock) == "null"
