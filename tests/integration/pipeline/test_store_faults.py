"""What becomes of a run when its store fails it: a defined end, nothing lost that was acknowledged, and `resume` finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import s3 as support
from support.plans import House, command, run_process, runner_argv

from pipeline import bundle
from pipeline.audit.verify import Audit
from pipeline.prune import runs as pruning
from pipeline.record import artifacts, chain, runs
from pipeline.record.store import directory, s3
from pipeline.record.store.s3_place import Place
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from support.s3 import Asked, Faults

    from pipeline.record.replay import Run
    from pipeline.record.store import Store


@pytest.fixture
def house(server: int, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project whose store is in S3, behind the proxy."""
    bucket = support.make_bucket(server, versions=True)
    for name, value in bucket.through(faults.port).variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOWPATH_STORE", f"s3://{bucket.name}/shop")
    return _house(tmp_path, s3.open_store(f"s3://{bucket.name}/shop", create=True))


def _house(folder: Path, store: Any) -> House:
    (folder / "project").mkdir()
    return House(folder / "project", store)


def _objects(store: Store) -> dict[str, bytes | None]:
    keys = store.walk("")
    return dict(zip(keys, store.read_each(keys), strict=True))


def _whole(house: House, run_id: str, before: dict[str, bytes | None]) -> Run:
    """The run as it ended; nothing of it is broken, and what was there before is there as it was."""
    now = _objects(house.store)
    assert {key: now.get(key) for key in before} == before
    assert [each for each in Audit(house.store, None).run(run_id).findings if each.grade == "broken"] == []
    return house.load(run_id)


def puts(asked: Asked) -> bool:
    return asked.method == "PUT"


def counted(house: House) -> int:
    path = house.project / "count"
    return len(path.read_text().split()) if path.exists() else 0


def test_a_run_of_which_every_first_answer_is_lost_is_as_any_other(house: House, faults: Faults) -> None:
    lost: set[str] = set()

    def first(asked: Asked) -> bool:
        is_first = puts(asked) and asked.path not in lost
        lost.add(asked.path)
        return is_first

    run_id = house.open(command("a", "echo x >> count"), command("b", "true", needs=("a",)))
    faults.add("lose", first, times=float("inf"))
    done = run_process(house, run_id)
    assert done.returncode == 0, done.stderr
    run = _whole(house, run_id, {})
    assert [run.last(name).number for name in ("a", "b")] == [1, 1]  # type: ignore[union-attr] # they are there
    assert counted(house) == 1


def test_a_token_that_expires_at_any_write_ends_the_run_and_loses_nothing(house: House, faults: Faults) -> None:
    """At every write in turn: the runner ends with 1, and with a new token the next one goes on from there."""
    run_id = house.open(command("a", "echo x >> count"))
    for number in range(20):
        fault = faults.add("refuse", puts, times=float("inf"), skip=number, status=400, code="ExpiredToken")
        before = _objects(house.store)
        done = run_process(house, run_id)
        faults.faults.remove(fault)
        _whole(house, run_id, before)
        if done.returncode == 0:
            break
        assert done.returncode == 1, done.stderr
        assert "have expired" in done.stderr
    assert number >= 4
    assert house.load(run_id).done("a")
    assert 1 <= counted(house) <= number


def test_a_store_that_is_unreachable_for_a_while_holds_the_run_up_and_no_more(house: House, faults: Faults) -> None:
    run_id = house.open(command("a", "touch a.started; sleep 0.5; echo x >> count"))
    with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True) as runner:
        _wait(house.project / "a.started")
        gone = faults.add("drop", lambda _: True, times=float("inf"))
        time.sleep(3)
        faults.faults.remove(gone)
        _, said = runner.communicate(timeout=60)
    assert runner.returncode == 0, said
    assert gone.struck > 1
    assert _whole(house, run_id, {}).done("a")
    assert counted(house) == 1


