"""Who holds a runner's key writes what he likes, and an audit finds that it was not let through.

`rewrite` writes an attempt's chain anew, with every link and its seal in order, by the key that the run was opened with. So what
is refused here is refused for what it says. The ledger is written by the gate's key, which in these tests is the same: where an attack
needs only the builder's, the ledger is left as it is.
"""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, TARGET, decide, gated
from support.plans import House, killed_in
from support.signing import trust_line

from pipeline.audit import verify
from pipeline.errors import Rejected, StageFailed, VerificationFailed, Waiting
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY, Rules
from pipeline.record import artifacts, chain, digest, ledger, ledgers, runs, seals
from pipeline.record.writer import event_key, read_chain
from pipeline.signing import signers
from pipeline.standings import Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    Events = list[tuple[str, dict[str, Any]]]

NAME = ledger.name_of(TARGET)
ONE = rules(people=1)


@pytest.fixture
def deployed(house: House) -> str:
    """A run that alice approved, and that deployed."""
    return approved(house, ONE, "alice")


def approved(house: House, wanted: Rules, *people: str, script: str = "true") -> str:
    run_id = waiting(house, wanted, script) if wanted.people else house.open(gated(house, wanted, script), **ASKED)
    for person in people:
        decide(house, run_id, person)
    assert house.drive(run_id).done("migrate")
    return run_id


