"""Prunes of real stores: what goes, what stays, and what can still be proved."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, TARGET, decide, gated
from support.machine import TOWPATH
from support.plans import House, command, killed_in, run_process, runner_argv
from support.signing import new_key

from pipeline import inherit
from pipeline.audit import verify
from pipeline.errors import VerificationFailed, Waiting
from pipeline.prune import runs as pruning
from pipeline.prune.runs import Known, Rule, keeping
from pipeline.record import artifacts, chain, ledger, ledgers, prunes, runs
from pipeline.record.ledger import Ledger
from pipeline.record.store import StoreError
from pipeline.record.store.directory import DirectoryStore, open_store
from pipeline.signing import signers

if TYPE_CHECKING:
    from pipeline.plan import PlannedStage
    from pipeline.record.prunes import Removal

DAY_S = 86_400.0
NOW = 1000 * DAY_S
KEEP_NONE = Rule(0, 30 * DAY_S)


def make(content: str) -> PlannedStage:
    script = f"mkdir $TOWPATH_OUTPUTS/thing; echo {content} > $TOWPATH_OUTPUTS/thing/file; echo all > $TOWPATH_OUTPUTS/thing/same"
    return command("make", script, outputs=["thing"])


def made(house: House, content: str, *more: PlannedStage) -> str:
    run_id = house.open(make(content), *more)
    house.drive(run_id)
    return run_id


def aged(house: House, days: float = 100) -> None:
    """Make everything in the store that many days older."""
    for path in house.store.root.rglob("*"):
        if path.is_file():
            at = path.stat().st_mtime - days * DAY_S
            os.utime(path, (at, at))


def prune(house: House, rule: Rule = KEEP_NONE) -> list[Removal]:
    found = pruning.survey(house.store, rule)
    return pruning.remove(house.store, found, rule, house.key, lambda _: None)


def content(house: House, run_id: str) -> dict[str, bool]:
    """Whether the content of each file that a run's stage handed on is there."""
    files = artifacts.manifest(house.store, house.load(run_id).attempts["make"][0].outputs["thing"])
    return {each.path: house.store.read(artifacts.blob_key(each.sha256)) is not None for each in files}


def trusting(house: House) -> signers.Trust:
    return signers.trust(f'builder,gate namespaces="towpath" {house.key.public.line}\n', "trust")


def found(house: House, trust: signers.Trust | None = None) -> list[str]:
    """What an audit of all finds."""
    audit = verify.Audit(house.store, trust or trusting(house))
    reports = [audit.run(each) for each in runs.run_ids(house.store)]
    return [str(each) for report in reports for each in report.findings] + [str(each) for each in audit.rest()]


# Which runs are kept: pure


def event(kind: str, run: str, **more: Any) -> chain.Event:
    return chain.Event(0, None, kind, "", {"run": run, "stage": "deploy", **more}, "")


def book(*deployed: str, begun: str | None = None, failed: str | None = None) -> Ledger:
    events = [event(ledger.DEPLOYMENT_FINISHED, each, outcome="succeeded") for each in deployed]
    events += [event(ledger.DEPLOYMENT_FINISHED, failed, outcome="failed")] if failed else []
    intents: dict[tuple[str, str], dict[str, Any]] = {(begun, "deploy"): {}} if begun else {}
    current = {"run": deployed[-1]} if deployed else None
    return Ledger("ledgers/x", intents=intents, current=current, events=tuple(events))


OLD = NOW - 31 * DAY_S


def known(*ids: str, **changed: Any) -> list[Known]:
    return [Known(each, **{"written_at": OLD, "alive": False, "proposes": frozenset(), **changed}) for each in ids]