def test_of_two_runners_on_one_run_each_stage_is_run_by_one(house: House) -> None:
    names = [f"s{number}" for number in range(4)]
    run_id = house.open(*(command(name, f"echo {name} >> count; sleep 0.2") for name in names))
    started = [subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(each.communicate(timeout=120)[1], each.returncode) for each in started]
    assert {code for _, code in ended} <= {0, 6}, ended  # 6: another runner is at it
    run_process(house, run_id)
    run = _whole(house, run_id, {})
    assert all(run.done(name) for name in names)
    assert sorted((house.project / "count").read_text().split()) == names


def test_a_killed_runner_is_followed_by_one_that_finishes(house: House) -> None:
    run_id = house.open(command("a", "if [ ! -e a.started ]; then touch a.started; sleep 30; fi"), command("b", "true"))
    with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE) as runner:
        _wait(house.project / "a.started")
        before = _objects(house.store)
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    house.drive(run_id)
    run = _whole(house, run_id, before)
    assert run.done("a")
    assert run.done("b")


def test_a_runner_killed_at_any_put_is_followed_by_one_that_finishes(house: House, faults: Faults) -> None:
    """At each put in turn, once before it arrives and once after it was done: nothing is lost, and the next runner ends the run."""
    for number in range(40):
        (house.project / "count").unlink(missing_ok=True)
        run_id = house.open(
            command("a", "mkdir $TOWPATH_OUTPUTS/o; echo x | tee -a count > $TOWPATH_OUTPUTS/o/x", outputs=["o"])
        )
        with subprocess.Popen(runner_argv(house, run_id), stderr=subprocess.PIPE) as runner:
            fault = faults.add("lose" if number % 2 else "drop", puts, skip=number, then=runner.kill)
            runner.wait()
        faults.faults.remove(fault)
        if not fault.struck:
            break
        before = _objects(house.store)
        house.drive(run_id)
        assert _whole(house, run_id, before).done("a")
        assert counted(house) in (1, 2)
    assert number >= 9


def test_a_clock_that_goes_backwards_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's own clock is only shown: order comes from links, and times that count from the store."""
    step = iter(range(10_000))

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override] # a plain one
            return datetime.now(tz) - timedelta(hours=next(step))

    monkeypatch.setattr(chain, "datetime", Backwards)
    before = runs.open_run(house.store, {"plan": "sha256:" + "0" * 64}, house.key)
    run_id = house.open(command("a", "true"), command("b", "true", needs=("a",)))
    run = house.drive(run_id)
    assert run.done("a")
    assert run.done("b")
    a, b = run.last("a"), run.last("b")
    assert a
    assert b
    assert b.opened_at < a.opened_at
    _whole(house, run_id, {})
    assert runs.run_ids(house.store) == [before, run_id]
    assert runs.find(house.store, "latest") == run_id


