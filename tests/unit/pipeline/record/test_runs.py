from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.signing import new_key

from pipeline.errors import UsageError, VerificationFailed
from pipeline.record import chain, runs
from pipeline.record.store.directory import DirectoryStore, open_store
from pipeline.record.writer import ChainWriter, LogWriter, read_log

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return open_store(tmp_path / "store", create=True)


def claim(store: DirectoryStore, run_id: str, stage: str, number: int, **more: object) -> ChainWriter:
    writer = ChainWriter(store, runs.chain_name(run_id, f"{stage}.{number}"), None)
    data = {
        "opening": runs.load(store, run_id).head.digest,
        "stage": stage,
        "attempt": number,
        "inputs": {},
        "builds_on": [],
        "follows": None,
    }
    assert writer.open({**data, **more})
    return writer


def test_ids_sort_by_time_and_make_dns_labels() -> None:
    early, late = (runs.new_run_id(datetime(2026, 1, 2, hour, tzinfo=UTC)) for hour in (3, 14))
    assert early < late
    handle = runs.handle(late, "a" * 20, 999)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", f"{handle}-propose")


def test_finding_a_run(store: DirectoryStore) -> None:
    first, second = runs.open_run(store, {"plan": "a"}, new_key()), runs.open_run(store, {"plan": "b"}, new_key())
    assert runs.find(store, "latest") == max(first, second)
    assert runs.find(store, first) == first
    assert runs.find(store, first[-4:]) == first
    with pytest.raises(UsageError, match="2 runs match"):
        runs.find(store, first[:4])
    with pytest.raises(UsageError, match="no run matches"):
        runs.find(store, "nope")


def test_ids_of_one_second_sort_by_time_and_the_latest_is_one_that_was_opened(store: DirectoryStore) -> None:
    moments = [datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=UTC) for microsecond in range(0, 1_000_000, 5_000)]
    ids = [runs.new_run_id(moment) for moment in moments]
    assert ids == sorted(ids)
    opened = runs.open_run(store, {"plan": "a"}, new_key())
    (store.root / "runs/29991231-235959-zzzz/open").mkdir(parents=True)
    assert runs.find(store, "latest") == opened


def test_an_empty_store_says_how_to_begin(store: DirectoryStore) -> None:
    with pytest.raises(UsageError) as caught:
        runs.find(store, "latest")
    assert caught.value.hint == "Start one: towpath run"


def test_a_run_whose_opening_was_cut_off_is_not_a_run(store: DirectoryStore) -> None:
    writer = ChainWriter(store, "runs/20260101-000000-aaaa/open", None)
    writer.open({})
    writer.append(chain.RUN_OPENED, {"plan": "sha256:0"})
    with pytest.raises(UsageError, match="never opened"):
        runs.load(store, "20260101-000000-aaaa")


def test_an_attempt_is_claimed_once(store: DirectoryStore) -> None:
    run_id = runs.open_run(store, {"plan": "x"}, new_key())
    claim(store, run_id, "build", 1)
    other = ChainWriter(store, runs.chain_name(run_id, "build.1"), None)
    assert not other.open({"stage": "build", "attempt": 1})


def test_a_writer_notices_that_another_wrote_to_its_chain(store: DirectoryStore) -> None:
    run_id = runs.open_run(store, {"plan": "x"}, new_key())
    writer = claim(store, run_id, "build", 1)
    store.put_new(f"runs/{run_id}/build.1/00000001.json", b"something else")
    with pytest.raises(VerificationFailed, match="someone else wrote event 1"):
        writer.append(chain.PHASE_INTENDED, {"phase": "apply"})


def test_an_attempt_of_another_run_is_refused(store: DirectoryStore) -> None:
    one, two = runs.open_run(store, {"plan": "x"}, new_key()), runs.open_run(store, {"plan": "y"}, new_key())
    foreign = ChainWriter(store, runs.chain_name(two, "build.1"), None)
    foreign.open(
        {
            "opening": runs.load(store, one).head.digest,
            "stage": "build",
            "attempt": 1,
            "inputs": {},
            "builds_on": [],
            "follows": None,
        }
    )
    with pytest.raises(VerificationFailed, match="does not refer to this run's opening"):
        runs.load(store, two)


def test_an_unknown_event_is_refused_rather_than_guessed_at(store: DirectoryStore) -> None:
    run_id = runs.open_run(store, {"plan": "x"}, new_key())
    claim(store, run_id, "build", 1).append("phase.improved", {})
    with pytest.raises(VerificationFailed, match=r"unknown type 'phase\.improved'"):
        runs.load(store, run_id)


def test_a_log_keeps_every_line_over_segments(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record.writer.LIMITS", type("L", (), {"log_segment_bytes": 500, "log_segment_s": 60}))
    log = LogWriter(store, "runs/r/build.1/log", "sha256:0")
    for number in range(50):
        log.line({"text": f"line {number}\u2028\r\x1b"})
    log.flush()
    assert len(store.names("runs/r/build.1/log")) > 3
    events = read_log(store, "runs/r/build.1/log")
    assert [event.data["text"] for event in events[1:]] == [f"line {n}\u2028\r\x1b" for n in range(50)]
    assert chain.head(events, log.name) == log.head


def test_a_lost_segment_is_named(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record.writer.LIMITS", type("L", (), {"log_segment_bytes": 1, "log_segment_s": 60}))
    log = LogWriter(store, "runs/r/build.1/log", "sha256:0")
    for number in range(5):
        log.line({"text": str(number)})
    (store.root / "runs/r/build.1/log/000002.jsonl").unlink()
    with pytest.raises(VerificationFailed, match="segment 2 is missing"):
        read_log(store, "runs/r/build.1/log")
