"""What runs where, as ledgers of a real store tell it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, TARGET, decide, gated
from support.machine import TOWPATH

from pipeline import environments
from pipeline.cli.environments import listed
from pipeline.environments import Place
from pipeline.errors import VerificationFailed, Waiting
from pipeline.gates.freezes import Freeze
from pipeline.gates.rules import NOBODY
from pipeline.record import artifacts, ledger, ledgers
from pipeline.record.writer import event_key
from stages.contract import COMMAND

if TYPE_CHECKING:
    from support.plans import House

    from pipeline.record.ledger import Ledger

PLACE = Place("production", TARGET, defined=True)


def image(digit: str) -> str:
    return f"333333333333.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{digit * 64}"


def subject(digit: str, **changed: Any) -> dict[str, Any]:
    """What was approved of a deployment, as far as anybody here reads it."""
    proposal = {
        "release": f"sha256:{digit * 64}",
        "images": {"Hello": {"config": "c", "manifest": "m", "image": image(digit)}},
        "parameters": {"Level": {"value": "1"}, "Token": {"digest": "scrypt:0123456789abcdef"}},
        "template": {"original": f"sha256:{digit * 64}", "processed": "sha256:" + "0" * 64},
        "execution": {"tags": {"application": "demo"}},
        "nothing_to_do": False,
    }
    return {"v": 1, "proposal": {**proposal, **changed}}


def deploy(house: House, digit: str, outcome: str | None = "succeeded", **more: Any) -> str:
    """Write into the ledger what a runner does that deploys a release; without an outcome it is still at it."""
    run_id = house.open(gated(house, NOBODY))
    book = ledgers.read(house.store, PLACE.ledger)
    intent = {
        "run": run_id,
        "stage": "deploy",
        "kind": "deploy",
        "attempt": 2,
        "opening": house.load(run_id).head.digest,
        "subject": artifacts.put_json(house.store, subject(digit)),
        "release": f"sha256:{digit * 64}",
        "commit": digit * 40,
        "requester": {"email": "dora@example.com", "user": "ci"},
        "approvals": [{"person": "ada", "statement": digit}, {"person": "grace", "statement": digit + "2"}],
        **more,
    }
    entries: list[tuple[str, dict[str, Any]]] = [(ledger.DEPLOYMENT_INTENDED, intent)]
    if not book.rules:
        entries.insert(0, (ledger.TARGET_ENROLLED, {"rules": rules(people=2).as_json(), "run": run_id}))
    if outcome:
        told = {"run": run_id, "stage": "deploy", "outcome": outcome, "functions": {"Hello": {"image": image(digit)}}}
        entries.append((ledger.DEPLOYMENT_FINISHED, told))
    ledgers.append(house.store, book, entries, house.key)
    return run_id


def told(house: House) -> dict[str, Any]:
    return environments.told(PLACE, book_of(house))


def book_of(house: House) -> Ledger:
    return ledgers.read(house.store, PLACE.ledger)


def test_where_nothing_was_deployed_nothing_is_told(house: House) -> None:
    state = told(house)
    assert (state["current"], state["rules"], state["ledger"], state["history"]) == (None, None, None, [])


def test_the_last_that_succeeded_is_what_runs(house: House) -> None:
    deploy(house, "a")
    second = deploy(house, "b")
    failed = deploy(house, "c", "failed")
    state = told(house)
    current = state["current"]
    assert (current["run"], current["release"], current["commit"]) == (second, "sha256:" + "b" * 64, "b" * 40)
    assert (current["asked_for_by"], current["approved_by"]) == ("dora@example.com", ["ada", "grace"])
    assert current["at"] == next(e.at for e in reversed(book_of(house).events) if e.data.get("run") == second)
    assert [each["outcome"] for each in state["history"]] == ["failed", "succeeded", "succeeded"]
    assert state["history"][0]["run"] == failed
    assert state["unfinished"] == []


def test_a_deployment_without_an_end_is_unfinished_and_replaces_nothing(house: House) -> None:
    first = deploy(house, "a")
    begun = deploy(house, "b", None)
    state = told(house)
    assert state["current"]["run"] == first
    assert [each["run"] for each in state["unfinished"]] == [begun]
    later = deploy(house, "c")
    state = told(house)
    assert (state["current"]["run"], state["unfinished"]) == (later, [])
    assert [(each["run"], each["outcome"]) for each in state["history"]][:2] == [
        (later, "succeeded"),
        (begun, "superseded"),
    ]


def test_a_deployment_whose_first_attempt_died_before_it_began_is_told_once(house: House) -> None:
    begun = deploy(house, "a", None)
    done = {"run": begun, "stage": "deploy", "outcome": "succeeded", "functions": {}}
    intent = book_of(house).intents[begun, "deploy"] | {"attempt": 2}
    entries = [(ledger.DEPLOYMENT_INTENDED, intent), (ledger.DEPLOYMENT_FINISHED, done)]
    ledgers.append(house.store, book_of(house), entries, house.key)
    state = told(house)
    assert state["unfinished"] == []
    assert [(each["run"], each["attempt"], each["outcome"]) for each in state["history"]] == [(begun, 2, "succeeded")]


def test_a_program_that_passed_the_gate_is_history_and_runs_nothing(house: House) -> None:
    deploy(house, "a", kind="command")
    state = told(house)
    assert state["current"] is None
    assert len(state["history"]) == 1


def test_a_change_of_rules_is_told_as_it_is(house: House) -> None:
    run_id = deploy(house, "a")
    changed = {"rules": NOBODY.as_json(), "kind": "weaker", "reasons": ["fewer"], "approvals": [], "run": run_id}
    ledgers.append(house.store, book_of(house), [(ledger.RULES_CHANGED, changed)], house.key)
    state = told(house)
    assert state["rules"]["text"] == "nobody's approval"
    [event] = state["events"]
    assert (event["type"], event["data"]["kind"]) == ("rules.changed", "weaker")


def test_what_went_back_is_told_and_that_it_holds_up_what_comes_next(house: House) -> None:
    first = deploy(house, "a")
    second = deploy(house, "a", way={"kind": "rollback", "run": first})
    state = told(house)
    assert (state["hold"]["run"], state["current"]["way"]["run"]) == (second, first)
    assert f"when run {second} went back to an older release" in towpath(house).stdout
    assert f"succeeded, back to what run {first} deployed" in towpath(house, "demo").stdout


def test_who_has_locked_it_is_told(house: House) -> None:
    deploy(house, "a")
    locked = {"by": {"email": "dora@example.com"}, "reason": "an incident", "run": None}
    ledgers.append(house.store, book_of(house), [(ledger.LOCK_TAKEN, locked)], house.key)
    assert {"by", "at", "reason"} == set(told(house)["lock"])
    assert "locked by dora@example.com since" in towpath(house).stdout
    assert "lock.taken  by dora@example.com, reason an incident" in towpath(house, "demo").stdout
    assert "an incident" in towpath(house, "demo").stdout


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "2 approvals of alice, bob, carol, each good for 1 h"),
        ({"people": 1, "expires_s": 90}, "1 approval of alice, bob, carol, each good for 90 s"),
        (
            {"scan": "required", "expires_s": 5400},
            "2 approvals of alice, bob, carol, each good for 90 min, and a scan that its images have passed",
        ),
        (
            {"people": 0, "approvers": {}, "freezes": (Freeze("weekend", "fri 16:00", "mon 08:00", "UTC"),)},
            "nobody's approval; nothing in weekend",
        ),
    ],
)
def test_rules_in_words(changed: dict[str, Any], text: str) -> None:
    base = dataclasses.replace(rules(people=2), expires_s=3600, scan="none")
    assert environments.words(dataclasses.replace(base, **changed)).startswith(text)


def test_the_tokens_are_those_of_every_attempt_that_may_have_made_the_change_set(house: House) -> None:
    run_id = deploy(house, "a")
    assert environments.tokens(book_of(house)) == {f"towpath-{run_id}-deploy-1", f"towpath-{run_id}-deploy-2"}


def details(house: House) -> dict[str, Any]:
    state = told(house)
    return state | environments.details(environments.approved(house.store, state["current"], "x"), state["current"])


def test_details_are_of_what_was_approved_and_secrets_stay_digests(house: House) -> None:
    deploy(house, "a")
    found = details(house)
    assert found["images"] == {"Hello": image("a")}
    assert found["parameters"] == {"Level": "1", "Token": "(secret, scrypt:0123456…)"}
    assert found["tags"] == {"application": "demo"}


def test_only_what_differs_is_told_and_releases_first(house: House) -> None:
    deploy(house, "a")
    ours = details(house)
    run_id = deploy(house, "b")
    found = environments.differences(ours, details(house))
    assert [each["what"] for each in found] == ["release", "commit", "run", "image of Hello", "template, original"]
    assert found[0]["values"] == ["sha256:" + "a" * 64, "sha256:" + "b" * 64]
    assert found[2]["values"][1] == run_id
    assert environments.differences(ours, ours) == []


def test_copies_of_a_release_in_another_region_differ_in_nothing(house: House) -> None:
    deploy(house, "a")
    ours = details(house)
    there = {name: uri.replace("eu-central-1", "us-east-1") for name, uri in ours["images"].items()}
    theirs = {**ours, "images": there, "template": {"original": "x", "processed": "y"}}
    assert environments.differences(ours, theirs) == []
    other = {**theirs, "images": {name: image("b") for name in there}}
    assert [each["what"] for each in environments.differences(ours, other)] == ["image of Hello"]


def test_what_was_approved_and_is_no_longer_what_its_digest_says(house: House) -> None:
    deploy(house, "a", subject=artifacts.put_json(house.store, ["no subject"]))
    with pytest.raises(VerificationFailed, match="is no subject of a deployment"):
        environments.approved(house.store, told(house)["current"], "production")


def towpath(house: House, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    argv = [TOWPATH, "environments", *arguments, "--store", str(house.store.root), "--project", str(house.project)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return done


def test_a_store_alone_tells_what_its_plans_call_the_environment(house: House) -> None:
    run_id = house.open(gated(house, rules(people=1)), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice")
    house.drive(run_id)
    [state] = json.loads(towpath(house, "--json").stdout)
    assert (state["environment"], state["defined"], state["target"]["stack"]) == ("production", False, "demo")
    assert state["history"][0]["approved_by"] == ["alice"]
    assert run_id in towpath(house, "production").stdout
    said = towpath(house, "produktion", code=2).stderr
    assert "Did you mean 'production'?" in said


def test_each_stack_that_was_deployed_without_a_pipeline_is_told_by_its_name(house: House) -> None:
    others = [("eu-west-1", "shop"), ("eu-west-1", "till"), ("us-east-1", "shop")]
    for region, name in others:
        stage = gated(house, NOBODY)
        alone = dataclasses.replace(TARGET, environment=COMMAND, region=region, stack=name)
        house.drive(house.open(dataclasses.replace(stage, target=alone), **ASKED))
    states = json.loads(towpath(house, "--json").stdout)
    second = f"aws.{TARGET.account}.us-east-1.shop"
    assert [each["environment"] for each in states] == ["shop", "till", second]
    assert [(each["target"]["region"], each["target"]["stack"]) for each in states] == others


def test_a_definition_that_is_not_valid_hides_nothing_that_the_store_knows(house: House) -> None:
    deploy(house, "a")
    (house.project / "pipeline.yaml").write_text("version: 1\nname: [")
    said = towpath(house)
    assert "demo" in said.stdout
    assert "is not valid (towpath validate)" in said.stderr


def test_a_ledger_that_does_not_hold_hides_no_other(house: House) -> None:
    deploy(house, "a")
    broken = house.store.root / "ledgers/aws.444444444444.eu-central-1.other/000000"
    broken.parent.mkdir()
    broken.with_name(event_key("x", 0).rpartition("/")[2]).write_text("{}")
    said = towpath(house, code=4)
    assert "demo" in said.stdout
    assert "ledgers/aws.444444444444.eu-central-1.other/00000000.json is not a DSSE envelope" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--diff", "staging"), "Write: ENV --diff OTHER"),
        (("a", "b"), "'b' is one environment too many"),
        (("a", "--diff", "b", "--drift"), "Ask one after the other"),
    ],
)
def test_two_questions_at_once_are_refused(house: House, arguments: tuple[str, ...], said: str) -> None:
    assert said in towpath(house, *arguments, code=2).stderr


def test_what_is_wider_than_the_screen_is_told_one_below_the_other() -> None:
    head, rows = ["environment", "stack", "run"], [["staging", "demo", "-"], ["production", "demo", "20261126-a"]]
    table = ["ENVIRONMENT  STACK  RUN", "staging      demo   -", "production   demo   20261126-a"]
    assert listed(head, rows, None) == listed(head, rows, 80) == table
    assert listed(head, rows, 20) == [
        "staging",
        "  stack        demo",
        "production",
        "  stack        demo",
        "  run          20261126-a",
    ]