def test_run_ids_are_by_the_clock_of_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert house.open(command("a", "true"))[:8] >= f"{datetime.now(UTC) - timedelta(days=1):%Y%m%d}"


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """The store is on a disk of one megabyte, and a stage fills it; once there is room again, the run is finished."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        house = _house(tmp_path, directory.open_store(disk / "store", create=True))
        fills = f"[ -e room ] || head -c 5000000 /dev/zero > {disk}/full || true"
        run_id = house.open(
            command("a", "echo x >> count"),
            command("b", f"{fills}; echo y >> count", needs=("a",)),
            command("c", "true", needs=("b",)),
        )
        before: dict[str, bytes | None] = {}
        for _ in range(3):
            done = run_process(house, run_id)
            assert done.returncode == 1, done.stderr
            assert "No space left on device" in done.stderr
            assert "Traceback" not in done.stderr
            now = _objects(house.store)
            assert {key: now.get(key) for key in before} == before
            before = now
        assert list((disk / "store/aside").iterdir()) == []
        (disk / "full").unlink()
        (house.project / "room").touch()
        run = house.drive(run_id)
        assert all(run.done(name) for name in ("a", "b", "c"))
        _whole(house, run_id, before)
        assert (house.project / "count").read_text().split().count("x") == 1
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _wait(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_is_carried_from_a_bucket_to_a_folder_and_to_another_bucket(
    house: House, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = house.open(command("a", "mkdir -p $TOWPATH_OUTPUTS/o; echo x > $TOWPATH_OUTPUTS/o/x", outputs=["o"]))
    house.drive(run_id)
    bundle.write(house.store, [run_id], tmp_path / "one.tar")
    folder = directory.open_store(tmp_path / "folder", create=True)
    _carry(tmp_path / "one.tar", folder)
    bundle.write(folder, [run_id], tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    other = support.make_bucket(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server}")
    there = s3.open_store(f"s3://{other.name}/x", create=True)
    assert _carry(tmp_path / "two.tar", there) > 5
    assert _carry(tmp_path / "two.tar", there) == 0
    assert Audit(there, None).run(run_id).findings == []


def _carry(path: Path, store: Store) -> int:
    with path.open("rb") as file:
        carried = bundle.read(file, path.name)
        bundle.admit(carried, store, None)
        return bundle.add(carried, store)


def test_what_old_runs_left_is_pruned_of_a_bucket(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = command("a", "mkdir -p $TOWPATH_OUTPUTS/o; cat big > $TOWPATH_OUTPUTS/o/x", outputs=["o"])
    ids = []
    for content in ("first", "second"):
        (house.project / "big").write_text(content)
        ids.append(house.open(stage))
        house.drive(ids[-1])
    at_once = replace(LIMITS, prune_grace_s=-5.0)
    monkeypatch.setattr("pipeline.prune.runs.LIMITS", at_once)
    rule = pruning.Rule(keep=1, older_than_s=-5.0)
    found = pruning.survey(house.store, rule)
    removed = pruning.remove(house.store, found, rule, house.key, lambda _: None)
    assert [each.run for each in removed] == [ids[0]]
    assert house.store.read(artifacts.blob_key(removed[0].sha256)) is None
    audit = Audit(house.store, None)
    assert [audit.run(each).findings for each in ids] == [[], []]
    assert audit.rest() == []


def test_an_audit_names_what_the_bucket_knows_to_have_been_deleted_or_written_again(
    house: House, faults: Faults
) -> None:
    run_id, other = (house.open(command("a", "true")) for _ in range(2))
    for each in (run_id, other):
        house.drive(each)
    report = Audit(house.store, None).run(run_id)
    assert report.findings == []
    assert report.versions
    place = Place.parse(os.environ["TOWPATH_STORE"])
    bucket = support.Bucket(place.bucket, faults.to).client
    again, gone = f"runs/{run_id}/a.1/00000001.json", f"runs/{other}/a.1/seal.json"
    bucket.put_object(Bucket=place.bucket, Key=f"shop/{again}", Body=house.store.read(again))
    bucket.delete_object(Bucket=place.bucket, Key=f"shop/{gone}")
    audit = Audit(house.store, None)
    [found] = audit.run(run_id).findings
    assert (found.grade, found.key) == ("broken", again)
    assert found.text.startswith("was written 2 times")
    assert {each.key: each.text[:11] for each in audit.run(other).findings if each.grade == "broken"} == {
        gone: "was deleted"
    }
    assert audit.rest() == [], "each is told once"
    for key in house.store.walk(f"runs/{other}"):
        bucket.delete_object(Bucket=place.bucket, Key=f"shop/{key}")
    assert f"runs/{other}/open/00000000.json" in {each.key for each in Audit(house.store, None).rest()}
    faults.add("refuse", lambda asked: "versions" in asked.path, times=99, status=403, code="AccessDenied")
    report = Audit(house.store, None).run(run_id)
    assert report.findings == []
    assert not report.versions