@pytest.mark.parametrize(
    ("runs_known", "books", "rule", "kept"),
    [
        (known("1", "2", "3"), [], Rule(0, 30 * DAY_S), set()),
        (known("1", "2", "3"), [], Rule(2, 30 * DAY_S), {"2", "3"}),
        (known("1", "2", "3"), [], Rule(9, 30 * DAY_S), {"1", "2", "3"}),
        (known("1", "2"), [], Rule(0, 32 * DAY_S), {"1", "2"}),
        ([*known("1", alive=True), *known("2")], [], Rule(0, 0), {"1"}),
        ([*known("1", proposes=frozenset({"ledgers/x"})), *known("2")], [], Rule(0, 0), {"1"}),
        ([*known("1", proposes=frozenset({"ledgers/x"})), *known("2")], [book("2")], Rule(0, 0), {"2"}),
        ([*known("3", proposes=frozenset({"ledgers/x"})), *known("2")], [book("2")], Rule(0, 0), {"2", "3"}),
        ([*known("1", "2"), *known("3", inherits=frozenset({"1"}))], [], Rule(1, 0), {"1", "3"}),
        ([*known("1", "2"), *known("3", inherits=frozenset({"1"})), *known("4")], [], Rule(1, 0), {"4"}),
        (known("1", "2", "3"), [book("1", "2", "3")], Rule(0, 0, deployments=1), {"2", "3"}),
        (known("1", "2", "3"), [book("1", "3", "3")], Rule(0, 0, deployments=1), {"1", "3"}),
        (known("1", "2", "3"), [book("3", begun="1", failed="2")], Rule(0, 0, deployments=0), {"1", "3"}),
    ],
)
def test_which_runs_are_kept(runs_known: list[Known], books: list[Ledger], rule: Rule, kept: set[str]) -> None:
    assert keeping(runs_known, books, rule, NOW) == kept


def test_a_digest_is_needed_whoever_mentions_it() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert pruning.mentioned({"a": [f"repository@{one}", {two: None}], "b": "sha256:3"}) == {one, two}


# Real stores


def test_content_of_old_runs_goes_and_what_proves_them_stays(house: House) -> None:
    first, second = made(house, "first"), made(house, "second")
    aged(house)
    last = made(house, "last")
    removed = prune(house)
    assert {each.run for each in removed} == {first, second}
    assert content(house, first) == {"file": False, "same": True}  # which the last run has too
    assert content(house, last) == {"file": True, "same": True}
    assert found(house) == []
    audit = verify.Audit(house.store, trusting(house))
    report = audit.run(first)
    assert report.verdict == "authentic"
    [pruned] = report.pruned.values()
    assert pruned.contents == {each.sha256 for each in removed if each.run == first}
    assert pruned.prune.by == house.key.public.fingerprint
    assert pruned.prune.rule == {"keep": 0, "older_than_s": 30 * DAY_S, "deployments": 10}


def test_what_nobody_touched_for_long_is_kept_by_number(house: House) -> None:
    ids = [made(house, str(number)) for number in range(3)]
    aged(house)
    prune(house, Rule(2, 0))
    assert [content(house, each)["file"] for each in ids] == [False, True, True]


def test_a_second_prune_finds_nothing(house: House) -> None:
    made(house, "first")
    aged(house)
    assert prune(house)
    assert prune(house) == []
    assert len(house.store.names("prunes")) == 1


def test_content_that_nothing_names_goes_and_what_was_put_today_stays(house: House) -> None:
    made(house, "first")
    old, new = artifacts.put_blob(house.store, b"left by a kill"), b"of an attempt under way"
    aged(house)
    artifacts.put_blob(house.store, new)
    assert old in {each.sha256 for each in prune(house, Rule(9, 0)) if each.run is None}
    assert len(prune(house, Rule(9, 0))) == 0
    assert house.store.read(artifacts.blob_key(artifacts.put_blob(house.store, new))) == new


