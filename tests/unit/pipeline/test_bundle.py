"""Bundles of real runs, carried between real stores."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.approvers import rules
from support.gated import ASKED, decide, deployed, gated, release
from support.machine import TOWPATH
from support.plans import House, command, killed_in, run_process
from support.signing import new_key, trust_file

from pipeline import bundle, inherit
from pipeline.audit import verify
from pipeline.errors import UsageError, VerificationFailed, Waiting
from pipeline.record import artifacts, identities, runs, waiting
from pipeline.record.store.directory import open_store
from pipeline.signing import signers
from pipeline.standings import Wish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.audit.run import Report
    from pipeline.record.store.directory import DirectoryStore

MAKE = command("make", "mkdir $TOWPATH_OUTPUTS/thing; seq 9 > $TOWPATH_OUTPUTS/thing/file", outputs=["thing"])
USE = command("use", "cat $TOWPATH_INPUTS/thing/file", needs=("make",), inputs={"thing": "make"})
APART = command("apart", "echo apart")


def exported(house: House, *run_ids: str, name: str = "bundle.tar") -> Path:
    path = house.project.parent / name
    bundle.write(house.store, run_ids, path)
    return path


def imported(path: Path, store: DirectoryStore, trust: signers.Trust | None = None) -> tuple[list[Report], int]:
    with path.open("rb") as file:
        found = bundle.read(file, path.name)
        return bundle.admit(found, store, trust), bundle.add(found, store)


def other(house: House, name: str = "other") -> DirectoryStore:
    return open_store(house.project.parent / name, create=True)


def objects(store: DirectoryStore) -> dict[str, bytes]:
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and path.parent.name != "aside"
    }


def trusting(house: House) -> signers.Trust:
    line = f'builder,gate namespaces="towpath" {house.key.public.line}\n'
    return signers.trust(line, "trust")


def verdicts(store: DirectoryStore, trust: signers.Trust) -> set[str]:
    audit = verify.Audit(store, trust)
    return {audit.run(each).verdict for each in runs.run_ids(store)}


@pytest.fixture
def done(house: House) -> tuple[House, str]:
    """A store with a run of two stages that is over."""
    run_id = house.open(MAKE, USE)
    house.drive(run_id)
    return house, run_id


def test_a_run_is_as_authentic_where_it_is_carried_to(done: tuple[House, str]) -> None:
    house, run_id = done
    house.drive(house.open(APART))  # which nobody asked for
    there = other(house)
    reports, new = imported(exported(house, run_id), there, trusting(house))
    assert [report.verdict for report in reports] == ["authentic"]
    assert runs.run_ids(there) == [run_id]
    assert new == len(objects(there)) - 1  # format.json was made with the store
    ours = objects(house.store)
    assert all(ours[key] == data for key, data in objects(there).items())
    assert verdicts(there, trusting(house)) == {"authentic"}


def test_equal_records_give_equal_bundles_and_a_second_import_changes_nothing(done: tuple[House, str]) -> None:
    house, run_id = done
    path, there = exported(house, run_id), other(house)
    imported(path, there)
    before = objects(there)
    assert imported(path, there)[1] == 0
    assert objects(there) == before
    again = house.project.parent / "again.tar"
    bundle.write(there, [run_id], again)
    assert again.read_bytes() == path.read_bytes()


def test_a_gated_run_brings_its_ledger_its_approvals_and_the_run_that_made_the_rules_weaker(house: House) -> None:
    for wanted, people in ((rules(people=2), ("alice", "bob")), (rules(people=1), ("alice", "bob"))):
        run_id = house.open(gated(house, wanted), **ASKED)
        with pytest.raises(Waiting):
            house.drive(run_id)
        for person in people:
            decide(house, run_id, person)
        house.drive(run_id)
    last = house.open(gated(house, rules(people=1), "echo other"), **ASKED)
    with pytest.raises(Waiting):
        house.drive(last)
    decide(house, last, "carol")
    there = other(house)
    written = bundle.write(house.store, [last], house.project.parent / "bundle.tar")
    assert len(written.runs) == 2
    imported(house.project.parent / "bundle.tar", there, trusting(house))
    assert waiting.listed(there) == {last: [("migrate", 1)]}
    carried = House(house.project, there, house.plans)
    assert carried.drive(last).done("migrate")
    assert verdicts(there, trusting(house)) == {"authentic"}


def test_a_run_brings_the_one_that_it_takes_over_from(done: tuple[House, str]) -> None:
    house, older = done
    told = inherit.as_json(house.load(older), inherit.begin_at(house.plans[older], house.load(older), ["use"]))
    run_id = house.open(MAKE, USE, inherits=told)
    house.drive(run_id)
    there = other(house)
    imported(exported(house, run_id), there, trusting(house))
    assert runs.run_ids(there) == sorted([older, run_id])
    assert verdicts(there, trusting(house)) == {"authentic"}


def test_a_run_brings_those_whose_openings_tell_that_they_do_not_make_it_outdated(house: House) -> None:
    """It deployed after one that was opened later, by its id, but with the source of an older one."""
    older = house.open(*release(house), **ASKED)
    run_id = house.open(*release(house), **ASKED)
    rerun = house.open(*release(house), **ASKED, inherits=inherit.as_json(house.load(older), {}))
    newer = house.open(*release(house), **ASKED)
    deployed(house, rerun)
    deployed(house, newer)
    needed, _ = bundle.needed(house.store, [run_id])
    assert needed == sorted([older, run_id, rerun])


def test_a_run_of_a_ci_system_is_found_where_it_is_carried_to(house: House) -> None:
    run_id = house.open(MAKE, identity="build 7")
    identities.name(house.store, "build 7", run_id)
    house.drive(run_id)
    there = other(house)
    imported(exported(house, run_id), there)
    assert runs.of_identity(there, "build 7") == run_id
    rival = House(house.project, other(house, "rival"))
    identities.name(rival.store, "build 7", rival.open(MAKE, identity="build 7"))
    with pytest.raises(VerificationFailed, match=r"identities/.* other bytes"):
        imported(exported(house, run_id), rival.store)


def test_stages_that_two_machines_drove_apart_come_together(house: House) -> None:
    run_id = house.open(MAKE, APART, USE)
    copies = []
    for stage in ("make", "apart"):
        shutil.copytree(house.store.root, house.project.parent / stage)
        copy = House(house.project, open_store(house.project.parent / stage, create=False), house.plans)
        copy.drive(run_id, Wish(only=frozenset({stage})))
        copies.append(copy)
    there = other(house)
    for copy in copies:
        imported(exported(copy, run_id), there)
    run = runs.load(there, run_id)
    assert run.done("make")
    assert run.done("apart")
    assert House(house.project, there, house.plans).drive(run_id).done("use")
    assert verdicts(there, trusting(house)) == {"authentic"}


def test_a_forked_attempt_is_refused_and_nothing_is_imported(house: House) -> None:
    run_id = house.open(MAKE)
    shutil.copytree(house.store.root, house.project.parent / "fork")
    fork = House(house.project, open_store(house.project.parent / "fork", create=False), house.plans)
    there = other(house)
    fork.drive(run_id)
    imported(exported(fork, run_id), there)
    before = objects(there)
    house.drive(run_id)
    with pytest.raises(VerificationFailed, match=r"make\.1/00000000\.json: .* other bytes"):
        imported(exported(house, run_id), there)
    assert objects(there) == before


def test_a_run_under_way_is_carried_and_goes_on_elsewhere(house: House) -> None:
    started = house.project / "use.started"
    slow = command(
        "use", f"test -e {started} && exit 0; touch {started}; sleep 60", needs=("make",), inputs={"thing": "make"}
    )
    run_id = house.open(MAKE, slow)
    killed_in(house, run_id, "use")
    there = other(house)
    [report], _ = imported(exported(house, run_id), there, trusting(house))
    assert report.verdict == "incomplete"
    carried = House(house.project, there, house.plans)
    assert run_process(carried, run_id).returncode == 0
    assert verdicts(there, trusting(house)) == {"authentic"}


def test_other_keys_than_those_that_count_are_refused(done: tuple[House, str]) -> None:
    house, run_id = done
    strangers = signers.load_trust(trust_file(house.project / "trust", new_key().public))
    there = other(house)
    with pytest.raises(VerificationFailed, match="does not enrol as builder"):
        imported(exported(house, run_id), there, strangers)
    assert list(objects(there)) == ["format.json"]


def rewritten(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """Write a bundle anew with other members, and with the right count of them."""
    with tarfile.open(path) as tar:
        members = []
        for each in tar.getmembers():
            file = tar.extractfile(each)
            assert file
            members.append((each, file.read()))
    change(members)
    about, data = members[0]
    told = {**json.loads(data), "objects": len(members) - 1}
    members[0] = (about, json.dumps(told).encode())
    changed = path.with_name("changed.tar")
    with tarfile.open(changed, "w") as tar:
        for each, content in members:
            each.size = 0 if each.islnk() or each.issym() else len(content)
            tar.addfile(each, io.BytesIO(content))
    return changed


def add(name: str, data: bytes = b"x", **more: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        header = tarfile.TarInfo(name)
        for key, value in more.items():
            setattr(header, key, value)
        members.append((header, data))

    return change


def edit(name: str, *data: bytes) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    """Put other bytes into the first member of this name, or take it out."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        at = next(at for at, (header, _) in enumerate(members) if name in header.name)
        members[at : at + 1] = [(members[at][0], each) for each in data]

    return change


