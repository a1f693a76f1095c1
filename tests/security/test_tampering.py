"""A record that was changed after it was written is refused, and what was changed is named.

Exit code 4: something does not hold. Exit code 7: what is there holds, but something that should be there is not.
Removing a whole run, or a sealed run's last attempts with all that tells of them, needs a witness outside of the run.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.signing import new_key, trust_file

from pipeline.audit import verify
from pipeline.record import artifacts, chain, digest, runs, seals
from pipeline.record.store.directory import open_store
from pipeline.signing import dsse, signers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from security.conftest import Record


def files(record: Record) -> list[Path]:
    return sorted(path for path in record.root.rglob("*") if path.is_file())


def test_an_untouched_record_is_authentic(record: Record) -> None:
    said = record.verify(code=0)
    assert "authentic" in said
    assert record.key.public.fingerprint in said
    assert "Not proved" in said
    record.verify("--all", code=0)


def test_without_pinned_keys_it_is_consistent_and_no_more(record: Record) -> None:
    assert "consistent, not authenticated" in record.verify(code=7, trusted=False)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_no_byte_can_be_changed(copies: Callable[[], Record], choice: st.DataObject) -> None:
    record = copies()
    path = choice.draw(st.sampled_from(files(record)))
    data = path.read_bytes()
    at = choice.draw(st.integers(0, len(data) - 1))
    bit = choice.draw(st.integers(0, 7))
    path.chmod(0o640)
    path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
    try:
        assert not authentic(record), f"{path}, byte {at}, bit {bit}"
    finally:
        path.write_bytes(data)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_no_byte_can_be_removed_or_added(copies: Callable[[], Record], choice: st.DataObject) -> None:
    record = copies()
    path = choice.draw(st.sampled_from(files(record)))
    data = path.read_bytes()
    at = choice.draw(st.integers(0, len(data)))
    added = choice.draw(st.sampled_from([b"", b" ", b"\n", b"0"]))
    path.chmod(0o640)
    path.write_bytes(data[:at] + added + data[at if added else at + 1 :] if added or at < len(data) else data[:-1])
    try:
        assert not authentic(record), f"{path}, byte {at}, {added!r}"
    finally:
        path.write_bytes(data)


def authentic(record: Record) -> bool:
    """What `audit verify --all` decides by, without a process for each try."""
    try:
        store = open_store(record.root, create=False)
    except Exception:  # noqa: BLE001 - whatever is said of such a store, it is not that it is authentic
        return False
    audit = verify.Audit(store, signers.load_trust(record.trust))
    reports = [audit.run(each) for each in runs.run_ids(store)]
    return all(report.verdict == "authentic" for report in reports) and not audit.rest()


KINDS_OF_OBJECTS = [
    "runs/RUN/open/00000001.json",
    "runs/RUN/open/00000002.json",
    "runs/RUN/open/seal.json",
    "runs/RUN/make.1/00000000.json",
    "runs/RUN/make.1/00000002.json",
    "runs/RUN/last.1/00000003.json",
    "runs/RUN/make.1/seal.json",
    "runs/RUN/last.1/log/000000.jsonl",
]


@pytest.mark.parametrize("key", KINDS_OF_OBJECTS)
@pytest.mark.parametrize("at", ["begin", "middle", "end"])
def test_the_object_that_was_edited_is_named(small: Record, key: str, at: str) -> None:
    path = small.path(key)
    data = bytearray(path.read_bytes())
    data[{"begin": 0, "middle": len(data) // 2, "end": len(data) - 2}[at]] ^= 1
    path.write_bytes(data)
    assert str(path.relative_to(small.root)) in small.verify(code=4).splitlines()[0]


def test_format_of_the_store(small: Record) -> None:
    small.path("format.json").write_text('{"format": "towpath-store", "v":1}\n')
    assert "format.json" in small.verify(code=4)
    small.path("format.json").write_text("{}")
    assert "format.json" in small.verify(code=4)


def last_finished(record: Record, attempt: str) -> chain.Event:
    path = record.path(f"runs/RUN/{attempt}/00000002.json")
    return chain.decode(path.read_bytes(), f"runs/{record.run}/{attempt}")


@pytest.mark.parametrize("size", ["equal", "other"])
def test_a_replaced_artifact(record: Record, size: str) -> None:
    store = open_store(record.root, create=False)
    manifest = last_finished(record, "make.1").data["outputs"]["thing"]
    file = artifacts.manifest(store, manifest)[0]
    key = artifacts.blob_key(file.sha256)
    record.path(key).write_bytes(b"x" * (file.size if size == "equal" else file.size + 1))
    said = record.verify(code=4)
    assert key in said
    assert "the output thing of make.1" in said


@pytest.mark.parametrize("what", ["plan", "request", "manifest"])
def test_a_document_that_is_gone_or_swapped(record: Record, what: str) -> None:
    opened = json.loads(record.path("runs/RUN/open/00000001.json").read_bytes())
    intended = json.loads(record.path("runs/RUN/make.1/00000001.json").read_bytes())
    finished = last_finished(record, "make.1")
    sha256 = {
        "plan": opened["data"]["plan"],
        "request": intended["data"]["request"],
        "manifest": finished.data["outputs"]["thing"],
    }[what]
    key = artifacts.blob_key(sha256)
    before = record.path(key).read_bytes()
    record.path(key).write_bytes(before.replace(b'"v":1', b'"v": 1'))
    assert key in record.verify(code=4)
    record.path(key).unlink()
    said = record.verify(code=4)
    assert key in said
    assert "is missing" in said


@pytest.mark.parametrize("seq", range(4))
def test_a_deleted_event(record: Record, seq: int) -> None:
    record.path(f"runs/RUN/make.1/{seq:08d}.json").unlink()
    assert f"make.1/{seq:08d}.json" in record.verify(code=4)


def test_two_events_swapped(record: Record) -> None:
    one, two = (record.path(f"runs/RUN/make.1/{seq:08d}.json") for seq in (1, 2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert "make.1/00000002.json" in record.verify(code=4)


def test_an_inserted_event(record: Record) -> None:
    """Number 2 is ours, and the later ones move up."""
    lines = [record.path(f"runs/RUN/make.1/{seq:08d}.json") for seq in range(4)]
    datas = [line.read_bytes() for line in lines]
    forged = chain.encode(2, digest.of_bytes(datas[1]), chain.PHASE_INTENDED, {"phase": "apply"})
    for seq, data in enumerate([*datas[:2], forged, *datas[2:]]):
        record.path(f"runs/RUN/make.1/{seq:08d}.json").write_bytes(data)
    assert "make.1/00000004.json: was added" in record.verify(code=4)


def test_an_event_appended(record: Record) -> None:
    attempt = "use.2" if (record.root / "runs" / record.run / "use.2").exists() else "use.1"
    prev = digest.of_bytes(record.path(f"runs/RUN/{attempt}/00000003.json").read_bytes())
    line = chain.encode(4, prev, chain.PHASE_FINISHED, {})
    record.path(f"runs/RUN/{attempt}/00000004.json").write_bytes(line)
    assert f"{attempt}/00000004.json: was added" in record.verify(code=4)


def test_an_event_appended_to_an_attempt_that_was_given_up(small: Record) -> None:
    """Its writer might have come back to life: nobody vouches for what it then wrote."""
    prev = digest.of_bytes(small.path("runs/RUN/use.1/00000001.json").read_bytes())
    line = chain.encode(2, prev, chain.CHAIN_CLOSED, {"outcome": "canceled", "log": None})
    small.path("runs/RUN/use.1/00000002.json").write_bytes(line)
    assert "runs/RUN/use.1/".replace("RUN", small.run) in small.verify(code=7)


def test_lines_appended_to_the_log_of_an_attempt_that_was_given_up(small: Record) -> None:
    path = small.path("runs/RUN/use.1/log/000000.jsonl")
    if not path.exists():  # it was killed before its first segment
        path.parent.mkdir()
        lines: list[bytes] = []
    else:
        lines = path.read_bytes().splitlines()
    log = f"runs/{small.run}/use.1/log"
    opening = digest.of_bytes(small.path("runs/RUN/open/00000002.json").read_bytes())
    if not lines:
        lines = [chain.encode(0, None, chain.CHAIN_OPENED, {"chain": log, "opening": opening})]
    lines.append(chain.encode(len(lines), digest.of_bytes(lines[-1]), chain.LOG_LINE, {"text": "forged"}))
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert "use.1/log/000000.jsonl: no seal vouches for the lines" in small.verify(code=7)


def test_a_chain_cut_off(small: Record) -> None:
    small.path("runs/RUN/last.1/00000003.json").unlink()
    assert "last.1/00000003.json: is missing: seal.json was made over 4 events" in small.verify(code=4)


def test_a_chain_cut_off_with_its_seal(small: Record) -> None:
    """In the middle another chain says how long it was; the last one looks like an attempt that is still open."""
    for name in ("00000003.json", "seal.json"):
        small.path(f"runs/RUN/last.1/{name}").unlink()
    assert "last.1: the attempt is still open" in small.verify(code=7)
    for name in ("00000003.json", "seal.json"):
        small.path(f"runs/RUN/make.1/{name}").unlink()
    assert "make.1: ends otherwise" in small.verify(code=4)


def test_a_seal_dropped(small: Record) -> None:
    """One in the middle is made up for by the sealed chains that hold the same head, the last one is not."""
    small.path("runs/RUN/make.1/seal.json").unlink()
    assert "vouched for by the sealed chains that build on them: make.1, use.1" in small.verify(code=0)
    small.path("runs/RUN/last.1/seal.json").unlink()
    assert "last.1/seal.json: the chain is closed but not sealed" in small.verify(code=7)


def test_all_seals_dropped(record: Record) -> None:
    for seal in record.root.rglob("seal.json"):
        seal.unlink()
    assert "open/seal.json" in record.verify(code=7)


def test_the_last_attempt_dropped(small: Record) -> None:
    shutil.rmtree(small.path("runs/RUN/last.1"))
    assert "last.1: the stage has no attempt" in small.verify(code=7)


@pytest.mark.parametrize(("attempt", "says"), [("use.1", "is missing, and use.2 is there"), ("make.1", "is missing: ")])
def test_an_attempt_in_the_middle_dropped(small: Record, attempt: str, says: str) -> None:
    shutil.rmtree(small.path(f"runs/RUN/{attempt}"))
    assert f"{attempt}: {says}" in small.verify(code=4)


def test_the_opening_dropped(small: Record) -> None:
    shutil.rmtree(small.path("runs/RUN/open"))
    assert "open/00000000.json" in small.verify(code=4)


def test_logs_swapped_between_runs(record: Record) -> None:
    one, two = (record.path(f"runs/{run}/make.1/log/000000.jsonl") for run in ("RUN", "OTHER"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    said = record.verify(code=4)
    assert "make.1/log/000000.jsonl: the log was written for another chain or run" in said


def test_a_whole_log_dropped(record: Record) -> None:
    shutil.rmtree(record.path("runs/RUN/make.1/log"))
    assert "make.1/log: the log's end is missing" in record.verify(code=4)


@pytest.mark.parametrize("lines", [1, 3])
def test_the_end_of_a_log_cut_off(small: Record, lines: int) -> None:
    path = small.path("runs/RUN/last.1/log/000000.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))
    assert "last.1/log: the log's end is missing" in small.verify(code=4)


def test_a_line_added_to_a_log(small: Record) -> None:
    path = small.path("runs/RUN/last.1/log/000000.jsonl")
    lines = path.read_bytes().splitlines()
    lines.append(chain.encode(len(lines), digest.of_bytes(lines[-1]), chain.LOG_LINE, {"text": "forged"}))
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert "last.1/log/000000.jsonl: lines were added" in small.verify(code=4)


def test_attempts_swapped_between_runs(record: Record) -> None:
    one, two = (record.path(f"runs/{run}/make.1") for run in ("RUN", "OTHER"))
    one.rename(aside := record.root / "aside" / "x")
    two.rename(one)
    aside.rename(two)
    assert "make.1/00000000.json: its events were written for the chain" in record.verify(code=4)


def test_a_seal_moved_between_chains(small: Record) -> None:
    small.path("runs/RUN/last.1/seal.json").write_bytes(small.path("runs/RUN/use.2/seal.json").read_bytes())
    assert "last.1/seal.json: is the seal of another chain" in small.verify(code=4)


def test_a_foreign_key(record: Record, tmp_path: Path) -> None:
    stranger = new_key()
    record.trust = trust_file(tmp_path / "other-trust", stranger.public)
    said = record.verify(code=4)
    assert "seal.json" in said
    assert record.key.public.fingerprint in said


def test_a_key_that_is_enrolled_for_another_role(record: Record, tmp_path: Path) -> None:
    record.trust = tmp_path / "gate"
    record.trust.write_text(f'gate namespaces="towpath" {record.key.public.line}\n')
    assert "does not enrol as builder" in record.verify(code=4)


def test_a_key_that_no_longer_counted(record: Record, tmp_path: Path) -> None:
    record.trust = tmp_path / "expired"
    record.trust.write_text(f'builder namespaces="towpath",valid-before="20200101Z" {record.key.public.line}\n')
    assert "does not let count at" in record.verify(code=4)


def test_a_chain_written_anew_and_sealed_by_another_enrolled_key(small: Record, tmp_path: Path) -> None:
    """Every byte of it is well-formed; the chain itself says whose seal it must bear."""
    path = small.path("runs/RUN/last.1/seal.json")
    forger = new_key()
    small.trust = trust_file(tmp_path / "both", small.key.public, forger.public)
    _, head = seals.decode(path.read_bytes(), f"runs/{small.run}/last.1")
    path.write_bytes(seals.encode(head, forger))
    assert "last.1/seal.json: is signed by another key than its writer's" in small.verify(code=4)


def test_a_run_forged_by_a_stranger(small: Record) -> None:
    """The last attempt, with its outcome turned, sealed with a key that the forger put into the chain."""
    forger = new_key()
    base, prev = f"runs/{small.run}/last.1", None
    for seq in range(4):
        event = chain.decode(small.path(f"{base}/{seq:08d}.json").read_bytes(), base)
        data = {**event.data, "writer": {**event.data["writer"], "key": forger.public.line}} if seq == 0 else event.data
        line = chain.encode(seq, prev, event.type, data)
        small.path(f"{base}/{seq:08d}.json").write_bytes(line)
        prev = digest.of_bytes(line)
    small.path(f"{base}/seal.json").write_bytes(seals.encode(chain.Head(base, str(prev), 4), forger))
    assert "last.1/seal.json: is signed by a key that" in small.verify(code=4)
    assert "consistent, not authenticated" in small.verify(code=7, trusted=False)


def test_a_payload_of_another_type_is_no_seal(small: Record) -> None:
    """Whoever gets the runner to sign a statement must not get a seal by it."""
    path = small.path("runs/RUN/last.1/seal.json")
    envelope, _ = seals.decode(path.read_bytes(), f"runs/{small.run}/last.1")
    other = dsse.sign(dsse.IN_TOTO, envelope.payload, small.key)
    path.write_bytes(digest.canonical(other.as_json()))
    assert "last.1/seal.json: is of the type" in small.verify(code=4)
    renamed = dsse.Envelope(seals.TYPE, other.payload, other.signatures)
    path.write_bytes(digest.canonical(renamed.as_json()))
    assert "did not make over it" in small.verify(code=4)


def test_a_plan_swapped(small: Record) -> None:
    """By one that is whole, of the same stages, under the digest of the first."""
    sha256 = json.loads(small.path("runs/RUN/open/00000001.json").read_bytes())["data"]["plan"]
    key = artifacts.blob_key(sha256)
    small.path(key).write_bytes(small.path(key).read_bytes().replace(b"seq 40", b"seq 41"))
    assert f"{key}: holds other bytes than its name says: the plan" in small.verify(code=4)


@pytest.mark.parametrize(
    "key", ["runs/RUN/extra.1/00000000.json", "runs/RUN/note", "runs/RUN/make.1/note", "runs/RUN/open/log/000000.jsonl"]
)
def test_an_object_that_has_no_place(record: Record, key: str) -> None:
    path = record.path(key)
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    said = record.verify(code=4)
    assert str(path.relative_to(record.root)).rpartition("/")[0] in said


def test_an_unnamed_object_that_is_not_its_digest_is_found_with_all(record: Record) -> None:
    path = record.path(f"blobs/sha256/ab/ab{'0' * 62}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    record.verify(code=0)
    assert "ab000" in record.verify("--all", code=4)


def test_everything_found_is_listed_as_json(record: Record) -> None:
    record.path("runs/RUN/make.1/log/000000.jsonl").unlink()
    record.path("runs/RUN/use.1/log/000000.jsonl").unlink(missing_ok=True)
    record.path("runs/RUN/note").write_text("x")
    error = json.loads(record.verify(record.run, "--json", code=4))
    assert error["code"] == 4
    assert error["where"].endswith("make.1/log")


def test_reading_needs_no_right_to_write(record: Record) -> None:
    shutil.rmtree(record.root / "aside")  # as an archive of a store has no empty folders
    for path in [*record.root.rglob("*"), record.root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in record.root.rglob("*")}
    record.verify(code=0)
    assert {path: path.stat().st_mtime_ns for path in record.root.rglob("*")} == before
    for path in [*record.root.rglob("*"), record.root]:
        path.chmod(0o755 if path.is_dir() else 0o644)
