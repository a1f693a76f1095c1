"""What every store promises, held against each kind of store by one suite."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.common import open_store
from pipeline.errors import Blocked, UsageError
from pipeline.record import artifacts, chain, ledger, ledgers, runs
from pipeline.record.store import StoreError
from pipeline.record.writer import ChainWriter, LogReader, LogWriter, read_chain
from pipeline.signing import keys

if TYPE_CHECKING:
    from pipeline.record.store import Store

LARGE_BYTES = 40 * 1024**2
"""Above what S3 is sent in one put here."""


def test_what_was_put_is_there(store: Store) -> None:
    assert store.put_new("a/b.json", b"first")
    assert store.put_new("empty", b"")
    assert (store.read("a/b.json"), store.read("empty")) == (b"first", b"")


def test_an_object_is_never_changed(store: Store) -> None:
    assert store.put_new("a/b", b"first")
    assert not store.put_new("a/b", b"second")
    assert not store.put_new("a/b", b"first")
    assert store.read("a/b") == b"first"


def test_what_is_absent_is_none_and_lists_nothing(store: Store) -> None:
    store.put_new("file", b"")
    assert store.read("no/such") is None
    assert store.open("file/below") is None
    assert store.names("no") == store.walk("no") == []
    assert store.written_at("no") is None
    assert list(store.read_each(["no", "file", "no/such"])) == [None, b"", None]


def test_names_are_sorted_and_direct_and_a_walk_goes_all_the_way(store: Store) -> None:
    for key in ("p/b", "p/a", "p/c/d", "p/c/e/f", "pp/x"):
        store.put_new(key, b"")
    assert store.names("p") == ["a", "b", "c"]
    assert store.names("p/c") == ["d", "e"]
    assert {"format.json", "p", "pp"} <= set(store.names(""))
    assert store.walk("p") == ["p/a", "p/b", "p/c/d", "p/c/e/f"]
    assert {"format.json", "p/c/e/f", "pp/x"} <= set(store.walk(""))


def test_many_are_read_in_the_order_in_which_they_were_asked_for(store: Store) -> None:
    keys_ = [f"many/{number}" for number in range(100)]
    for key in keys_:
        store.put_new(key, key.encode())
    asked = [*reversed(keys_), "many/none", *keys_]
    assert [data.decode() if data else None for data in store.read_each(asked)] == [
        key if key != "many/none" else None for key in asked
    ]
    reading = store.read_each(asked)
    assert next(reading) == b"many/99"
    del reading  # who stops reading leaves nothing behind that goes on


def test_a_file_is_put_and_read_as_a_stream(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    path.write_bytes(b"".join(block[number:] + block[:number] for number in range(LARGE_BYTES >> 20)))
    with path.open("rb") as file:
        assert store.put_new("blobs/large", Path(f"/proc/self/fd/{file.fileno()}"))
    assert not store.put_new("blobs/large", path)
    stream = store.open("blobs/large")
    assert stream
    with stream:
        assert stream.seek(0, io.SEEK_END) == LARGE_BYTES
        stream.seek(LARGE_BYTES - 10)
        assert stream.read() == path.read_bytes()[-10:]
        stream.seek(0)
        assert stream.read(1 << 16) == path.read_bytes()[: 1 << 16]
        assert stream.read() == path.read_bytes()[1 << 16 :]


def test_the_time_of_writing_is_by_the_clock_that_now_is_of(store: Store) -> None:
    before = store.now()
    store.put_new("a", b"")
    written = store.written_at("a")
    assert written
    assert before - 2 <= written <= store.now() + 2  # S3 tells seconds
    assert abs(store.now() - time.time()) < 5


def test_old_content_is_removed_and_the_record_never(store: Store) -> None:
    key = artifacts.blob_key(artifacts.put_blob(store, b"content"))
    assert not store.remove(key, store.now() - 60), "it is younger than that"
    assert store.read(key) == b"content"
    assert store.remove(key, store.now() + 60)
    assert not store.remove(key, store.now() + 60)
    assert store.read(key) is None
    assert artifacts.blob_key(artifacts.put_blob(store, b"content")) == key
    assert store.read(key) == b"content"
    for each in ("runs/x/open/00000000.json", "ledgers/x/00000000.json", "inbox/x/y/z.json", "format.json"):
        with pytest.raises(StoreError, match="is no content"):
            store.remove(each, store.now() + 60)


def test_a_missing_store_is_a_mistake_of_the_user(location: str) -> None:
    with pytest.raises(UsageError, match="there is no store"):
        open_store(location, Path())
    assert open_store(location, Path(), create=True).read("format.json")
    assert open_store(location, Path()).location == location


def test_what_is_no_store_is_refused(store: Store, location: str) -> None:
    if location.startswith("s3://"):
        store._bucket._s3.put_object(**store._bucket._at("format.json"), Body=b'{"format": "other"}')  # type: ignore[attr-defined]
    else:
        path = Path(location, "format.json")
        path.unlink()
        path.write_text('{"format": "other"}')
    for create in (True, False):
        with pytest.raises(StoreError, match="is not a store of this version"):
            open_store(location, Path(), create=create)


def test_of_threads_that_put_the_same_key_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        for key in ("a", "b", "c"):
            won = list(pool.map(lambda number, key=key: store.put_new(key, b"%d" % number), range(16)))
            assert won.count(True) == 1
            assert store.read(key) == b"%d" % won.index(True)


WRITERS = 8


def _contend(arguments: tuple[str, int, int, int, str]) -> tuple[list[int], int]:
    """Claim what can be had, then write into one ledger until it is long enough; gives the claims won, the entries made."""
    location, me, claims, entries, key = arguments
    store = open_store(location, Path())
    signing = keys.load(Path(key))
    won = [
        number
        for number in range(claims)
        if ChainWriter(store, f"runs/r/stage{number}.1", None).open({"opening": "x", "by": me})
    ]
    made = 0
    book = ledgers.read(store, "ledgers/l")
    while (book.head.length if book.head else 0) < entries:
        told = {"rules": {}, "run": f"{me}.{made}"}
        try:
            book = ledgers.append(store, book, [(ledger.TARGET_ENROLLED, told)], signing)
            made += 1
        except Blocked:
            book = ledgers.read(store, "ledgers/l")
    return won, made


def test_eight_processes_that_claim_and_append_lose_fork_and_double_nothing(
    store: Store, location: str, tmp_path: Path
) -> None:
    claims, entries = (1940, 60) if store.local else (120, 20)
    key = tmp_path / "key"
    keys.make(key)
    with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
        began = time.monotonic()
        done = pool.map(_contend, [(location, me, claims, entries, str(key)) for me in range(WRITERS)], chunksize=1)
        took_s = time.monotonic() - began
    print(f"\n{location}: {WRITERS} processes, {claims} claims and {entries} entries in {took_s:.1f} s")
    assert sorted(number for won, _ in done for number in won) == list(range(claims))
    for me, (won, _) in enumerate(done):
        for number in won:
            [first] = read_chain(store, f"runs/r/stage{number}.1")
            assert first.data["by"] == me
    book = ledgers.read(store, "ledgers/l")
    told = [event.data["run"] for event in book.events if event.type == ledger.TARGET_ENROLLED]
    assert len(told) == len(set(told)) == sum(made for _, made in done)
    assert len(book.events) == len(told) + 1
    for me, (_, made) in enumerate(done):
        assert [each for each in told if each.startswith(f"{me}.")] == [f"{me}.{number}" for number in range(made)]


def test_a_run_and_its_log_are_read_as_they_were_written(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.make(path)
    run_id = runs.open_run(store, {"plan": artifacts.put_json(store, {})}, keys.load(path))
    opening = runs.load(store, run_id)
    writer = ChainWriter(store, runs.chain_name(run_id, "build.1"), keys.load(path))
    claim = {
        "opening": opening.head.digest,
        "stage": "build",
        "attempt": 1,
        "inputs": {},
        "builds_on": [],
        "follows": None,
    }
    assert writer.open(claim)
    log = LogWriter(store, runs.log_name(run_id, "build", 1), opening.head.digest)
    log.line({"text": "one"})
    log.flush()
    reader = LogReader(store, log.name)
    assert [event.type for event in reader.new()] == [chain.CHAIN_OPENED, chain.LOG_LINE]
    log.line({"text": "two"})
    log.flush()
    assert [event.data["text"] for event in reader.new()] == ["two"]
    writer.close({"outcome": "succeeded", "log": log.head.as_json()})
    loaded = runs.load(store, run_id)
    assert loaded.last("build") is not None
    assert loaded.head == opening.head
    assert runs.find(store, "latest") == run_id
