from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.stacks import BOOK, PRODUCTION, Town, pipeline

from pipeline import barriers, bundle, deployable, gating, inherit, rollback, source
from pipeline.audit.verify import Audit
from pipeline.cli import opening
from pipeline.errors import Blocked, Incomplete, StageFailed, UsageError, Waiting
from pipeline.gates import rollbacks
from pipeline.gates.rules import NOBODY
from pipeline.record import artifacts, ledger, ledgers
from pipeline.record.store.directory import open_store
from stages.contract import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TWO = rules(people=2, scan="none")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    project = tmp_path / "project"
    project.mkdir()
    return Town(project, open_store(tmp_path / "store", create=True))


def running(town: Town) -> str:
    found: str = town.stacks[PRODUCTION.account]["release"]
    return found


def verdicts(town: Town, *wanted: str) -> list[str]:
    audit = Audit(town.store, None)
    return [f"{audit.run(each).verdict} {audit.run(each).findings or ''}".strip() for each in wanted]


def deployed(town: Town, name: str, **parameters: str) -> str:
    run_id = town.release(name, NOBODY, **parameters)
    town.drive(run_id)
    return run_id


# Promotion


def test_it_takes_over_what_was_made_and_does_just_what_is_left_for_the_environment(town: Town) -> None:
    run_id = town.release("one")
    town.upto(run_id, "package", "deploy-staging", "smoke")
    new = town.take_part(run_id, "promote")
    run = town.drive(new)
    assert {name: bool(each[-1].inherited) for name, each in run.attempts.items()} == {
        **dict.fromkeys(("package", "deploy-staging", "smoke"), True),
        **dict.fromkeys(("deploy-production", "look"), False),
    }
    assert verdicts(town, new) == ["consistent"]
    assert not town.load(run_id).last("deploy-production")


def test_what_it_deploys_stands_where_the_older_run_does(town: Town) -> None:
    older, newer = town.release("one"), town.release("two")
    for each in (older, newer):
        town.upto(each, "package", "deploy-staging", "smoke")
    ahead = town.take_part(older, "promote")
    town.drive(town.take_part(newer, "promote"))
    with pytest.raises(Blocked, match="outdated"):
        town.drive(ahead)
    assert verdicts(town, ahead) == ["consistent"]


def test_a_promoted_run_is_promoted_further(town: Town) -> None:
    run_id = town.release("one")
    town.upto(run_id, "package")
    staged = town.take_part(run_id, "promote", "staging")
    town.drive(staged)
    assert list(town.plans[staged].stages) == ["package", "deploy-staging", "smoke"]
    new = town.take_part(staged, "promote")
    assert inherit.lacking(inherit.whole(town.store, town.load(staged)), town.load(staged), ["production"]) == []
    assert town.drive(new).done("look")
    assert verdicts(town, staged, new) == ["consistent"] * 2


def test_a_promotion_that_was_done_again_is_promoted_further(town: Town) -> None:
    """A rerun has the part of a plan that its older run had, and is of the same whole."""
    run_id = town.release("one")
    town.upto(run_id, "package")
    staged = town.take_part(run_id, "promote", "staging")
    town.drive(staged)
    run, plan = town.load(staged), town.plans[staged]
    again = town.begin(*plan.stages.values(), inherits=inherit.as_json(run, inherit.begin_at(plan, run, ["smoke"])))
    town.drive(again)
    new = town.take_part(again, "promote")
    assert town.drive(new).done("look")
    assert verdicts(town, staged, again, new) == ["consistent"] * 3


def test_what_has_not_passed_is_named(town: Town) -> None:
    run_id = town.release("one")
    town.upto(run_id, "package", "deploy-staging")
    run, plan = town.load(run_id), town.plans[run_id]
    assert inherit.lacking(plan, run, ["production"]) == ["smoke"]
    assert inherit.lacking(plan, run, ["staging"]) == []