def waiting(house: House, wanted: Rules, script: str = "true") -> str:
    run_id = house.open(gated(house, wanted, script), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    return run_id


def found(house: House) -> str:
    """What an audit of all finds, with the keys pinned."""
    trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    audit = verify.Audit(house.store, trust)
    told = [each for run in runs.run_ids(house.store) for each in audit.run(run).findings] + audit.rest()
    return "\n".join(f"{each.grade}: {each}" for each in told)


def rewrite(
    house: House, run_id: str, name: str, change: Callable[[Events], Events], at: datetime | None = None
) -> None:
    """Write a chain anew: its events' types and data, after a change of them, and its seal."""
    full = runs.chain_name(run_id, name)
    paths = sorted((house.store.root / full).glob("*.json"))
    old = [chain.decode(path.read_bytes(), full) for path in paths if path.name != seals.NAME]
    times = [datetime.fromisoformat(event.at) for event in old]
    for path in paths:
        path.unlink()
    prev, events = None, change([(event.type, event.data) for event in old])
    for seq, (kind, data) in enumerate(events):
        line = chain.encode(seq, prev, kind, data, at or times[min(seq, len(times) - 1)])
        house.store.put_new(event_key(full, seq), line)
        prev = digest.of_bytes(line)
    assert prev
    seals.put(house.store, chain.Head(full, prev, len(events)), house.key)


def without(*kinds: str) -> Callable[[Events], Events]:
    return lambda events: [each for each in events if each[0] not in kinds]


def changed(kind: str, **values: Any) -> Callable[[Events], Events]:
    """Change the data of every event of a type."""
    return lambda events: [(each, {**data, **values} if each == kind else data) for each, data in events]


def test_untouched(house: House, deployed: str) -> None:
    assert found(house) == ""
    rewrite(house, deployed, "migrate.2", lambda events: events)
    assert found(house) == ""


# With a builder's key alone


def test_a_gate_that_was_never_looked_at(house: House) -> None:
    """The stage is applied, and neither its chain nor the ledger says anything of a gate."""
    run_id = approved(house, NOBODY)
    rewrite(house, run_id, "migrate.1", without(chain.GATE_LOOKED_AT))
    shutil.rmtree(house.store.root / "ledgers")
    assert "applies what was proposed, and its gate had not been found open" in found(house)


def test_a_gate_that_was_shut(house: House, deployed: str) -> None:
    rewrite(house, deployed, "migrate.2", changed(chain.GATE_LOOKED_AT, goes_on=False, state="waiting"))
    assert "its gate had not been found open" in found(house)


def test_a_gate_that_was_found_waiting_and_gone_through(house: House, deployed: str) -> None:
    rewrite(house, deployed, "migrate.2", changed(chain.GATE_LOOKED_AT, state="waiting"))
    assert "goes on, though the gate was waiting" in found(house)


def test_a_gate_that_was_looked_at_afterwards(house: House, deployed: str) -> None:
    def later(events: Events) -> Events:
        looked = [each for each in events if each[0] == chain.GATE_LOOKED_AT]
        return [*without(chain.GATE_LOOKED_AT)(events)[:-1], *looked, events[-1]]

    rewrite(house, deployed, "migrate.2", later)
    assert "its gate had not been found open" in found(house)


def test_a_plan_without_rules_is_none(house: House) -> None:
    """Neither does a runner act by it, nor does an audit pass over it."""
    stage = dataclasses.replace(gated(house, ONE), rules=None)
    run_id = house.open(stage, **ASKED)
    assert "no rules say who must approve" in found(house)
    from pipeline import plan

    value = artifacts.read_json(house.store, house.load(run_id).plan, "the plan")
    with pytest.raises(VerificationFailed, match="no rules say who must approve"):
        plan.from_json(value, "the plan")


@pytest.mark.parametrize(
    "change",
    [{"stack": "arn:aws:cloudformation:eu-central-1:333333333333:stack/demo/1"}, {"stack": "../x"}, {"region": ""}],
)
def test_a_target_by_another_name_is_none(house: House, change: dict[str, Any]) -> None:
    """One stack has one ledger: a name that CloudFormation takes for the same stack would have another."""
    stage = dataclasses.replace(gated(house, NOBODY), target=dataclasses.replace(TARGET, **change))
    house.open(stage, **ASKED)
    assert "which is no name" in found(house)


@pytest.mark.parametrize("plan", [None, {}, [], "x", {"v": 1, "stages": []}])
def test_a_plan_that_says_nothing(house: House, plan: Any) -> None:
    """Nothing could be held against it, so nothing would be found."""
    runs.open_run(house.store, {"plan": artifacts.put_json(house.store, plan), **ASKED}, house.key)
    assert found(house).startswith("broken: blobs/")


@pytest.mark.parametrize("name", ["migrate.02", "migrate.٢", "migrate.2.2"])
def test_an_attempt_under_a_second_name(house: House, deployed: str, name: str) -> None:
    """An attempt has one name: under another it would stand in the place of the one that was audited."""
    folder = house.store.root / "runs" / deployed
    shutil.copytree(folder / "migrate.2", folder / name)
    rewrite(house, deployed, name, changed(chain.CHAIN_OPENED, chain=f"runs/{deployed}/{name}"))
    assert f"broken: runs/{deployed}/{name}" in found(house)
    with pytest.raises(VerificationFailed):
        house.load(deployed)


def test_another_proposal_than_was_asked_to_be_applied(house: House, deployed: str) -> None:
    """What people approved is what the chain says was proposed; what the stage was given is something else."""
    [request] = [
        e.data["request"] for e in read_chain(house.store, f"runs/{deployed}/migrate.2") if "request" in e.data
    ]
    document = artifacts.read_json(house.store, request, "the request")
    document["proposal"]["subject"]["options"] = {"run": ["/bin/evil"]}
    other = artifacts.put_json(house.store, document)
    rewrite(house, deployed, "migrate.2", changed(chain.PHASE_INTENDED, request=other))
    assert "has another proposal than the plan" in found(house)


def test_a_proposal_that_nobody_had_made(house: House, deployed: str) -> None:
    made = [e.data["proposal"] for e in read_chain(house.store, f"runs/{deployed}/migrate.2") if e.data.get("proposal")]
    other = {**made[0], "handle": {"change_set_arn": "arn:evil"}}
    rewrite(house, deployed, "migrate.2", changed(chain.PROPOSAL_ADOPTED, proposal=other))
    assert "goes on with what no older attempt of the stage had proposed" in found(house)


def test_a_proposal_that_comes_after_the_gate(house: House, deployed: str) -> None:
    made = [e.data["proposal"] for e in read_chain(house.store, f"runs/{deployed}/migrate.2") if e.data.get("proposal")]
    rewrite(house, deployed, "migrate.2", changed(chain.PHASE_FINISHED, proposal=made[0]))
    assert "by then a proposal is what it is" in found(house)


def test_what_was_applied_and_is_said_to_have_been_canceled(house: House, deployed: str) -> None:
    rewrite(house, deployed, "migrate.2", changed(chain.CHAIN_CLOSED, outcome="canceled"))
    assert "closes with another outcome than its last phase" in found(house)


# With a gate's key too


def test_going_on_by_an_intent_that_had_ended(house: House) -> None:
    """An attempt failed, and that was the end of what was let through; the next one acts on it all the same."""
    mended = house.project / "mended"
    run_id = waiting(house, ONE, f"test -e {mended}")
    decide(house, run_id, "alice")
    with pytest.raises(StageFailed):
        house.drive(run_id)
    mended.touch()
    assert house.drive(run_id).done("migrate")
    assert found(house) == ""
    book = ledgers.read(house.store, NAME)
    assert [each.type for each in book.events][-2:] == [ledger.DEPLOYMENT_INTENDED, ledger.DEPLOYMENT_FINISHED]
    for seq in (len(book.events) - 1, len(book.events) - 2):
        (house.store.root / event_key(NAME, seq)).unlink()
    assert f"holds no intent of migrate.3 of run {run_id}" in found(house)
    failed = book.events[-3]
    (house.store.root / event_key(NAME, failed.seq)).unlink()
    line = chain.encode(failed.seq, failed.prev, failed.type, {**failed.data, "outcome": "succeeded"})
    house.store.put_new(event_key(NAME, failed.seq), ledgers.encode(line, house.key))
    said = found(house)
    assert "tells of another outcome" in said
    assert "holds no intent of migrate.3" in said


def test_going_on_with_what_an_older_attempt_began_without_a_word(house: House) -> None:
    """Whoever decided meanwhile on the ledger as it was would not have noticed."""
    book = resumed(house)
    assert found(house) == ""
    event = book.events[-1]
    cut(house, 2)
    line = chain.encode(event.seq - 1, book.events[-3].digest, event.type, event.data)
    house.store.put_new(event_key(NAME, event.seq - 1), ledgers.encode(line, house.key))
    assert "does not say that migrate.2 of run" in found(house)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"attempt": 3}, "attempt 3 of migrate did not look at its gate and go on"),
        ({"attempt": 1}, "resumes what no earlier attempt began"),
        ({"after": [{"run": "other", "stage": "migrate"}]}, "names others"),
        ({"run": "other"}, "was resumed that was not intended"),
    ],
)
def test_going_on_and_saying_something_else_of_it(house: House, values: dict[str, Any], said: str) -> None:
    *_, before, event, _finished = resumed(house).events
    cut(house, 2)
    line = chain.encode(event.seq, before.digest, event.type, {**event.data, **values})
    house.store.put_new(event_key(NAME, event.seq), ledgers.encode(line, house.key))
    assert said in found(house)