def test_a_run_that_waits_is_kept_until_a_later_one_was_deployed(house: House) -> None:
    deploy = dataclasses.replace(gated(house, rules()), needs=["make"])
    old = house.open(make("old"), deploy, **ASKED)
    with pytest.raises(Waiting):
        house.drive(old)
    aged(house)
    assert prune(house) == []
    decide(house, old, "alice")
    house.drive(old)
    aged(house)
    assert prune(house) == []  # it is what was deployed last
    assert found(house) == []
    assert ledgers.read(house.store, ledger.name_of(TARGET)).used


def test_a_run_under_way_elsewhere_is_kept(house: House) -> None:
    started = house.project / "use.started"
    run_id = house.open(make("thing"), command("use", f"touch {started}; sleep 30", needs=("make",)))
    with subprocess.Popen(runner_argv(house, run_id)) as runner:
        while not started.exists():
            time.sleep(0.02)
        aged(house)
        assert prune(house) == []
        runner.terminate()
        runner.wait(20)
    assert content(house, run_id) == {"file": True, "same": True}


def test_a_run_that_was_killed_long_ago_is_not_kept_and_says_why_it_cannot_go_on(house: House) -> None:
    started = house.project / "use.started"
    use = command("use", f"test -e {started} || (touch {started}; sleep 30)", needs=("make",), inputs={"thing": "make"})
    run_id = house.open(make("thing"), use)
    killed_in(house, run_id, "use")
    aged(house)
    assert prune(house)
    said = run_process(house, run_id)
    assert said.returncode == 4
    assert "was pruned on" in said.stderr
    assert "towpath run" in said.stderr or "prunes/" in said.stderr


def test_content_that_another_run_names_meanwhile_stays(house: House) -> None:
    first = made(house, "first")
    aged(house)
    rule = KEEP_NONE
    survey = pruning.survey(house.store, rule)
    assert survey.removals
    again = made(house, "first")  # between the survey and the removal
    assert pruning.remove(house.store, survey, rule, house.key, lambda _: None) == []
    assert content(house, first) == content(house, again) == {"file": True, "same": True}


def test_an_old_run_that_is_gone_on_with_meanwhile_keeps_what_it_has(house: House) -> None:
    started = house.project / "use.started"
    use = command("use", f"test -e {started} || (touch {started}; sleep 30)", needs=("make",), inputs={"thing": "make"})
    run_id = house.open(make("thing"), use)
    killed_in(house, run_id, "use")
    aged(house)
    survey = pruning.survey(house.store, KEEP_NONE)
    assert survey.removals
    assert run_process(house, run_id).returncode == 0
    aged(house)
    pruning.remove(house.store, survey, KEEP_NONE, house.key, lambda _: None)
    assert content(house, run_id) == {"file": True, "same": True}


def test_what_a_run_opened_meanwhile_takes_over_stays(house: House) -> None:
    """Its opening names an older run's attempt, and nothing of what that handed on."""
    older = made(
        house, "old", command("use", "cat $TOWPATH_INPUTS/thing/file", needs=("make",), inputs={"thing": "make"})
    )
    aged(house)
    survey = pruning.survey(house.store, KEEP_NONE)
    assert survey.removals
    plan, run = house.plans[older], house.load(older)
    rerun = house.open(*plan.stages.values(), inherits=inherit.as_json(run, inherit.begin_at(plan, run, ["use"])))
    pruning.remove(house.store, survey, KEEP_NONE, house.key, lambda _: None)
    assert house.drive(rerun).done("use")
    aged(house)
    prune(house, Rule(1, 0))
    assert content(house, older) == content(house, rerun) == {"file": True, "same": True}


def test_nothing_is_pruned_of_a_store_in_which_a_run_cannot_be_read(house: House) -> None:
    made(house, "first")
    second = made(house, "second")
    aged(house)
    path = house.store.root / "runs" / second / "make.1/00000001.json"
    path.chmod(0o640)
    path.write_bytes(path.read_bytes().replace(b"apply", b"appl "))
    with pytest.raises(VerificationFailed, match=r"make\.1"):
        prune(house)


# What a record of a prune proves