def test_a_scan_that_the_rules_demand_goes_along_though_no_deployment_waits_for_it(town: Town) -> None:
    stages = pipeline(town, "one", rules(people=0, approvers={}, identities={}, expires_s=0, scan="required"), {})
    scan = dataclasses.replace(stages[2], name="scan", kind="scan", needs=["package"])
    run_id = town.begin(*stages[:3], scan, *stages[3:])
    town.upto(run_id, "package", "deploy-staging", "smoke")
    run, plan = town.load(run_id), town.plans[run_id]
    assert inherit.lacking(plan, run, ["production"]) == ["scan"]
    assert inherit.lacking(plan, run, ["staging"]) == []
    assert "scan" in inherit.part(plan, ["production"], scans=True).stages
    assert "scan" not in inherit.part(plan, ["production"]).stages  # going back demands none
    assert "scan" not in inherit.part(plan, ["staging"], scans=True).stages


def test_several_regions_are_promoted_together_canary_first_or_one_after_its_canary(town: Town) -> None:
    first, *rest = pipeline(town, "one", NOBODY, {})
    eu, us = (dataclasses.replace(PRODUCTION, environment=f"production-{each}", region=each) for each in ("eu", "us"))
    deploys = [
        dataclasses.replace(rest[2], name=f"deploy-{each.region}", target=each, needs=["package", "smoke"], after=after)
        for each, after in ((eu, []), (us, ["deploy-eu", "look-eu"]))
    ]
    look = dataclasses.replace(rest[3], name="look-eu", needs=["deploy-eu"])
    announce = dataclasses.replace(rest[3], name="announce", needs=["deploy-eu", "deploy-us"])
    run_id = town.begin(first, *rest[:2], deploys[0], look, deploys[1], announce)
    town.upto(run_id, "package", "deploy-staging")
    plan = town.plans[run_id]
    assert inherit.first(plan, town.load(run_id), ["deploy-eu", "look-eu"]) == ["smoke", "deploy-eu", "look-eu"]
    town.upto(run_id, "smoke")
    run = town.load(run_id)
    both = ("production-eu", "production-us")
    assert set(inherit.part(plan, both).stages) == set(plan.stages)
    assert inherit.lacking(plan, run, both) == []
    assert list(inherit.part(plan, both[:1]).stages) == ["package", "deploy-staging", "smoke", "deploy-eu", "look-eu"]
    assert inherit.lacking(plan, run, both[1:]) == ["deploy-eu", "look-eu"]
    one = town.take_part(run_id, "promote", *both)
    assert town.drive(one).done("announce")
    assert verdicts(town, one) == ["consistent"]
    two = town.take_part(one, "promote", both[1])
    assert inherit.lacking(plan, town.load(one), both[1:]) == []
    assert town.drive(two).done("deploy-us")
    assert verdicts(town, two) == ["consistent"]


# Going back


def test_what_ran_before_runs_again_with_its_parameters(town: Town) -> None:
    one, two = deployed(town, "one", Greeting="moin"), deployed(town, "two")
    choice, skipped = rollback.choose(town.store, town.book)
    assert (choice.deployment.run, skipped) == (one, [])
    back = town.take_part(one, "rollback")
    run = town.drive(back)
    assert [name for name, each in run.attempts.items() if not each[-1].inherited] == ["deploy-production", "look"]
    assert town.stacks[PRODUCTION.account]["parameters"] == {"Greeting": "moin"}
    assert verdicts(town, one, two, back) == ["consistent"] * 3
    assert town.book.hold
    assert [each.run for each in rollback.standing(town.book)] == [one]


def test_one_person_is_enough_and_may_be_who_asked(town: Town) -> None:
    one, two = (town.release(name, TWO) for name in ("one", "two"))
    for each in (one, two):
        with pytest.raises(Waiting):
            town.drive(each)
        for person in ("alice", "bob"):
            town.decide(each, person)
        town.drive(each)
    back = town.take_part(one, "rollback", requester={"email": "alice@example.com"})
    with pytest.raises(Waiting, match="back to the release of run"):
        town.drive(back)
    gate = town.gate(back)
    assert (gate.judged_by.people, set(gate.judged_by.approvers), gate.change) == (1, set(TWO.approvers), None)
    town.decide(back, "alice")
    assert town.drive(back).done("deploy-production")
    assert town.book.rules == TWO.as_json()  # the shorter rule counts for this alone
    assert verdicts(town, one, two, back) == ["consistent"] * 3