def resumed(house: House) -> ledger.Ledger:
    """Kill a runner in the middle of its stage and go on; give the ledger, which ends with the intent, that, and the outcome."""
    flag = house.project / "migrate.started"
    run_id = house.open(gated(house, NOBODY, f"test -e {flag} && exit 0; touch {flag}; sleep 60"), **ASKED)
    assert killed_in(house, run_id, "migrate").returncode < 0
    house.trust = signers.trust(trust_line(house.key.public, "builder,gate"), "trust")
    assert house.drive(run_id).done("migrate")
    return ledgers.read(house.store, NAME)


def cut(house: House, events: int) -> None:
    """Take so many events off the ledger's end."""
    book = ledgers.read(house.store, NAME)
    for event in book.events[-events:]:
        (house.store.root / event_key(NAME, event.seq)).unlink()


def test_a_reject_that_was_removed_once_it_was_seen(house: House) -> None:
    run_id = waiting(house, ONE)
    decide(house, run_id, "alice")
    decide(house, run_id, "bob", "reject")
    with pytest.raises(Rejected):
        house.drive(run_id)
    for path in (house.store.root / "inbox" / run_id / "migrate").iterdir():
        if statements.parse(statements.open_up(path.read_bytes())[0]).decision == "reject":
            path.unlink()
    with pytest.raises(Rejected, match="found just this rejected"):
        house.drive(run_id, Wish(again=frozenset({"migrate"})))
    assert found(house) == ""


