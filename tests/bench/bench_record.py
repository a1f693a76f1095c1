"""What a record costs: appending an event beside a bare write and fsync, and reading and verifying a long log."""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

from pipeline.audit import logs
from pipeline.record import chain
from pipeline.record.store.directory import open_store
from pipeline.record.writer import ChainWriter, LogWriter, follow_log, read_log

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = 300
LINES = 1_000_000


def test_append(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", create=True)
    writer = ChainWriter(store, "runs/r/a.1", None)
    writer.open({})
    line = b'{"phase":"apply","outcome":"succeeded"}' * 20
    ours, bare = [], []
    for number in range(EVENTS):
        started = time.perf_counter()
        writer.append(chain.PHASE_FINISHED, {"n": number, "facts": {"x": "y" * 700}})
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        descriptor = os.open(tmp_path / f"bare{number}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o440)
        os.write(descriptor, line)
        os.fsync(descriptor)
        os.close(descriptor)
        bare.append(time.perf_counter() - started)
    for name, taken in (("append, durable", ours), ("write and fsync", bare)):
        print(f"{name:<18} {statistics.median(taken) * 1e6:8.0f} us")
    print(f"{'ratio':<18} {statistics.median(ours) / statistics.median(bare):8.1f}")
    assert statistics.median(ours) < max(0.001, 3 * statistics.median(bare))  # where the disk itself is slow


def test_a_long_log(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", create=True)
    started = time.perf_counter()
    log = LogWriter(store, "runs/r/a.1/log", "sha256:" + "0" * 64)
    for number in range(LINES - 1):
        log.line(
            {"phase": "apply", "stream": "stdout", "text": f"line {number}: the quick brown fox jumps over the dog"}
        )
    log.flush()
    written_s = time.perf_counter() - started
    taken = {"written": written_s}
    for name, read in (("verified line by line", follow_log), ("verified and kept", read_log)):
        started = time.perf_counter()
        (end,) = deque(read(store, "runs/r/a.1/log"), maxlen=1)
        taken[name] = time.perf_counter() - started
        assert chain.Head("runs/r/a.1/log", end.digest, end.seq + 1) == log.head
    started = time.perf_counter()
    told = [logs.Told(log.head.length, log.head.digest, "chain.closed", final=True)]
    segments = ((key, store.read(f"{log.name}/{key}") or b"") for key in store.names(log.name))
    assert logs.examine(log.name, "sha256:" + "0" * 64, segments, told) == logs.Log(LINES, ())
    taken["audited"] = time.perf_counter() - started
    for name, seconds in taken.items():
        print(f"{LINES:,} lines {name:<22} {seconds:6.1f} s")
    assert max(taken["verified line by line"], taken["audited"]) < 10
