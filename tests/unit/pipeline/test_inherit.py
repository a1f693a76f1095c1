from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, TARGET, decide, done, gated
from support.plans import command

from pipeline import inherit
from pipeline.audit import rules as audited
from pipeline.audit.verify import Audit
from pipeline.errors import Blocked, StageFailed, VerificationFailed, Waiting
from pipeline.gates import subjects
from pipeline.record import chain, ledger, ledgers
from pipeline.record.replay import Attempt, Run
from pipeline.record.writer import event_key, read_chain
from pipeline.standings import Wish

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.plan import PlannedStage
    from pipeline.record.store.directory import DirectoryStore

MAKE = command(
    "make", "echo x >> $0/count; mkdir $TOWPATH_OUTPUTS/thing; cp $0/count $TOWPATH_OUTPUTS/thing/", outputs=["thing"]
)
USE = command("use", "cat $TOWPATH_INPUTS/thing/count; test -e $0/go", needs=("make",), inputs={"thing": "make"})
AFTER = command("after", "true", needs=("use",))
BESIDE = command("beside", "echo x >> $0/beside")


def _here(house: House, *stages: PlannedStage) -> list[PlannedStage]:
    """The stages, with `$0` as the project's folder."""
    return [
        dataclasses.replace(each, options={**each.options, "run": [*each.options["run"], str(house.project)]})
        for each in stages
    ]


def _rerun(house: House, older: str, *begins: str) -> str:
    run, plan = house.load(older), house.plans[older]
    told = inherit.as_json(run, inherit.begin_at(plan, run, begins))
    return house.open(*plan.stages.values(), inherits=told, requester={"user": "grace"})


@pytest.fixture
def failed(house: House) -> str:
    """A run of which `use` failed, and `make` and `beside` were done."""
    run_id = house.open(*_here(house, MAKE, USE, AFTER, BESIDE), requester={"user": "ada"})
    with pytest.raises(StageFailed):
        house.drive(run_id)
    (house.project / "go").touch()
    return run_id


def test_what_came_before_is_taken_over_and_not_done_again(house: House, failed: str) -> None:
    new = _rerun(house, failed, "use")
    run = house.drive(new)
    assert {name: each[-1].outcome for name, each in run.attempts.items()} == dict.fromkeys(
        ("make", "use", "after", "beside"), "succeeded"
    )
    older, made = house.load(failed).done("make"), run.done("make")
    assert older is not None
    assert made is not None
    assert (made.outputs, made.inherited) == (older.outputs, {"run": failed, "attempt": 1, **older.head.as_json()})
    assert (house.project / "count").read_text() == (house.project / "beside").read_text() == "x\n"
    types = [event.type for event in read_chain(house.store, f"runs/{new}/make.1")]
    assert types == [chain.CHAIN_OPENED, chain.RESULT_INHERITED, chain.CHAIN_CLOSED]
    assert Audit(house.store, None).run(new).verdict == "consistent"
    assert "use" not in inherit.begin_at(house.plans[new], run, ["make"])


def test_what_was_taken_over_is_taken_over_from_where_it_was_made(house: House, failed: str) -> None:
    new = _rerun(house, failed, "use")
    house.drive(new)
    newer = house.drive(_rerun(house, new, "after"))
    assert {name: each[-1].inherited and each[-1].inherited["run"] for name, each in newer.attempts.items()} == {
        "make": failed,
        "beside": failed,
        "use": new,
        "after": None,
    }
    assert subjects.requesters(newer.data) == ["grace", "grace", "ada"]
    assert Audit(house.store, None).run(newer.id).verdict == "consistent"


def test_killed_before_it_took_over_it_takes_over_all_the_same(house: House, failed: str) -> None:
    new = _rerun(house, failed, "use")
    house.drive(new, Wish(only=frozenset({"beside"})))
    run = house.drive(new)
    assert run.done("after")
    assert (house.project / "beside").read_text() == "x\n"


def test_what_was_not_done_is_done_and_all_that_comes_after_it(house: House, failed: str) -> None:
    run, plan = house.load(failed), house.plans[failed]
    assert set(inherit.begin_at(plan, run, ["after"])) == {"make", "beside"}
    assert set(inherit.begin_at(plan, run, ["make"])) == {"beside"}
    assert set(inherit.begin_at(plan, run, ["beside"])) == {"make"}


def test_an_older_run_whose_record_changed_is_not_taken_over_from(house: House, failed: str) -> None:
    new = _rerun(house, failed, "use")
    path = house.store.root / event_key(f"runs/{failed}/make.1", 2)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"succeeded", b"succeeded "))
    with pytest.raises(VerificationFailed):
        house.drive(new)
    assert not house.load(new).attempts["make"][0].outputs


