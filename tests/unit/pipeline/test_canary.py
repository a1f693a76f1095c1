"""Of several environments the first is changed first; the others are proposed with it, and wait for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import command

from pipeline.audit.verify import Audit
from pipeline.errors import StageFailed
from pipeline.gates.rules import NOBODY
from pipeline.standings import Wish
from stages.contract import Target

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.plan import PlannedStage


def stages(house: House, *, smoke: str = "true") -> list[PlannedStage]:
    """A canary with a test of it, and one more; each program writes its name."""

    def stage(name: str, script: str, place: str, **more: Any) -> PlannedStage:
        made = command(name, f"echo {name} >> {house.project}/order; {script}")
        target = Target(place, "333333333333", "eu-central-1", stack=f"demo-{place}")
        return dataclasses.replace(made, target=target, rules=NOBODY.as_json(), **more)

    return [
        stage("deploy-eu", "true", "eu", group="deploy"),
        stage("smoke-eu", smoke, "eu", needs=["deploy-eu"], group="smoke"),
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
    assert {each["chain"].rpartition("/")[2] for each in second.builds_on} == {"deploy-eu.1", "smoke-eu.1"}
    assert [str(each) for each in Audit(house.store, None).run(run_id).findings if each.grade == "broken"] == []


def test_where_the_canary_does_not_do_well_nothing_else_is_touched(house: House) -> None:
    run_id = house.open(*stages(house, smoke="exit 1"))
    with pytest.raises(StageFailed):
        house.drive(run_id)
    assert order(house) == ["deploy-eu", "smoke-eu"]
    with pytest.raises(StageFailed, match="smoke-eu"):
        house.drive(run_id, Wish(only=frozenset(["deploy-us"])))
    assert "deploy-us" not in order(house)
