"""Of several environments the first is changed first; the others are proposed with it, and wait for it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import SigningKey, rules
from support.plans import command

from pipeline import engine, gating
from pipeline.audit.verify import Audit
from pipeline.cli import report
from pipeline.errors import StageFailed, Waiting
from pipeline.gates import statements
from pipeline.gates.rules import NOBODY
from pipeline.record import digest, ledger, ledgers
from pipeline.standings import Wish
from stages.contract import Target

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.gates.rules import Rules
    from pipeline.plan import PlannedStage


def stages(house: House, *, smoke: str = "true", wanted: Rules = NOBODY) -> list[PlannedStage]:
    """A canary with a test of it, and one more; each program writes its name."""

    def stage(name: str, script: str, place: str, **more: Any) -> PlannedStage:
        made = command(name, f"echo {name} >> {house.project}/order; {script}")
        target = Target(place, "333333333333", "eu-central-1", stack=f"demo-{place}")
        return dataclasses.replace(made, target=target, rules=wanted.as_json(), **more)

    return [
        stage("deploy-eu", "true", "eu", group="deploy"),
        command("smoke-eu", f"echo smoke-eu >> {house.project}/order; {smoke}", needs=("deploy-eu",)),
        stage("deploy-us", "true", "us", group="deploy", after=["deploy-eu", "smoke-eu"]),
    ]


def order(house: House) -> list[str]:
    path = house.project / "order"
    return path.read_text().split() if path.exists() else []


def test_the_others_are_proposed_with_the_canary_and_applied_after_what_follows_it(house: House) -> None:
    run_id = house.open(*stages(house))
    run = house.drive(run_id)
    assert order(house) == ["deploy-eu", "smoke-eu", "deploy-us"]
    first, second = run.attempts["deploy-us"]
    assert (first.outcome, first.gate, second.outcome) == ("waiting", "open", "succeeded")
    canary, smoke = run.done("deploy-eu"), run.done("smoke-eu")
    assert canary
    assert smoke
    assert list(second.builds_on) == [canary.head.as_json(), smoke.head.as_json()]
    assert [str(each) for each in Audit(house.store, None).run(run_id).findings if each.grade == "broken"] == []


def test_where_the_canary_does_not_do_well_nothing_else_is_touched(house: House) -> None:
    run_id = house.open(*stages(house, smoke="exit 1"))
    with pytest.raises(StageFailed):
        house.drive(run_id)
    assert order(house) == ["deploy-eu", "smoke-eu"]
    with pytest.raises(StageFailed, match="smoke-eu"):
        house.drive(run_id, Wish(only=frozenset(["deploy-us"])))
    assert "deploy-us" not in order(house)


@pytest.fixture
def bad_copy(house: House) -> str:
    """A run of which `us` cannot be proposed until its copy of the release, which fails until there is a file `mended`, is made."""
    copy = command("copy-us", f"test -e {house.project}/mended")
    made = stages(house)
    made[2] = dataclasses.replace(made[2], needs=["copy-us"])
    return house.open(copy, *made)


def test_where_one_cannot_be_proposed_none_is_touched_and_the_run_says_so(house: House, bad_copy: str) -> None:
    with pytest.raises(StageFailed, match="stage copy-us") as caught:
        house.drive(bad_copy)
    [told] = caught.value.also
    assert told.message.startswith("nothing of deploy is applied")
    assert told.message.endswith("not proposed: deploy-us")
    assert f"towpath resume {bad_copy}" in str(told.hint)
    assert order(house) == []
    run = house.load(bad_copy)
    [only] = run.attempts["deploy-eu"]
    assert (only.outcome, only.gate) == ("waiting", "open")
    state = report.summary(run, house.plans[bad_copy], lambda _: False)
    report.add_newer(state, house.store, house.plans[bad_copy], run)
    assert state["stages"]["deploy-eu"]["gate"]["reasons"][-1].endswith("once these are proposed as well: deploy-us")
    (house.project / "mended").touch()
    house.drive(bad_copy)
    assert order(house) == ["deploy-eu", "smoke-eu", "deploy-us"]
    assert [str(each) for each in Audit(house.store, None).run(bad_copy).findings if each.grade == "broken"] == []


def test_one_job_for_each_region_is_held_to_the_same(house: House) -> None:
    run_id = house.open(*stages(house))

    def job(name: str, *, proposes: bool = False) -> None:
        context = house.context(run_id)
        context.propose_only = proposes
        engine.drive(context, Wish(only=frozenset([name])), 1)

    for _ in range(2):  # it proposes, and goes no further however often it is tried
        with pytest.raises(StageFailed, match="all of deploy is proposed: deploy-us not yet") as caught:
            job("deploy-eu")
        assert f"towpath stage propose deploy-us --run {run_id}" in str(caught.value.hint)
    job("deploy-us", proposes=True)
    assert order(house) == []
    for name in ("deploy-eu", "smoke-eu", "deploy-us"):
        job(name)
    assert order(house) == ["deploy-eu", "smoke-eu", "deploy-us"]


def asked_for(house: House) -> tuple[str, str]:
    """A run that waits for one person's approval, and what it says is to be done."""
    made = stages(house, wanted=rules(people=1))
    authors = {ledger.name_of(each.target): ["eve@example.com"] for each in made if each.target}
    run_id = house.open(*made, requester={"email": "dora@example.com"}, authors=authors)
    with pytest.raises(Waiting) as caught:
        house.drive(run_id)
    return run_id, str(caught.value.hint)


def approve(house: House, run_id: str, *names: str) -> str:
    """One decision over several stages, in the inbox of each; its digest."""
    run, plan, now = house.load(run_id), house.plans[run_id], datetime.now(UTC)
    covers = []
    for name in names:
        last, stage = run.last(name), plan.stages[name]
        assert last
        assert last.proposal
        assert stage.target
        subject = gating.look(house.store, plan, run, stage, last.proposal).digest
        covers.append(statements.Covered(name, statements.target_of(stage.target), subject))
    statement = statements.make(
        "approve",
        person="alice",
        reason="seen",
        run=run_id,
        covers=covers,
        made_at=now,
        expires_at=now + timedelta(hours=1),
    )
    sha256 = digest.of_bytes(statement)
    for name in names:
        key = gating.document_key(run_id, name, sha256)
        house.store.put_new(key, statements.seal_up(statement, SigningKey("alice").sign(statement)))
    return sha256


def test_one_approval_lets_all_of_them_through_each_by_itself(house: House) -> None:
    run_id, hint = asked_for(house)
    assert order(house) == []
    assert f"towpath approve {run_id} deploy --reason" in hint
    sha256 = approve(house, run_id, "deploy-eu", "deploy-us")
    house.drive(run_id)
    assert order(house) == ["deploy-eu", "smoke-eu", "deploy-us"]
    for stage in house.plans[run_id].stages.values():
        if stage.target:
            assert ledgers.read(house.store, ledger.name_of(stage.target)).used == {sha256}
    assert [str(each) for each in Audit(house.store, None).run(run_id).findings if each.grade == "broken"] == []


def test_what_one_approval_does_not_cover_is_not_let_through_by_it(house: House) -> None:
    run_id, _ = asked_for(house)
    approve(house, run_id, "deploy-eu")
    with pytest.raises(Waiting):
        house.drive(run_id)
    assert order(house) == ["deploy-eu", "smoke-eu"]