def test_rules_of_an_older_plan_are_not_brought_back(town: Town) -> None:
    """Catches a rollback that weakens what is in force by the way."""
    one = deployed(town, "one")
    two = town.release("two", TWO)
    with pytest.raises(Waiting):
        town.drive(two)
    for person in ("alice", "bob"):
        town.decide(two, person)
    town.drive(two)
    back = town.take_part(one, "rollback")
    with pytest.raises(Waiting):
        town.drive(back)
    town.decide(back, "carol")
    town.drive(back)
    assert town.book.rules == TWO.as_json()
    assert verdicts(town, back) == ["consistent"]


def test_commands_of_a_rollback_are_judged_by_the_rules_in_force(town: Town) -> None:
    """Catches a program of the older plan that brings that plan's weaker rules back."""
    *stages, look = pipeline(town, "one", NOBODY, {})
    one = town.begin(*stages, dataclasses.replace(look, target=PRODUCTION, rules=NOBODY.as_json(), idempotent=True))
    town.drive(one)
    two = town.release("two", TWO)
    with pytest.raises(Waiting):
        town.drive(two)
    for person in ("alice", "bob"):
        town.decide(two, person)
    town.drive(two)
    back = town.take_part(one, "rollback")
    with pytest.raises(Waiting):
        town.drive(back)
    town.decide(back, "carol")
    with pytest.raises(Waiting):
        town.drive(back)
    gate = town.gate(back, "look")
    assert (gate.judged_by.as_json(), gate.change, gate.origin) == (TWO.as_json(), None, None)
    for person in ("alice", "bob"):
        town.decide(back, person, "look")
    assert town.drive(back).done("look")
    assert town.book.rules == TWO.as_json()
    assert verdicts(town, back) == ["consistent"]


def test_a_rollback_that_somebody_was_faster_than_is_outdated(town: Town) -> None:
    one, _ = deployed(town, "one"), deployed(town, "two")
    slow = town.take_part(one, "rollback")
    three = deployed(town, "three")
    with pytest.raises(
        Blocked, match=f"run {three}, asked for by dora@example.com, deployed here at .* after this rollback"
    ):
        town.drive(slow)
    assert town.book.current
    assert (town.book.current["run"], running(town)) == (three, town.book.current["release"])
    assert verdicts(town, slow) == ["consistent"]


def test_a_claim_that_the_ledger_does_not_bear_out_opens_nothing(town: Town) -> None:
    deployed(town, "one")
    never = town.release("never")
    town.upto(never, "package", "deploy-staging", "smoke")
    back = town.take_part(never, "rollback")
    with pytest.raises(StageFailed, match="the ledger of this target has no such deployment"):
        town.drive(back)
    assert not town.book.hold


def test_another_release_or_other_parameters_than_ran_are_no_rollback(town: Town) -> None:
    one, _ = deployed(town, "one"), deployed(town, "two")
    whole = inherit.whole(town.store, town.load(one))
    town.plans[one] = whole
    changed = town.release("one", Greeting="owned")
    part = town.plans[changed]
    run = town.load(one)
    taken = inherit.begin_at(part, run, ["deploy-production"])
    way = {"kind": "rollback", "environments": ["production"], "plan": whole.digest}
    forged = town.begin(*part.stages.values(), inherits=inherit.as_json(run, taken), way=way)
    with pytest.raises(StageFailed, match=f"not what run {one} deployed here: other parameters"):
        town.drive(forged)
    [finding] = [each for each in Audit(town.store, None).run(forged).findings if each.grade == "broken"]
    assert "than the part of run" in str(finding)


