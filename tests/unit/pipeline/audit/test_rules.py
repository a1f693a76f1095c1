from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import command

from pipeline.audit import rules
from pipeline.plan import Plan
from pipeline.record import chain
from pipeline.record.chain import Event, Head
from pipeline.record.replay import Attempt, Outcome, Run
from stages.contract import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.contract import Phase

HEAD = Head("runs/r/open", "sha256:0", 3)
PINNED = {
    "functions": {"Hello": {"manifest": "sha256:aa"}, "Hola": {"manifest": "sha256:bb"}},
    "templates": {"": {}, "Child": {}},
}


def attempt(stage: str, outcome: Outcome | None = "succeeded", facts: dict[str, Any] | None = None) -> Attempt:
    return Attempt(stage, 1, HEAD, "", "", {}, {}, None, outcome=outcome, facts=facts or {})


def run(*attempts: Attempt) -> Run:
    found = Run("r", HEAD, "", "sha256:0", {})
    for each in attempts:
        found.add(each)
    return found


def found_running(images: Mapping[str, str | None]) -> list[str]:
    made = attempt("deploy", facts={"functions": {name: {"image": image} for name, image in images.items()}})
    return [str(each) for each in rules.read_back(run(made), made, PINNED)]


def test_what_runs_is_what_the_release_pins_wherever_its_registry_is() -> None:
    assert found_running({"Hello": "here/x@sha256:aa", "Hola": "there/y@sha256:bb"}) == []


def test_of_archives_and_of_templates_that_are_elsewhere_nothing_is_pinned() -> None:
    assert found_running({"Zip": None, "Elsewhere/Fn": "x@sha256:cc"}) == []


@pytest.mark.parametrize(
    "images",
    [
        {"Hello": "x@sha256:bb"},
        {"Hello": "x:latest"},
        {"Hello": None},
        {"Other": "x@sha256:aa"},
        {"Child/Other": "x@sha256:aa"},
    ],
)
def test_another_image_than_the_pinned_one_is_named(images: dict[str, str | None]) -> None:
    (said,) = found_running(images)
    assert said.startswith(f"runs/r/deploy.1: function {next(iter(images))} runs another image")


def test_a_deployment_that_says_nothing_of_what_runs_does_not_hold() -> None:
    made = attempt("deploy")
    assert rules.read_back(run(made), made, PINNED)


@pytest.mark.parametrize(
    ("outcomes", "open_stages"),
    [
        ({"a": "succeeded", "b": "succeeded", "c": "succeeded"}, []),
        ({"a": "failed"}, []),
        ({"a": "succeeded"}, ["runs/r/b.1"]),
        ({}, ["runs/r/a.1"]),
        ({"a": "succeeded", "b": "canceled"}, []),
    ],
)
def test_a_run_is_complete_once_nothing_can_follow(outcomes: dict[str, Outcome], open_stages: list[str]) -> None:
    stages = [command("a", ""), command("b", "", needs=("a",)), command("c", "", needs=("b",))]
    plan = Plan("t", {}, {}, {each.name: each for each in stages})
    made = run(*(attempt(name, outcome) for name, outcome in outcomes.items()))
    assert [each.key for each in rules.completeness(plan, made)] == open_stages


def test_a_request_for_something_else_than_planned_is_named() -> None:
    stage, made = command("a", "true"), attempt("a")
    document = {
        "kind": "command", "phase": "apply", "handle": "r-a-1", "options": stage.options, "target": None, "proposal": None,
    }  # fmt: skip

    def found(document: Any) -> list[str]:
        return [
            each.text for each in rules.request(run(made), stage, made, document, phase="apply", proposal=None, key="k")
        ]

    assert found(document) == []
    for name, other in (
        ("kind", "deploy"),
        ("phase", "propose"),
        ("handle", "r-b-1"),
        ("options", {}),
        ("proposal", {}),
    ):
        (text,) = found({**document, name: other})
        assert f"another {name} than" in text
    assert found([])
    target = Target("e", "111122223333", "eu-central-1", stack="demo")
    stage = dataclasses.replace(stage, target=target)
    assert found({**document, "target": target.as_json()}) == []  # as it was recorded before there were more keys
    assert found({**document, "target": dataclasses.asdict(target)}) == []
    for other_target in (None, dataclasses.asdict(dataclasses.replace(target, on_failure="do-nothing"))):
        (text,) = found({**document, "target": other_target})
        assert "another target than" in text


@pytest.mark.parametrize(
    ("outcome", "finished", "outputs", "said"),
    [
        (None, ("apply",), {"thing": "sha256:aa"}, []),
        (None, ("apply",), {"thing": "sha256:bb"}, ["adopts another result than that of a.1"]),
        (None, (), {"thing": "sha256:aa"}, ["adopts a result that a.1 had not come to"]),
        ("failed", ("apply",), {"thing": "sha256:aa"}, ["adopts a result that a.1 had not come to"]),
    ],
)
def test_only_a_result_that_was_come_to_is_adopted(
    outcome: Outcome | None, finished: tuple[Phase, ...], outputs: dict[str, str], said: list[str]
) -> None:
    before = Attempt("a", 1, HEAD, "", "", {}, {}, None, outcome=outcome, finished=finished, outputs=outputs)
    after = Attempt("a", 2, HEAD, "", "", {}, {}, None, outcome="succeeded", outputs={"thing": "sha256:aa"})
    result = {"outputs": {"thing": "sha256:aa"}, "facts": {}, "statements": []}
    events = (
        Event(0, None, chain.CHAIN_OPENED, "", {}, ""),
        Event(1, "", chain.RESULT_ADOPTED, "", {"from": 1, **result}, ""),
        Event(2, "", chain.CHAIN_CLOSED, "", {"outcome": "succeeded"}, ""),
    )
    stage = command("a", "true", outputs=["thing"])
    found = [each.text for each in rules.phases(run(before, after), stage, after, events)]
    assert found == said


@pytest.mark.parametrize(
    ("required", "mode", "said"),
    [
        ("required", {"isolation": {"mode": "bubblewrap"}}, []),
        ("required", {"isolation": {"mode": "container"}}, []),
        ("required", {"isolation": {"mode": "none"}}, ["was not isolated, and the plan requires it"]),
        ("required", {}, ["was not isolated, and the plan requires it"]),
        ("best-effort", {"isolation": {"mode": "none"}}, []),
        ("best-effort", {}, []),
    ],
)
def test_isolation_that_the_plan_requires(required: str, mode: dict[str, Any], said: list[str]) -> None:
    plan = Plan("a", {}, {}, {"a": command("a", "true")}, required)
    events = (Event(1, "", chain.PHASE_INTENDED, "", {"phase": "apply", **mode}, ""),)
    assert [each.text for each in rules.isolation(plan, "runs/r/a.1", events)] == said
