"""What nobody tampered with is never called broken: runners killed at any write, runs that take turns, rules that change.

Every step is audited as an auditor would, with the keys pinned. While something is under way an audit may say that something
is missing; once all is done it finds nothing at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.approvers import SigningKey, rules
from support.gated import ASKED, TARGET, decide, gated
from support.plans import House
from support.signing import trust_line

from pipeline import engine, gating
from pipeline.audit import verify
from pipeline.errors import Blocked, Rejected, TowpathError, Waiting
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY, Rules
from pipeline.record import ledger, ledgers, runs
from pipeline.record.store.directory import DirectoryStore, open_store
from pipeline.signing import signers
from pipeline.standings import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TWO, ONE = rules(people=2), rules(people=1)
SCANNED = Rules(people=0, approvers={}, identities={}, expires_s=0, scan="required")


def trust(house: House) -> signers.Trust:
    return signers.trust(trust_line(house.key.public, "builder,gate"), "trust")


def findings(house: House) -> list[str]:
    audit = verify.Audit(house.store, trust(house))
    found = [each for run in runs.run_ids(house.store) for each in audit.run(run).findings] + audit.rest()
    assert [str(each) for each in found if each.grade == "broken"] == []
    return [str(each) for each in found]


def finish(house: House, run_id: str, *people: str) -> None:
    """Go on with a run until it is done; whenever it waits, these people approve. Audited after every step."""
    for _ in range(6):
        try:
            house.drive(run_id)
        except Waiting:
            for person in people:
                decide(house, run_id, person)
        findings(house)
        if house.load(run_id).done("migrate"):
            return
    pytest.fail("it does not come to an end")


class Mortal(DirectoryStore):
    """A store whose process dies at one of its writes: just after it, or just before."""

    left: Iterator[int]

    def put_new(self, key: str, data: bytes | Path) -> bool:
        if next(self.left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().put_new(key, data)


def killed_at(house: House, run_id: str, write: int) -> bool:
    """Go on with a run in a process that is killed at this write; False if it came to its end before."""
    child = os.fork()
    if child == 0:
        mortal = Mortal(house.store.root)
        mortal.left = itertools.count(write, -1)
        inner = House(house.project, mortal, house.plans, house.trust)
        try:
            with contextlib.suppress(TowpathError):
                inner.drive(run_id)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def before_nothing(_house: House) -> None:
    """The target's first deployment."""


def before_stricter(house: House) -> None:
    finish(house, house.open(gated(house, TWO), **ASKED), "alice", "bob")


def before_scanned(house: House) -> None:
    finish(house, house.open(gated(house, SCANNED), **ASKED))


@pytest.mark.parametrize(
    ("before", "wanted", "people"),
    [
        (before_nothing, NOBODY, ()),
        (before_nothing, ONE, ("alice",)),
        (before_stricter, ONE, ("alice", "bob")),
        (before_scanned, NOBODY, ()),
    ],
    ids=["nobody need approve", "one must", "weaker rules", "no scan any longer"],
)
def test_killed_at_any_write(
    tmp_path: Path, before: Callable[[House], None], wanted: Rules, people: tuple[str, ...]
) -> None:
    for write in itertools.count():
        project = tmp_path / f"{write}" / "project"
        project.mkdir(parents=True)
        house = House(project, open_store(tmp_path / f"{write}" / "store", create=True))
        house.trust = trust(house)
        before(house)
        run_id = house.open(gated(house, wanted), **ASKED)
        if people:
            with pytest.raises(Waiting):
                house.drive(run_id)
            for person in people:
                decide(house, run_id, person)
        if not killed_at(house, run_id, write):
            assert write > 8
            return
        findings(house)
        finish(house, run_id, *people)
        unsealed = "its writer was killed before it could"  # nobody seals for a dead writer, and the last attempt has no successor
        assert [each for each in findings(house) if unsealed not in each] == []


def test_two_runs_take_turns_on_one_target(house: House) -> None:
    """The first is in the middle of its deployment while the second begins and ends its own."""
    first, second = (house.open(gated(house, ONE), **ASKED) for _ in range(2))
    for run_id in (first, second):
        with pytest.raises(Waiting):
            house.drive(run_id)
        decide(house, run_id, "alice")
    _begin(house, first)
    assert house.drive(second).done("migrate")
    findings(house)
    finish(house, first, "alice")
    assert findings(house) == []


def _begin(house: House, run_id: str) -> None:
    """Kill the runner once the ledger has its intent."""
    for write in itertools.count():
        if ledgers.read(house.store, ledger.name_of(TARGET)).intents:
            return
        assert killed_at(house, run_id, write)