def record(house: House) -> Path:
    [name] = house.store.names("prunes")
    path = house.store.root / "prunes" / name
    path.chmod(0o640)
    return path


def test_content_that_somebody_just_removed_is_missing(house: House) -> None:
    run_id = made(house, "first")
    [file, _] = artifacts.manifest(house.store, house.load(run_id).attempts["make"][0].outputs["thing"])
    (house.store.root / artifacts.blob_key(file.sha256)).unlink()
    assert [each for each in found(house) if "is missing: file in the output thing" in each]


def test_a_record_by_a_key_that_does_not_count_excuses_nothing(house: House) -> None:
    run_id = made(house, "first")
    aged(house)
    survey = pruning.survey(house.store, KEEP_NONE)
    pruning.remove(house.store, survey, KEEP_NONE, new_key(), lambda _: None)
    said = found(house)
    assert [each for each in said if "is missing" in each]
    assert [each for each in said if "does not enrol as builder" in each]
    assert verify.Audit(house.store, None).run(run_id).verdict == "consistent"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(b'"payload":"ey', b'"payload":"eZ', "prunes/"), (b'"sig":"', b'"sig": "', "canonical"), (b"prune.v1", b"prune.v2", "of the type")],
)  # fmt: skip
def test_a_record_that_was_changed_excuses_nothing(house: House, before: bytes, after: bytes, said: str) -> None:
    made(house, "first")
    aged(house)
    prune(house)
    path = record(house)
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))
    assert [each for each in found(house) if said in each]
    assert [each for each in found(house) if "is missing" in each]


def test_a_document_that_a_verdict_rests_on_is_missing_whoever_says_that_it_was_pruned(house: House) -> None:
    run_id = made(house, "first")
    request = json.loads(house.store.read(f"runs/{run_id}/make.1/00000001.json") or b"")["data"]["request"]
    prune_id = runs.new_run_id(datetime.now(UTC))
    prunes.put(house.store, prune_id, {}, [prunes.Removal(run_id, request, 1)], house.key)
    (house.store.root / artifacts.blob_key(request)).unlink()
    report = verify.Audit(house.store, trusting(house)).run(run_id)
    assert report.verdict == "incomplete"
    assert "was pruned on" in str(report.findings[0])


# Kills and races

KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.prune import runs as pruning
from pipeline.record.store.directory import DirectoryStore, open_store
from pipeline.signing import keys
left, remove, rename = int(sys.argv[3]), DirectoryStore.remove, Path.rename
def killed(path, *arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, *arguments)
Path.rename = killed
store, rule = open_store(Path(sys.argv[1]), create=False), pruning.Rule(0, 30 * 86400)
found = pruning.survey(store, rule)
pruning.remove(store, found, rule, keys.load(Path(sys.argv[2])), lambda _: None)
"""


def test_a_prune_that_was_killed_is_finished_by_the_next(house: House) -> None:
    ids = [made(house, str(number)) for number in range(4)]
    aged(house)
    before = len(pruning.survey(house.store, KEEP_NONE).removals)
    argv = [sys.executable, "-c", KILLED, str(house.store.root), str(house.key_path), "3"]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    gone = [each for each in ids if not content(house, each)["file"]]
    assert 0 < len(gone) < len(ids)
    assert found(house) == []
    aged(house, 1)
    assert len(prune(house)) == before - 2
    assert not any(content(house, each)["file"] for each in ids)
    assert found(house) == []


def _put_all(arguments: tuple[str, int]) -> list[int]:
    root, count = arguments
    store = open_store(Path(root), create=False)
    return [number for number in range(count) if store.put_new(f"blobs/{number}", str(number).encode())]


def _remove_all(arguments: tuple[str, int]) -> list[int]:
    root, count = arguments
    store = open_store(Path(root), create=False)
    return [number for number in range(count) if store.remove(f"blobs/{number}", time.time() - DAY_S)]


def _turn(arguments: tuple[bool, tuple[str, int]]) -> list[int]:
    puts, rest = arguments
    return _put_all(rest) if puts else _remove_all(rest)


def test_what_is_put_while_it_is_removed_is_there_afterwards(tmp_path: Path) -> None:
    """Whoever comes first: content that was put again is never taken away by a prune that had found it old."""
    store, count = open_store(tmp_path, create=True), 400
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        for _ in range(3):
            for number in range(count):
                store.put_new(f"blobs/{number}", str(number).encode())
                os.utime(tmp_path / f"blobs/{number}", (0, 0))
            work = (str(tmp_path), count)
            pool.map(_turn, [(True, work), (False, work), (False, work)], chunksize=1)
            assert all(store.read(f"blobs/{number}") == str(number).encode() for number in range(count))


def test_what_killed_writers_left_goes_once_it_is_old(house: House) -> None:
    aside = house.store.root / "aside"
    (aside / "old").write_text("half of")
    aged(house)
    (aside / "new").write_text("under way")
    assert pruning.clear(house.store) == 1
    assert [path.name for path in aside.iterdir()] == ["new"]


def test_nothing_but_content_can_be_removed(house: House) -> None:
    run_id = made(house, "first")
    for key in (f"runs/{run_id}/open/00000000.json", "format.json", "ledgers/x/00000000.json", "blobs"):
        with pytest.raises(StoreError, match="may be removed"):
            house.store.remove(key, time.time() + DAY_S)


def test_runs_of_equal_content_while_a_prune_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner of its own makes just what is about to be removed, again and again."""
    for number in range(6):
        made(house, str(number % 3))
    aged(house)
    again = [house.open(make(str(number % 3))) for number in range(6)]
    remove = DirectoryStore.remove

    def slowly(store: DirectoryStore, key: str, before: float) -> bool:
        time.sleep(0.15)
        return remove(store, key, before)

    monkeypatch.setattr(DirectoryStore, "remove", slowly)
    script = "\n".join(f"{shlex.join(runner_argv(house, each))} || exit 1" for each in again)
    with subprocess.Popen(["/bin/sh", "-c", script]) as runner:
        while runner.poll() is None:
            prune(house)
        assert runner.returncode == 0
    assert all(all(content(house, each).values()) for each in again)
    assert found(house) == []


# The command


def towpath(house: House, *arguments: str, code: int = 0) -> str:
    argv = [TOWPATH, *arguments, "--store", str(house.store.root)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "TOWPATH_KEY": str(house.key_path)})  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_the_command(house: House, tmp_path: Path) -> None:
    run_id = made(house, "first")
    aged(house)
    (tmp_path / "trust").write_text(f'builder,gate namespaces="towpath" {house.key.public.line}\n')
    trust = ("--trust", str(tmp_path / "trust"))
    would = json.loads(towpath(house, "prune", "--runs", "--keep", "0", "--dry-run", "--json", *trust))
    assert content(house, run_id)["file"]
    assert would["records"] == []
    assert "2 contents of 1 runs removed" in towpath(house, "prune", "--runs", "--keep", "0", *trust)
    assert content(house, run_id) == {"file": False, "same": False}
    said = towpath(house, "audit", "verify", "--all", *trust)
    assert "authentic  2 files pruned" in said
    assert "2 files of artifacts" in towpath(house, "audit", "verify", "latest", *trust)
    told = json.loads(towpath(house, "audit", "verify", "latest", "--json", *trust))
    assert told["runs"][0]["pruned"][0]["contents"] == sorted(each["sha256"] for each in would["removed"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "prune needs to know what"),
        (("--runs", "--images"), "prune needs to know what"),
        (("--runs", "--older-than", "soon"), "is no age"),
        (("--images", "--older-than", "3d"), "is for --runs"),
    ],
)
def test_mistakes(house: House, options: tuple[str, ...], said: str) -> None:
    assert said in towpath(house, "prune", *options, code=2)