ALIEN = "blobs/sha256/00/" + "0" * 64
HOSTILE = {
    "above": (add("../../etc/cron.d/x"), "has no place in a bundle"),
    "absolute": (add("/etc/passwd"), "has no place in a bundle"),
    "inside out": (add("runs/../../x"), "has no place in a bundle"),
    "index": (add("waiting/format.json"), "has no place in a bundle"),
    "aside": (add("aside/x"), "has no place in a bundle"),
    "symbolic link": (add(ALIEN, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
    "hard link": (add(ALIEN, type=tarfile.LNKTYPE, linkname="format.json"), "no plain file"),
    "folder": (add("runs/20260101-000000-aaaa/open", b"", type=tarfile.DIRTYPE), "no plain file"),
    "device": (add(ALIEN, b"", type=tarfile.CHRTYPE), "no plain file"),
    "other content": (add(ALIEN), "holds other bytes than its name says"),
    "twice": (lambda members: members.append(members[-1]), "is there twice"),
    "other format": (edit("format.json", b"{}"), "format.json"),
    "an event less": (edit("make.1/00000001.json"), r"make\.1/00000001\.json: is missing"),
    "a content less": (edit("blobs/"), "is missing"),
    "a seal of somebody else": (edit("make.1/seal.json", b"{}"), "seal.json"),
    "an identity of nobody": (add("identities/" + "0" * 64 + ".json", b"{}"), "identities/"),
    "a run twice opened": (add("runs/20260101-000000-aaaa/open/00000000.json", b"{}"), "20260101-000000-aaaa"),
}


@pytest.mark.parametrize("how", sorted(HOSTILE))
def test_what_no_export_writes_is_refused(done: tuple[House, str], how: str) -> None:
    house, run_id = done
    change, said = HOSTILE[how]
    there = other(house)
    before = objects(there)
    changed = rewritten(exported(house, run_id), change)
    with pytest.raises(VerificationFailed, match=said):
        imported(changed, there)
    assert objects(there) == before


def test_a_tar_that_begins_with_something_else(done: tuple[House, str]) -> None:
    house, run_id = done
    path = exported(house, run_id)
    headless = path.with_name("headless.tar")
    with tarfile.open(path) as tar, tarfile.open(headless, "w") as out:
        for each in tar.getmembers()[1:]:
            out.addfile(each, tar.extractfile(each))
    with pytest.raises(VerificationFailed, match="has no place in a bundle"):
        imported(headless, other(house))


def test_a_bundle_that_was_cut_off_is_refused_wherever_it_ends(done: tuple[House, str]) -> None:
    house, run_id = done
    path = exported(house, run_id)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        ends = [each.offset_data + (each.size + 511) // 512 * 512 for each in tar.getmembers()]
    for end in [0, 1, 511, *ends[:-1], *(each - 100 for each in ends[:-1])]:
        path.write_bytes(whole[:end])
        with pytest.raises(VerificationFailed), path.open("rb") as file:
            bundle.read(file, path.name)


@pytest.mark.parametrize("text", [b"", b"no tar", b"\x1f\x8b" + b"0" * 600, b"\0" * 20_000])
def test_what_is_no_bundle(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(text)
    done = subprocess.run([TOWPATH, "bundle", "import", path, "--store", tmp_path / "s"], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 4
    assert "is not a bundle" in done.stderr
    assert not (tmp_path / "s").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_a_changed_byte_is_refused_or_makes_no_difference(done: tuple[House, str], choice: st.DataObject) -> None:
    house, run_id = done
    path = exported(house, run_id)
    data = bytearray(path.read_bytes())
    at, bit = choice.draw(st.integers(0, len(data) - 1)), choice.draw(st.integers(0, 7))
    data[at] ^= 1 << bit
    path.write_bytes(data)
    place = house.project.parent / "place"
    shutil.rmtree(place, ignore_errors=True)
    there = open_store(place, create=True)
    try:
        imported(path, there)
    except VerificationFailed:
        assert list(objects(there)) == ["format.json"]
    else:
        assert verdicts(there, trusting(house)) == {"authentic"}


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline import bundle, inherit
from pipeline.record.store.directory import DirectoryStore, open_store
left, put_new = int(sys.argv[3]), DirectoryStore.put_new
def put(self, key, data):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return put_new(self, key, data)
store = open_store(Path(sys.argv[2]), create=True)
DirectoryStore.put_new = put
with open(sys.argv[1], "rb") as file:
    found = bundle.read(file, "bundle")
    bundle.admit(found, store, None)
    bundle.add(found, store)
"""


def test_an_import_killed_at_any_write_leaves_no_run_that_does_not_hold(done: tuple[House, str]) -> None:
    house, run_id = done
    path = exported(house, run_id)
    with path.open("rb") as file:
        count = len(bundle.in_order(bundle.read(file, path.name))) - 1
    trust = trusting(house)
    for number in {0, 1, count // 2, *range(count - 9, count)}:
        there = other(house, f"killed-{number}")
        argv = [sys.executable, "-c", KILLED, str(path), str(there.root), str(number)]
        assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
        with pytest.raises(UsageError, match=r"never opened|no run"):
            runs.load(there, runs.find(there, "latest"))
        assert imported(path, there, trust)[1] == count - number
        assert verdicts(there, trust) == {"authentic"}


def test_the_commands(done: tuple[House, str], tmp_path: Path) -> None:
    house, run_id = done
    trust = trust_file(house.project / "trust", house.key.public)

    def towpath(*arguments: str, code: int = 0) -> dict[str, Any]:
        argv = [TOWPATH, "bundle", *arguments, "--json"]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ})
        assert ended.returncode == code, ended.stderr
        told: dict[str, Any] = json.loads(ended.stderr if code else ended.stdout)
        return told

    told = towpath("export", "latest", "--store", str(house.store.root))
    assert told["runs"] == [run_id]
    file = told["file"]
    assert (tmp_path / file).stat().st_size == told["bytes"]
    first = towpath("import", file, "--store", "there", "--trust", str(trust))
    assert first["runs"] == {run_id: "authentic"}
    assert first["new"] == first["objects"] - 1
    assert towpath("import", file, "--store", "there")["new"] == 0
    event = tmp_path / "there/runs" / run_id / "make.1/00000002.json"
    event.chmod(0o640)
    event.write_bytes(event.read_bytes() + b" ")
    assert towpath("import", file, "--store", "there", code=4)["where"].endswith("make.1/00000002.json")
    assert "cannot read" in towpath("import", "none", code=2)["message"]
    assert (
        "cannot write"
        in towpath("export", "latest", "--store", str(house.store.root), "-o", "no/such/x.tar", code=1)["message"]
    )


def test_large_content_goes_through_a_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.bundle._AT_ONCE_BYTES", 10)
    run_id = house.open(dataclasses.replace(MAKE))
    house.drive(run_id)
    there = other(house)
    imported(exported(house, run_id), there)
    digest = runs.load(there, run_id).attempts["make"][0].outputs["thing"]
    artifacts.materialise(there, digest, house.project / "thing")
    assert (house.project / "thing/file").read_text().split() == list("123456789")