def test_a_secret_that_was_changed_and_what_the_stack_keeps_are_as_they_are_today(town: Town) -> None:
    town.stacks |= {"secrets": {"Token": "then"}, "kept": {"Size": "1"}}
    one, two = deployed(town, "one"), town.release("two", TWO)
    with pytest.raises(Waiting):
        town.drive(two)
    for person in ("alice", "bob"):
        town.decide(two, person)
    town.drive(two)
    town.stacks |= {"secrets": {"Token": "now"}, "kept": {"Size": "2"}}
    back = town.take_part(one, "rollback")
    with pytest.raises(Waiting, match="Size stays 2, then 1; Token is another secret than then"):
        town.drive(back)
    town.decide(back, "alice")
    town.drive(back)
    assert verdicts(town, back) == ["consistent"]


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ({"value": "1", "from": "environment"}, {"value": "2", "from": "environment"}, False),
        ({"value": "1", "from": "environment"}, {"value": "1", "from": "stack"}, True),
        ({"value": "1", "from": "environment"}, {"value": "2", "from": "stack"}, False),
        ({"value": "1", "from": "default"}, {"value": "2", "from": "stack"}, True),
        ({"value": "1", "from": "stack"}, {"value": "2", "from": "stack"}, True),
        ({"value": "1", "from": "stack"}, {"value": "2", "from": "default"}, False),
        ({"digest": "a", "from": "environment"}, {"digest": "b", "from": "environment"}, True),
        ({"digest": "a", "from": "environment"}, {"digest": None, "from": "stack"}, False),
        ({"digest": "a", "from": "environment"}, {"value": "a", "from": "environment"}, False),
    ],
)
def test_which_parameters_are_those_of_then(then: dict[str, Any], now: dict[str, Any], *, same: bool) -> None:
    common = {"target": "", "release": "", "images": {}, "execution": {"capabilities": []}}
    subjects = [{**common, "parameters": {"P": each}} for each in (then, now)]
    assert rollbacks.differing(subjects[0], subjects[1]) == ([] if same else ["parameters"])


@pytest.mark.parametrize(
    ("then", "now", "base", "differ"),
    [
        ({"service_role": "a"}, {"service_role": "b"}, {"service_role": "a"}, ["service role"]),
        ({"service_role": None}, {"service_role": "b"}, {"service_role": None}, ["service role"]),
        ({"service_role": None}, {"service_role": "b"}, {"service_role": "b"}, []),  # the stack has it by now
        ({"notification_arns": []}, {"notification_arns": ["x"]}, None, ["notification ARNs"]),
        ({"on_failure": "delete"}, {"on_failure": "rollback"}, None, []),  # it was made then, and is there now
        ({"on_failure": "rollback"}, {"on_failure": "do-nothing"}, None, ["behaviour on failure"]),
        ({"retain_except_on_create": True}, {"retain_except_on_create": False}, None, ["behaviour on failure"]),
    ],
)
def test_rights_are_those_of_then(then: Any, now: Any, base: Any, differ: list[str]) -> None:
    common = {"target": "", "release": "", "images": {}, "parameters": {}, "base": base}
    subjects = [{**common, "execution": {"capabilities": [], **each}} for each in (then, now)]
    assert rollbacks.differing(subjects[0], subjects[1]) == differ


def test_another_plan_than_the_part_of_the_older_one_is_no_rollback(town: Town) -> None:
    """Catches what a proposal does not show: other commands after the same deployment."""
    one, _ = deployed(town, "one"), deployed(town, "two")
    run, whole = town.load(one), town.plans[one]
    *stages, look = inherit.part(whole, ["production"]).stages.values()
    evil = dataclasses.replace(look, options={**look.options, "command": ["true"]})
    taken = inherit.begin_at(whole, run, ["deploy-production"])
    way = {"kind": "rollback", "environments": ["production"], "plan": whole.digest}
    forged = town.begin(*stages, evil, inherits=inherit.as_json(run, taken), way=way)
    with pytest.raises(StageFailed, match=f"its plan is not the part of run {one}'s"):
        town.drive(forged)


def test_in_another_store_it_is_judged_alike(town: Town, tmp_path: Path) -> None:
    """Catches a bundle that lacks what a rollback is held against: the older run, and what that had deployed."""
    one, _ = deployed(town, "one"), deployed(town, "two")
    back = town.take_part(one, "rollback")
    town.drive(back)
    path, there = tmp_path / "bundle.tar", open_store(tmp_path / "there", create=True)
    bundle.write(town.store, [back], path)
    with path.open("rb") as file:
        brought = bundle.read(file, path.name)
        reports = bundle.admit(brought, there, None)
        bundle.add(brought, there)
    assert {each.run: each.verdict for each in reports} == {one: "consistent", back: "consistent"}
    assert Audit(there, None).run(back).findings == []


# Held