def test_a_deployment_that_comes_while_another_has_begun(house: House) -> None:
    """It is held up until the other one is over, and that says nothing against either."""
    pause = house.project / "second.done"
    first = house.open(
        gated(house, ONE, f"test -e {pause} || for i in $(seq 100); do test -e {pause} && break; sleep 0.1; done"),
        **ASKED,
    )
    second = house.open(gated(house, ONE, "true"), **ASKED)
    for run_id in (first, second):
        with pytest.raises(Waiting):
            house.drive(run_id)
        decide(house, run_id, "alice")
    child = os.fork()
    if child == 0:
        try:
            house.drive(first)
        finally:
            os._exit(0)
    while not (book := ledgers.read(house.store, ledger.name_of(TARGET))).intents:
        assert len(book.events) < 4
    with pytest.raises(Blocked, match="is deploying here"):
        house.drive(second)
    pause.touch()
    os.waitpid(child, 0)
    assert house.load(first).done("migrate")
    assert house.drive(second).done("migrate")
    assert findings(house) == []
    used = ledgers.read(house.store, ledger.name_of(TARGET)).used
    assert len(used) == 2


def test_rules_become_stricter_and_weaker_by_turns(house: House) -> None:
    for wanted in (ONE, TWO, ONE, NOBODY, SCANNED, NOBODY, TWO):
        finish(house, house.open(gated(house, wanted), **ASKED), "alice", "bob")
        assert findings(house) == []


def test_rejected_and_then_a_new_run(house: House) -> None:
    run_id = house.open(gated(house, ONE), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "bob", "reject")
    for wish in (Wish(), Wish(), Wish(again=frozenset({"migrate"}))):
        with pytest.raises(Rejected):
            house.drive(run_id, wish)
        assert findings(house) == []
    finish(house, house.open(gated(house, ONE), **ASKED), "alice")
    assert findings(house) == []


def test_failed_and_tried_again(house: House) -> None:
    script = f"test -e {house.project}/mended || {{ touch {house.project}/mended; exit 3; }}"
    finish_after_failure(house, house.open(gated(house, ONE, script), **ASKED))


def test_timed_out_and_tried_again(house: House) -> None:
    script = f"test -e {house.project}/mended || {{ touch {house.project}/mended; sleep 60; }}"
    stage = dataclasses.replace(gated(house, ONE, script), timeout_s=1)
    finish_after_failure(house, house.open(stage, **ASKED))


def finish_after_failure(house: House, run_id: str) -> None:
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice")
    with pytest.raises(TowpathError):
        house.drive(run_id)
    findings(house)
    finish(house, run_id, "alice")
    assert findings(house) == []


def test_proposed_and_applied_one_by_one(house: House) -> None:
    """`stage propose` twice, also where nobody need approve; then `stage apply`."""
    for wanted in (NOBODY, ONE):
        run_id = house.open(gated(house, wanted), **ASKED)
        for _ in range(2):
            context = house.context(run_id)
            context.propose_only = True
            with contextlib.suppress(Waiting):
                engine.drive(context, Wish(only=frozenset({"migrate"})), 1)
            [waits] = findings(house)
            assert "waits for approval: the run is not finished" in waits
        finish(house, run_id, "alice")
        assert findings(house) == []


def test_an_environment_renamed(house: House) -> None:
    finish(house, house.open(gated(house, ONE), **ASKED), "alice")
    stage = gated(house, ONE)
    assert stage.target
    renamed = dataclasses.replace(stage, target=dataclasses.replace(stage.target, environment="prod"))
    run_id = house.open(renamed, **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice", target={**statements.target_of(TARGET), "environment": "prod"})
    assert house.drive(run_id).done("migrate")
    assert findings(house) == []


def test_what_strangers_put_into_the_inbox(house: House) -> None:
    """Whatever lies there, the two who approve are counted; a statement may lie there twice, once with another's signature."""
    run_id = house.open(gated(house, TWO), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    for person in ("alice", "bob"):
        decide(house, run_id, person)
    box = house.store.root / gating.inbox(run_id, "migrate")
    for number, path in enumerate(list(box.iterdir())):
        statement, _ = statements.open_up(path.read_bytes())
        forged = statements.seal_up(statement, SigningKey("mallory").sign(statement))
        (box / f"{number}-first.json").write_bytes(forged)
        (box / f"z{number}-last.json").write_bytes(forged)
    (box / "empty").write_bytes(b"")
    (box / "no-json").write_bytes(b"x" * 100)
    (box / "folder").mkdir()
    late = box / "0-late"
    late.write_bytes(b"{}")
    os.utime(late, (2**40, 2**40))
    assert house.drive(run_id).done("migrate")
    assert findings(house) == []
