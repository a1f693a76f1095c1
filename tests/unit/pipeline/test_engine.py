from __future__ import annotations

import errno
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.plans import command, engine_run, killed_in, run_process

from pipeline import engine
from pipeline.errors import Blocked, StageFailed, TimedOut, VerificationFailed
from pipeline.plan import Plan
from pipeline.record import artifacts, runs
from pipeline.record.chain import Head
from pipeline.record.replay import Attempt, Run
from pipeline.record.store import StoreError
from pipeline.record.writer import ChainWriter
from pipeline.standings import Standings, Wish

if TYPE_CHECKING:
    from support.plans import House


def test_what_one_stage_hands_on_the_next_one_reads(house: House) -> None:
    run_id = house.open(
        command("make", "mkdir $TOWPATH_OUTPUTS/thing; echo made > $TOWPATH_OUTPUTS/thing/file", outputs=["thing"]),
        command("use", "test $(cat $TOWPATH_INPUTS/thing/file) = made", needs=("make",), inputs={"thing": "make"}),
    )
    run = house.drive(run_id)
    assert {name: attempts[-1].outcome for name, attempts in run.attempts.items()} == {
        "make": "succeeded",
        "use": "succeeded",
    }
    assert run.attempts["use"][0].inputs["thing"]["artifact"] == run.attempts["make"][0].outputs["thing"]
    assert list((house.project / ".towpath/work").iterdir()) == []


def test_independent_stages_run_at_the_same_time_and_no_more_than_asked(house: House) -> None:
    meet = "touch $0.{me}; for i in $(seq 100); do test -e $0.{other} && exit 0; sleep 0.05; done; exit 1"
    there = str(house.project / "meet")
    stages = [
        command("a", meet.format(me="a", other="b").replace("$0", there)),
        command("b", meet.format(me="b", other="a").replace("$0", there)),
    ]
    house.drive(house.open(*stages), jobs=2)
    log = house.project / "log"
    alone = [command(name, f"echo + >> {log}; sleep 0.1; echo - >> {log}") for name in ("x", "y", "z")]
    house.drive(house.open(*alone), jobs=1)
    assert log.read_text().split() == ["+", "-"] * 3


def test_a_failure_stops_what_needs_it_and_nothing_else(house: House) -> None:
    run_id = house.open(
        command("bad", "echo why >&2; exit 3"), command("after", "true", needs=("bad",)), command("other", "sleep 0.2")
    )
    with pytest.raises(StageFailed, match="stage bad: the program ended with exit code 3"):
        house.drive(run_id)
    run = house.load(run_id)
    assert run.done("other")
    assert run.last("after") is None


def test_every_stage_that_failed_is_told_at_the_end(house: House) -> None:
    run_id = house.open(command("bad", "exit 3"), command("worse", "sleep 0.3; exit 4"), command("good", "true"))
    with pytest.raises(StageFailed, match="stage bad: ") as caught:
        house.drive(run_id)
    [other] = caught.value.also
    assert other.message == "stage worse: the program ended with exit code 4"
    assert other.hint
    assert f"towpath logs {run_id} worse" in other.hint
    assert [each["message"] for each in caught.value.as_json()["also"]] == [other.message]


def test_going_on_repeats_what_failed_and_nothing_that_is_done(house: House) -> None:
    count, flag = house.project / "count", house.project / "flag"
    run_id = house.open(command("once", f"echo x >> {count}"), command("flaky", f"test -e {flag}", needs=("once",)))
    with pytest.raises(StageFailed):
        house.drive(run_id)
    flag.touch()
    run = house.drive(run_id)
    assert count.read_text() == "x\n"
    assert [attempt.outcome for attempt in run.attempts["flaky"]] == ["failed", "succeeded"]
    assert run.attempts["flaky"][1].follows == run.attempts["flaky"][0].head.as_json()


def test_a_disk_that_is_full_costs_nothing_but_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = house.open(command("a", "true"))
    context = house.context(run_id)
    with monkeypatch.context() as full:
        full.setattr("os.fsync", _no_space)
        with pytest.raises(StoreError, match="No space left"):
            engine.drive(context, Wish(), 1)
    assert house.load(run_id).last("a") is None
    assert house.drive(run_id).done("a")


def _no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cut_off_end_of_a_chain_is_noticed_by_what_builds_on_it(house: House) -> None:
    run_id = house.open(command("a", "true"), command("b", "true", needs=("a",)))
    house.drive(run_id)
    (house.store.root / f"runs/{run_id}/a.1/00000003.json").unlink()
    with pytest.raises(VerificationFailed, match=r"a\.1 has 3 events, and .*b\.1 builds on 4"):
        house.load(run_id)