def test_nothing_else_is_deployed_until_it_is_lifted(town: Town) -> None:
    one, _ = deployed(town, "one"), deployed(town, "two")
    waiting, late = town.release("waiting", TWO), town.release("late")
    for each in (waiting, late):
        town.upto(each, "package", "deploy-staging", "smoke")
    with pytest.raises(Waiting):
        town.upto(waiting, "deploy-production")
    back = town.take_part(one, "rollback")
    town.drive(back)
    with pytest.raises(Blocked, match=f"held: run {back}, asked for by dora@example.com, went back here"):
        town.drive(late)
    assert town.gate(waiting).state == "held"
    with pytest.raises(Blocked, match="held"):
        town.drive(waiting)
    assert "rollback production --lift" in str(town.load(late).last("deploy-production").failure)  # type: ignore[union-attr]
    town.lift()
    assert town.drive(late).done("look")
    assert not town.book.hold
    assert [each.run for each in rollback.standing(town.book)] == [one, late]
    assert verdicts(town, back, late) == ["consistent"] * 2
    with pytest.raises(Blocked, match="outdated"):  # it is older than what was gone back from, and stays so
        town.drive(waiting)


def lost(town: Town, run_id: str) -> None:
    """Have a run lose sight of what it applies to production."""
    town.stacks["lost"] = True
    with pytest.raises(StageFailed):
        town.drive(run_id)


def test_a_rollback_of_which_nobody_knows_how_it_ended_holds_too(town: Town) -> None:
    one, _ = deployed(town, "one"), deployed(town, "two")
    late, back = town.release("late"), town.take_part(one, "rollback")
    lost(town, back)
    with pytest.raises(Blocked, match=f"held: run {back}, asked for by dora@example.com, began to go back"):
        town.drive(late)
    assert town.drive(back).done("look")  # whoever began it may finish it
    with pytest.raises(Blocked, match=f"held: run {back}, asked for by dora@example.com, went back"):
        town.drive(late)
    assert [each.over for each in town.book.holds] == [True]
    assert verdicts(town, back, late)[0] == "consistent"


def test_what_a_lost_rollback_holds_can_be_lifted_or_gone_back_from(town: Town) -> None:
    zero, one, two, _ = (deployed(town, each) for each in ("zero", "one", "two", "three"))
    late, back = town.release("late"), town.take_part(two, "rollback")
    lost(town, back)
    further = town.take_part(one, "rollback")
    town.drive(further)
    assert [each.run for each in town.book.holds] == [further]
    lost(town, town.take_part(zero, "rollback"))
    assert len(town.book.holds) == 2
    rollback.lift(town.store, town.book, {"reason": "mended", "requester": None}, town.key)
    assert not town.book.hold
    assert town.drive(late).done("look")
    assert verdicts(town, further, late) == ["consistent"] * 2


@pytest.mark.parametrize(("kind", "told"), [("delete", {}), ("recover", {"deleted": True})])
def test_what_was_deleted_stands_no_longer_and_can_be_gone_back_to(town: Town, kind: str, told: dict[str, Any]) -> None:
    one, two = deployed(town, "one"), deployed(town, "two")
    run, plan = town.load(two), town.plans[two]
    taken = inherit.begin_at(plan, run, ["look"])
    inherit.refuse_replaced(town.store, plan, run, taken, None)
    assert town.delete(kind, **told).current is None
    assert rollback.standing(town.book)[-1].deletes
    with pytest.raises(Blocked, match="run 20990101-000000-gone deleted it since"):
        inherit.refuse_replaced(town.store, plan, run, taken, None)
    assert [each.deployment.run for each in rollback.candidates(town.store, town.book)] == [two, one]
    assert rollback.chosen(town.store, town.book, two).wrong is None
    town.drive(town.take_part(two, "rollback"))
    assert [each.run for each in rollback.standing(town.book)] == [one, two]


def test_who_wrote_commits_since_what_was_deleted_is_known(town: Town) -> None:
    """Catches commits that need nobody else's approval, as the stack was deleted in between."""

    def commit(who: str) -> str:
        told = ("-c", f"user.name={who}", "-c", f"user.email={who}@example.com", "-c", "commit.gpgsign=false")
        source.git(town.project, *told, "commit", "--allow-empty", "-m", who)
        return str(source.git(town.project, "rev-parse", "HEAD"))

    source.git(town.project, "init")
    first = commit("ada")
    town.drive(town.begin(*pipeline(town, "one", NOBODY, {}), source={"commit": first}))
    town.delete()
    commit("bob")
    last = commit("carol")
    assert opening._authors(town.book, town.project, last) == ["bob@example.com", "carol@example.com"]