def test_a_reject_that_is_passed_over_by_the_runner(house: House) -> None:
    """As one that is bent would go on: an audit remembers what the older attempt had found."""
    run_id = waiting(house, ONE)
    decide(house, run_id, "alice")
    assert house.drive(run_id).done("migrate")
    rewrite(house, run_id, "migrate.1", changed(chain.GATE_LOOKED_AT, state="rejected"))
    assert "goes on with what an older attempt had found rejected" in found(house)


def test_a_ledger_cut_back_to_before_stricter_rules(house: House) -> None:
    """A run that waits had seen them; once they are gone from the end, its own record says so."""
    approved(house, ONE, "alice")
    approved(house, rules(people=2), "alice", "bob")
    run_id = waiting(house, ONE)
    last = ledgers.read(house.store, NAME).head
    assert last
    for seq in range(4, last.length):
        (house.store.root / event_key(NAME, seq)).unlink()
    assert f"is not what migrate.1 of run {run_id} had seen of it" in found(house)


def test_rules_made_weaker_by_a_run_that_had_not_asked_for_it(house: House) -> None:
    """Approvals that were given for something else do not carry a change of rules."""
    approved(house, ONE, "alice")
    run_id = approved(house, ONE, "alice", script="echo other")
    book = ledgers.read(house.store, NAME)
    approvals = next(
        e.data["approvals"] for e in book.events if e.data.get("run") == run_id and e.data.get("approvals")
    )
    told = {"rules": NOBODY.as_json(), "kind": "weaker", "reasons": [], "run": run_id, "approvals": approvals}
    ledgers.append(house.store, book, [(ledger.RULES_CHANGED, told)], house.key)
    assert "no attempt of run" in found(house)


def test_a_scan_no_longer_required_without_one_that_passed(house: House) -> None:
    """Where nobody need approve, a scan may still stand between a run and its target: dropping it takes a scan that passed."""
    scanned = dataclasses.replace(NOBODY, scan="required")
    approved(house, scanned)
    run_id = house.open(gated(house, NOBODY), **ASKED)
    book = ledgers.read(house.store, NAME)
    told = {"rules": NOBODY.as_json(), "kind": "weaker", "reasons": [], "run": run_id, "approvals": []}
    ledgers.append(house.store, book, [(ledger.RULES_CHANGED, told)], house.key)
    assert "that went on asked for that" in found(house)


def test_an_intent_on_a_ledger_that_the_attempt_had_not_seen(house: House) -> None:
    """Decided while other rules were in force, written down after they had changed."""
    first = waiting(house, ONE)
    decide(house, first, "alice")
    assert house.drive(first).done("migrate")
    other = approved(house, rules(people=2), "alice", "bob", script="echo other")
    assert other
    book = ledgers.read(house.store, NAME)
    mine = next(e for e in book.events if e.type == ledger.DEPLOYMENT_INTENDED and e.data["run"] == first)
    late = {name: value for name, value in mine.data.items() if name != "writer"}
    ledgers.append(house.store, book, [(ledger.DEPLOYMENT_INTENDED, late)], house.key)
    assert "was not decided on the ledger as it was then" in found(house)


def test_the_images_that_people_approve_are_the_releases(house: House) -> None:
    """See `rules.released`; the deployments of tests/functional are held against it too."""
    from pipeline.audit import rules as audited
    from pipeline.record.replay import Attempt, Run
    from stages.contract import Proposal

    head, now = chain.Head("runs/r/deploy.1", "x", 1), datetime.now(UTC).isoformat()
    image = {"config": "sha256:1", "manifest": "sha256:2", "image": "x@sha256:2"}
    release = {"digest": "sha256:r", "functions": {"Hello": {**image, "size": 1}}}
    run = Run("r", head, now, "p", {})

    def said(subject: Any) -> list[str]:
        attempt = Attempt("deploy", 1, head, now, now, {}, {}, None, proposal=Proposal(subject, {}, ""))
        return [each.text for each in audited.released(run, attempt, release)]

    good = {"release": "sha256:r", "images": {"Hello": image}}
    assert said(good) == []
    for bad in (
        {**good, "images": {}},
        {**good, "images": {"Hello": {**image, "config": "sha256:9"}}},
        {**good, "release": "x"},
        {},
    ):
        assert said(bad)