def test_a_single_stage_whose_needs_are_not_done_is_refused(house: House) -> None:
    run_id = house.open(command("first", "true"), command("second", "true", needs=("first",)))
    with pytest.raises(StageFailed, match="stage second needs first, not done"):
        house.drive(run_id, Wish(only=frozenset({"second"})))
    house.drive(run_id, Wish(only=frozenset({"first"})))
    run = house.drive(run_id, Wish(only=frozenset({"second"})))
    assert run.done("second")


def test_a_stage_that_is_done_is_left_as_it_is(house: House) -> None:
    run_id = house.open(command("first", "true"))
    house.drive(run_id)
    run = house.drive(run_id, Wish(only=frozenset({"first"})))
    assert len(run.attempts["first"]) == 1


def test_a_stage_that_takes_too_long(house: House) -> None:
    with pytest.raises(TimedOut, match="it ran longer than 1 s"):
        house.drive(house.open(command("slow", "sleep 30", timeout_s=1)))


def test_a_missing_output_fails_the_stage(house: House) -> None:
    with pytest.raises(StageFailed, match="did not write the output thing"):
        house.drive(house.open(command("make", "true", outputs=["thing"])))


def test_an_output_that_is_a_link_fails_the_stage(house: House) -> None:
    script = "mkdir $TOWPATH_OUTPUTS/thing; ln -s /etc/passwd $TOWPATH_OUTPUTS/thing/x"
    with pytest.raises(StageFailed, match="the output x is not collected"):
        house.drive(house.open(command("make", script, outputs=["thing"])))


def test_a_changed_artifact_is_refused_before_the_stage_starts(house: House) -> None:
    run_id = house.open(
        command("make", "mkdir $TOWPATH_OUTPUTS/thing; echo good > $TOWPATH_OUTPUTS/thing/file", outputs=["thing"]),
        command("use", f"touch {house.project}/started", needs=("make",), inputs={"thing": "make"}),
    )
    run = house.drive(run_id, Wish(only=frozenset({"make"})))
    file = artifacts.manifest(house.store, run.attempts["make"][0].outputs["thing"])[0]
    blob = house.store.root / artifacts.blob_key(file.sha256)
    blob.chmod(0o644)
    blob.write_text("evil\n")
    with pytest.raises(VerificationFailed, match="the store holds other bytes"):
        house.drive(run_id)
    assert not (house.project / "started").exists()


def test_an_edited_event_is_refused(house: House) -> None:
    run_id = house.open(command("a", "true"), command("b", "true", needs=("a",)))
    house.drive(run_id, Wish(only=frozenset({"a"})))
    event = house.store.root / f"runs/{run_id}/a.1/00000002.json"
    event.chmod(0o644)
    event.write_bytes(event.read_bytes().replace(b"succeeded", b"succeedeD"))
    with pytest.raises(VerificationFailed, match=r"a\.1: event 3 does not follow"):
        house.load(run_id)


def test_a_stage_that_another_runner_is_at_is_not_started_twice(house: House) -> None:
    count = house.project / "count"
    run_id = house.open(command("slow", f"echo x >> {count}; sleep 1"))
    errors: list[BaseException] = []

    def one() -> None:
        try:
            engine_run(house, run_id)
        except Blocked as error:
            errors.append(error)

    others = [threading.Thread(target=one) for _ in range(2)]
    for each in others:
        each.start()
    for each in others:
        each.join()
    assert count.read_text() == "x\n"
    assert len(errors) == 1
    assert "is being run by" in str(errors[0])


def test_killed_in_the_middle_and_gone_on_with_ends_as_undisturbed(house: House) -> None:
    flag, count = house.project / "mid.started", house.project / "count"
    run_id = house.open(
        command("first", f"echo first >> {count}"),
        command("mid", f"echo mid >> {count}; test -e {flag} && exit 0; touch {flag}; sleep 60", needs=("first",)),
        command("last", f"echo last >> {count}", needs=("mid",)),
    )
    assert killed_in(house, run_id, "mid").returncode == -signal.SIGKILL
    assert house.load(run_id).last("mid").outcome is None  # type: ignore[union-attr]
    assert run_process(house, run_id).returncode == 0
    run = house.load(run_id)
    assert count.read_text().split() == ["first", "mid", "mid", "last"]
    assert [attempt.outcome for attempt in run.attempts["mid"]] == [None, "succeeded"]