def test_a_stack_that_was_freed_and_not_deleted_stands(town: Town) -> None:
    one = deployed(town, "one")
    current = town.delete("recover").current
    assert current
    assert current["run"] == one


def test_what_was_gone_back_from_is_no_way_back(town: Town) -> None:
    """Catches a fault that one person brings back, past a hold and a freeze, as if it were the remedy."""
    one, two = deployed(town, "one"), deployed(town, "two")
    town.drive(town.take_part(one, "rollback"))
    forward = town.take_part(two, "rollback")
    with pytest.raises(Blocked, match="held"):
        town.drive(forward)
    town.lift()
    with pytest.raises(StageFailed, match="what it goes to did not stand here before what stands"):
        town.drive(forward)
    assert verdicts(town, forward) == ["consistent"]
    assert town.drive(town.take_part(two, "promote")).done("look")  # but by the ordinary rule it is


def ends_late(town: Town, run_id: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ledger.Ledger]:
    """Have a run deploy to production, and its runner die before it writes that into the ledger; gives what writes it."""
    town.upto(run_id, "package", "deploy-staging", "smoke")
    told: list[Any] = []

    def leave(*given: Any) -> ledger.Ledger:
        told.append(given)
        return ledgers.read(town.store, BOOK)

    with monkeypatch.context() as patch:
        patch.setattr(gating, "leave", leave)
        town.upto(run_id, "deploy-production")
    [given] = told
    return lambda: gating.leave(*given)


