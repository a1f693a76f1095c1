"""approvals and runs, by the commands, on runs that go on no more."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, decide, deployed, gated, release
from support.machine import TOWPATH

from pipeline.errors import Waiting
from pipeline.record import waiting
from pipeline.standings import Wish

if TYPE_CHECKING:
    from support.plans import House


def towpath(house: House, *arguments: str) -> Any:
    argv = [TOWPATH, *arguments, "--json", "--store", str(house.store.root)]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def propose(house: House) -> str:
    first, deploy = release(house)
    run_id = house.open(dataclasses.replace(first, rules=rules().as_json()), deploy, **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id, Wish(only=frozenset({"migrate"})))
    return run_id


def test_what_can_go_on_no_more_is_listed_no_more(house: House) -> None:
    outdated = propose(house)
    rejected, left = (house.open(gated(house, rules()), **ASKED) for _ in range(2))
    for run_id in (rejected, left):
        with pytest.raises(Waiting):
            house.drive(run_id)
    listed = {each["run"] for each in towpath(house, "approvals")}
    assert listed == {outdated, rejected, left}
    decide(house, rejected, "alice", "reject")
    deployed(house, house.open(*release(house), **ASKED))
    assert [each["run"] for each in towpath(house, "approvals")] == [left]
    assert list(waiting.listed(house.store)) == [left]  # the others are not read again
    assert [each["state"] for each in towpath(house, "approvals", outdated)] == ["outdated"]
    assert [each["state"] for each in towpath(house, "approvals", rejected)] == ["rejected"]
    states = {each["run"]: each["state"] for each in towpath(house, "runs")}
    assert states[left] == "waiting"


def test_a_proposal_that_a_killed_runner_had_not_closed_yet_is_not_struck_off(house: House) -> None:
    """Its key is put first; who lists in between finds nothing that waits, and must not take that for its end."""
    assert waiting.listed(house.store) == {}
    run_id = house.open(gated(house, rules()), **ASKED)
    waiting.put(house.store, run_id, "migrate", 1)
    assert towpath(house, "approvals") == []
    with pytest.raises(Waiting):
        house.drive(run_id)
    assert [each["run"] for each in towpath(house, "approvals")] == [run_id]