def test_a_killed_stage_that_may_not_be_repeated_is_unknown_until_someone_says_so(house: House) -> None:
    flag = house.project / "mail.started"
    script = f"test -e {flag} && exit 0; touch {flag}; sleep 60"
    run_id = house.open(command("mail", script, idempotent=False), command("last", "true", needs=("mail",)))
    killed_in(house, run_id, "mail")
    with pytest.raises(StageFailed, match="nobody knows what it had done") as caught:
        house.drive(run_id)
    assert "--again mail" in (caught.value.hint or "")
    run = house.drive(run_id, Wish(again=frozenset({"mail"})))
    assert run.done("last")


def test_what_may_not_be_repeated_is_not_after_a_time_limit_or_a_cancel_either(house: House) -> None:
    count = house.project / "count"
    run_id = house.open(command("slow", f"echo x >> {count}; sleep 30", timeout_s=1, idempotent=False))
    with pytest.raises(TimedOut):
        house.drive(run_id)
    with pytest.raises(StageFailed, match="timed out in the middle"):
        house.drive(run_id)
    flag = house.project / "mail.started"
    run_id = house.open(command("mail", f"touch {flag}; sleep 60", idempotent=False))
    killed_in(house, run_id, "mail", signal.SIGINT)
    with pytest.raises(StageFailed, match="canceled in the middle"):
        house.drive(run_id)
    run_id = house.open(command("shot", f"echo x >> {count}; kill -9 $$", idempotent=False))
    with pytest.raises(StageFailed, match="signal 9"):
        house.drive(run_id)
    with pytest.raises(StageFailed, match="killed in the middle"):
        house.drive(run_id)
    assert count.read_text() == "x\nx\n"


def test_an_interrupted_run_says_so_and_can_be_gone_on_with(house: House) -> None:
    flag = house.project / "slow.started"
    run_id = house.open(command("slow", f"test -e {flag} && exit 0; touch {flag}; sleep 60"))
    done = killed_in(house, run_id, "slow", signal.SIGINT)
    assert done.returncode == 130
    assert "stopped by SIGINT" in done.stderr
    assert house.load(run_id).last("slow").outcome == "canceled"  # type: ignore[union-attr]
    assert house.drive(run_id).done("slow")


def test_an_attempt_of_another_machine_is_waited_for_until_its_time_is_over(house: House) -> None:
    run_id = house.open(command("far", "true", timeout_s=60))
    run = house.load(run_id)
    writer = ChainWriter(house.store, runs.chain_name(run_id, "far.1"), None)
    writer.open(
        {"opening": run.head.digest, "stage": "far", "attempt": 1, "inputs": {}, "follows": None, "builds_on": []}
    )
    first = house.store.root / f"runs/{run_id}/far.1/00000000.json"
    first.chmod(0o644)
    first.write_bytes(first.read_bytes().replace(b'"boot":"', b'"boot":"other-'))
    with pytest.raises(Blocked, match="is being run by process"):
        house.drive(run_id)
    os.utime(first, (1, time.time() - 3600))
    assert house.drive(run_id).done("far")


def test_standings_of_a_graph() -> None:
    plan = Plan("t", {}, {}, {})
    for name, needs in {"a": (), "b": ("a",), "c": ("b",), "d": ("a",), "e": ("c", "d")}.items():
        plan.stages[name] = command(name, "", needs=needs)
    fresh = run_with(set())
    assert Standings(plan, fresh, Wish(), lambda _: False, lambda _: True).found == {
        "a": "ready", "b": "waiting", "c": "waiting", "d": "waiting", "e": "waiting",
    }  # fmt: skip
    failed = Wish(failed_now=frozenset({"b"}))
    assert Standings(plan, run_with({"a"}), failed, lambda _: False, lambda _: True).found == {
        "a": "done", "b": "failed", "c": "unreachable", "d": "ready", "e": "unreachable",
    }  # fmt: skip


def run_with(done: set[str]) -> Run:
    head = Head("x", "sha256:0", 1)
    run = Run("r", head, "", "", {})
    for name in done:
        run.add(Attempt(name, 1, head, "", "", {}, {}, None, outcome="succeeded"))
    return run


def test_nothing_is_started_after_an_interrupt(house: House) -> None:
    run_id = house.open(
        command("slow", f"touch {house.project}/slow.started; sleep 60"), command("next", "true", needs=("slow",))
    )
    killed_in(house, run_id, "slow", signal.SIGTERM)
    assert house.load(run_id).last("next") is None