def test_an_outcome_that_is_written_late_does_not_say_that_it_stands(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = deployed(town, "one"), town.release("two"), town.release("three")
    for each in (two, three):
        town.upto(each, "package", "deploy-staging", "smoke")
    end = ends_late(town, two, monkeypatch)
    town.upto(three, "deploy-production")
    back = town.take_part(one, "rollback")
    assert end().current
    assert town.book.current
    assert town.book.current["run"] == three
    assert [each.run for each in rollback.standing(town.book)] == [one, two, three]
    stage = town.plans[two].stages["deploy-production"]
    superseding = barriers.superseded(town.store, town.load(two), stage)
    assert superseding
    assert superseding.run == three
    town.drive(back)  # nobody has deployed there since it was opened
    assert town.book.hold
    found = [finding for each in (two, three, back) for finding in Audit(town.store, None).run(each).findings]
    assert [each for each in found if each.grade == "broken"] == []


def test_a_rollback_whose_outcome_is_written_late_holds_nothing_any_more(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = deployed(town, "one"), deployed(town, "two")
    late, back = town.release("late"), town.take_part(one, "rollback")
    end = ends_late(town, back, monkeypatch)
    town.lift()
    town.drive(late)
    assert end().holds == ()
    assert town.book.current
    assert town.book.current["run"] == late
    assert verdicts(town, late) == ["consistent"]


def test_an_outcome_that_is_written_late_stands_if_what_came_after_it_failed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, three = town.release("two"), town.release("three")
    for each in (two, three):
        town.upto(each, "package", "deploy-staging", "smoke")
    end = ends_late(town, two, monkeypatch)
    lost(town, three)
    told = {"run": three, "stage": "deploy-production", "outcome": "failed", "functions": {}}
    ledgers.append(town.store, town.book, [(ledger.DEPLOYMENT_FINISHED, told)], town.key)
    current = end().current
    assert current
    assert current["run"] == two


def test_what_is_gone_on_with_comes_to_the_target_then(town: Town) -> None:
    """A rollback that is resumed after others have deployed there is what stands, if it succeeds, and holds again."""
    one, _ = deployed(town, "one"), deployed(town, "two")
    late, back = town.release("late"), town.take_part(one, "rollback")
    lost(town, back)
    town.lift()
    town.drive(late)
    town.upto(back, "deploy-production")
    assert [event.type for event in town.book.events[-2:]] == [ledger.DEPLOYMENT_RESUMED, ledger.DEPLOYMENT_FINISHED]
    assert town.book.current
    assert town.book.current["run"] == back
    assert [(each.run, each.over) for each in town.book.holds] == [(back, True)]
    assert [each.run for each in rollback.standing(town.book)] == [one]
    found = [finding for each in (late, back) for finding in Audit(town.store, None).run(each).findings]
    assert [each for each in found if each.grade == "broken"] == []


def test_a_rollback_that_failed_holds_nothing(town: Town) -> None:
    one, two = deployed(town, "one"), deployed(town, "two")
    back = town.take_part(one, "rollback")
    lost(town, back)
    told = {"run": back, "stage": "deploy-production", "outcome": "failed", "functions": {}}
    after = ledgers.append(town.store, town.book, [(ledger.DEPLOYMENT_FINISHED, told)], town.key)
    assert (after.holds, after.current and after.current["run"]) == ((), two)


def test_going_back_further_is_not_held(town: Town) -> None:
    one, two, _ = deployed(town, "one"), deployed(town, "two"), deployed(town, "three")
    town.drive(town.take_part(two, "rollback"))
    choice, _ = rollback.choose(town.store, town.book)
    assert choice.deployment.run == one
    back = town.take_part(one, "rollback")
    town.drive(back)
    assert town.book.hold
    assert town.book.hold.run == back
    assert verdicts(town, back) == ["consistent"]


def test_what_is_rolled_back_and_lifted_is_older_than_nothing(town: Town) -> None:
    """A run that was opened before the rollback and is newer than what was gone back from goes on once that is lifted."""
    one, two = deployed(town, "one"), deployed(town, "two")
    town.drive(town.take_part(one, "rollback"))
    town.lift()
    again = town.take_part(two, "promote")
    assert town.drive(again).done("look")
    assert verdicts(town, again) == ["consistent"]


def test_a_hold_that_there_is_not_cannot_be_lifted(town: Town) -> None:
    deployed(town, "one")
    with pytest.raises(UsageError, match="nothing is held"):
        rollback.lift(town.store, town.book, {"reason": "x"}, town.key)


# Which one


def test_what_was_not_healthy_is_passed_over(town: Town) -> None:
    one = deployed(town, "one")
    (town.project / "sick-two").touch()
    two = town.release("two")
    with pytest.raises(StageFailed):
        town.drive(two)
    deployed(town, "three")
    choice, skipped = rollback.choose(town.store, town.book)
    assert choice.deployment.run == one
    assert [(each.deployment.run, each.wrong) for each in skipped] == [(two, "look had failed")]
    assert rollback.chosen(town.store, town.book, two).wrong == "look had failed"


def test_the_same_once_more_is_not_another(town: Town) -> None:
    one, two = deployed(town, "one"), deployed(town, "two")
    town.drive(town.begin(*town.plans[two].stages.values()))
    choice, skipped = rollback.choose(town.store, town.book)
    assert choice.deployment.run == one
    assert [each.wrong for each in skipped] == ["it is what stands there now"]


def test_what_was_deployed_several_times_is_one_thing_to_go_back_to(town: Town) -> None:
    one = deployed(town, "one")
    _, again = deployed(town, "two"), deployed(town, "two")
    other = deployed(town, "two", Greeting="hi")
    deployed(town, "three")
    found = rollback.distinct(town.store, rollback.candidates(town.store, town.book))
    assert [each.deployment.run for each in found] == [other, again, one]


def test_what_cannot_be_gone_back_to_is_refused_by_name(town: Town) -> None:
    one = deployed(town, "one")
    with pytest.raises(Incomplete, match="nothing healthy was deployed"):
        rollback.choose(town.store, town.book)
    with pytest.raises(Blocked, match="is what stands there"):
        rollback.chosen(town.store, town.book, one)
    never = town.release("never")
    with pytest.raises(UsageError, match="has deployed nothing there"):
        rollback.chosen(town.store, town.book, never)
    two = deployed(town, "two")
    back = town.take_part(one, "rollback")
    town.drive(back)
    for hint in ("Lift the hold, with a reason, then: ", "Deploy it as any other release: "):
        with pytest.raises(Blocked, match="somebody went back from the release of run") as refused:
            rollback.chosen(town.store, town.book, two)
        assert refused.value.hint == f"{hint}towpath promote {two} --to production"
        if town.book.hold:
            town.lift()
    with pytest.raises(Blocked):
        rollback.chosen(town.store, town.book, back)


def test_an_environment_is_found_by_what_was_deployed_under_its_name(town: Town) -> None:
    deployed(town, "one")
    assert rollback.book_of(town.store, "production", None).name == ledger.name_of(PRODUCTION)
    with pytest.raises(UsageError, match="'prod'") as refused:
        rollback.book_of(town.store, "prod", None)
    assert refused.value.hint == "Deployed to: production, staging."


def test_of_stacks_that_were_deployed_without_a_pipeline_each_is_found_by_its_own_name(town: Town) -> None:
    alone = [dataclasses.replace(PRODUCTION, environment=COMMAND, stack=name) for name in ("shop", "till")]
    for target in alone:
        steps = pipeline(town, target.stack or "", NOBODY, {})
        own = [dataclasses.replace(each, target=target) if each.target == PRODUCTION else each for each in steps]
        town.drive(town.begin(*own))
    for target in alone:
        assert rollback.book_of(town.store, str(target.stack), None).name == ledger.name_of(target)
    with pytest.raises(UsageError, match="several targets") as refused:
        rollback.book_of(town.store, COMMAND, None)
    assert "name the stack" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ({"value": "1", "from": "environment"}, "1"),
        ({"digest": "scrypt:0123456789abcdef", "from": "environment"}, "secret scrypt:0123456789abc…"),
        ({"digest": None, "from": "stack"}, "secret, kept from the stack"),
    ],
)
def test_a_parameter_is_shown_and_of_a_secret_only_its_digest(parameter: dict[str, Any], text: str) -> None:
    [shown] = rollbacks.parameters({"parameters": {"Size": parameter}}, {"parameters": {}})
    assert (shown["then"], shown["today"]) == (text, None)