@pytest.mark.parametrize("changed", ["outputs", "from", "gone"])
def test_an_audit_holds_it_against_the_older_run(house: House, failed: str, changed: str) -> None:
    """Catches a record in which a stage is said to be taken over that came to something else, or nowhere."""
    run, plan = house.load(failed), house.plans[failed]
    told = inherit.as_json(run, inherit.begin_at(plan, run, ["use"]))
    if changed == "from":
        told["stages"]["make"]["attempt"] = 7
    new = house.open(*plan.stages.values(), inherits=told)
    if changed == "from":
        with pytest.raises(VerificationFailed, match="takes over make from run"):
            house.drive(new)
        return
    house.drive(new)
    if changed == "gone":
        folder = house.store.root / f"runs/{failed}"
        folder.rename(house.project / "elsewhere")
        report = Audit(house.store, None).run(new)
        assert report.verdict == "incomplete"
        assert any(f"runs/{failed}" in each.key for each in report.findings)
        return
    made = house.load(new).done("make")
    assert made is not None
    events = tuple(read_chain(house.store, f"runs/{new}/make.1"))
    lying = events[1]._replace(data={**events[1].data, "outputs": {"thing": "sha256:" + "0" * 64}})
    found = audited.inherited(house.load(new), made, (events[0], lying, events[2]), house.load)
    assert [each.grade for each in found] == ["broken"]
    assert audited.inherited(house.load(new), made, events, house.load) == []


def test_an_older_run_that_is_broken_is_told_of_once_however_much_is_taken_over(house: House, failed: str) -> None:
    new = _rerun(house, failed, "use")
    house.drive(new)
    path = house.store.root / event_key(f"runs/{failed}/use.1", 1)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"apply", b"apple"))
    told = [each for each in Audit(house.store, None).run(new).findings if each.grade == "broken"]
    assert [each.key for each in told] == [f"runs/{failed}"]


def test_only_what_is_taken_over_is_read_of_the_older_run(
    house: House, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = house.load(_rerun(house, failed, "use"))
    read: set[str] = set()
    names = type(house.store).names

    def note(store: DirectoryStore, prefix: str) -> list[str]:
        read.add(prefix)
        return names(store, prefix)

    monkeypatch.setattr(type(house.store), "names", note)
    assert inherit.taken_over(house.store, run, "make")
    assert read == {f"runs/{failed}/open", f"runs/{failed}/make.1"}  # and not beside, use and their logs


def test_what_the_opening_does_not_say_is_not_taken_over() -> None:
    from pipeline.record.chain import Event, Head

    run = Run("r", Head("runs/r/open", "", 3), "", "", {})
    made = Attempt("make", 1, Head("runs/r/make.1", "", 3), "", "", {}, {}, None, (), outcome="succeeded")
    taken = Event(1, "", chain.RESULT_INHERITED, "", {"from": {}, "outputs": {}, "facts": {}, "statements": []}, "")
    found = audited.inherited(run, made, (taken, taken), lambda _: None)
    assert ["the run's opening says nothing of that" in str(each) for each in found] == [True]
    told: dict[str, Any] = {"stages": {"make": {"run": "o", "attempt": 1, "chain": "c", "head": "h", "length": 3}}}
    done = Event(1, "", chain.PHASE_INTENDED, "", {"phase": "apply"}, "")
    found = audited.inherited(dataclasses.replace(run, data={"inherits": told}), made, (done, done), lambda _: None)
    assert ["does what the run's opening says is taken over" in str(each) for each in found] == [True]


def test_an_opening_that_is_not_of_the_form_is_refused(house: House) -> None:
    stages: dict[str, Any] = {"make": {}}
    forms: list[dict[str, Any]] = [{}, {"stages": {}}, {"stages": stages, "requesters": []}]
    for told in (*forms, {"stages": {}, "requesters": [1]}):
        run_id = house.open(command("a", "true"), inherits=told)
        with pytest.raises(VerificationFailed, match="inherits"):
            house.load(run_id)


def test_a_deployment_that_was_replaced_since_is_not_taken_over(house: House) -> None:
    stage = gated(house, rules())
    after = command("after", "test -e $0/go", needs=("migrate",))
    run_id = house.open(stage, *_here(house, after), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice")
    with pytest.raises(StageFailed):
        house.drive(run_id)
    run, plan = house.load(run_id), house.plans[run_id]
    taken = inherit.begin_at(plan, run, ["after"])
    inherit.refuse_replaced(house.store, plan, run, taken, None)
    _deployed_by(house, "20990101-000000-2222")
    with pytest.raises(
        Blocked, match=r"no longer what stands at production \(demo\): run 20990101-000000-2222 deployed"
    ) as refused:
        inherit.refuse_replaced(house.store, plan, run, taken, None)
    assert refused.value.hint == "Start anew, with the source as it is now: towpath run"
    _deployed_by(house, run_id)
    new = _rerun(house, run_id, "after")
    (house.project / "go").touch()
    again = house.drive(new)
    assert again.done("after")
    assert done(house) == 1  # what was deployed is not deployed again
    inherit.refuse_replaced(house.store, plan, again, inherit.begin_at(plan, again, ["after"]), None)


def _deployed_by(house: House, run_id: str) -> None:
    """Write into the ledger that a stack was deployed by this run."""
    book = ledgers.read(house.store, ledger.name_of(TARGET))
    told = {"run": run_id, "stage": "deploy"}
    intent = {**book.events[2].data, **told, "kind": "deploy", "approvals": []}
    outcome = {**told, "outcome": "succeeded", "functions": {}}
    ledgers.append(
        house.store,
        book,
        [(ledger.DEPLOYMENT_INTENDED, intent), (ledger.DEPLOYMENT_FINISHED, outcome)],
        house.key,
    )