# Whether it could be gone back


def test_what_a_rollback_would_be_given_is_read(town: Town, tmp_path: Path) -> None:
    deployed(town, "one")
    deployed(town, "two")
    [candidate] = rollback.candidates(town.store, town.book)
    found = deployable.Found(candidate.deployment)
    [asked] = deployable.of_record(town.store, found, tmp_path / "read")
    assert (found.missing, asked.target.environment) == ([], "production")
    assert json.loads((asked.folder / "release.json").read_text())["digest"] == candidate.deployment.release
    deployable.clear(tmp_path / "read")


def test_what_is_gone_from_the_store_is_named(town: Town, tmp_path: Path) -> None:
    one = deployed(town, "one")
    deployed(town, "two")
    made = town.load(one).done("package")
    assert made
    [file] = artifacts.manifest(town.store, made.outputs["release"])
    (town.store.root / artifacts.blob_key(file.sha256)).unlink()
    [candidate] = rollback.candidates(town.store, town.book)
    found = deployable.Found(candidate.deployment)
    assert deployable.of_record(town.store, found, tmp_path / "read") == []
    assert "release.json" in found.missing[0]
    assert found.as_json()["deployable"] is False


def test_nobody_is_left_who_may_approve(town: Town) -> None:
    never = {key: ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z") for keys in TWO.approvers.values() for key in keys}
    book = dataclasses.replace(ledger.Ledger("book"), rules=dataclasses.replace(TWO, validity=never).as_json())
    assert deployable.of_rules(book) == ["nobody could approve it: no key of those who may counts any longer"]
    assert deployable.of_rules(dataclasses.replace(book, rules=TWO.as_json())) == []
    assert deployable.of_rules(dataclasses.replace(book, rules=NOBODY.as_json())) == []


def test_parameters_beside_todays() -> None:
    then = {"parameters": {"A": {"value": "1"}, "B": {"digest": "scrypt:1234567890123456789"}, "C": {"value": "x"}}}
    today = {"parameters": {"A": {"value": "2"}, "B": {"digest": "scrypt:1234567890123456789"}}}
    shown = {each["name"]: (each["then"], each["today"]) for each in rollbacks.parameters(then, today)}
    assert shown["A"] == ("1", "2")
    assert shown["B"][0] == shown["B"][1]
    assert shown["C"] == ("x", None)
    proposed = {**then, "base": {"parameters": {"A": "2", "B": "****", "C": "x"}}}
    assert rollbacks.parameters_today(proposed) == [{"name": "A", "then": "1", "today": "2"}]
