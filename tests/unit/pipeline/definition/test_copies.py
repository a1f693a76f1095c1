from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compiling import compile_plan
from pipeline.definition.copies import copies
from pipeline.definition.model import Stage
from pipeline.plan import GATED

if TYPE_CHECKING:
    from pathlib import Path

    from unit.pipeline.definition.conftest import Load, Problems

PLACES = ["eu", "us", "ap"]
ENVIRONMENTS = "environments:\n" + "".join(
    f'  {name}: {{account: "111122223333", region: eu-central-1, stack: demo-{name}, approvals: none, repository: demo}}\n'
    for name in [*PLACES, "test"]
)
STAGES = """
stages:
  build: {uses: build, with: {template: t}}
  package: {uses: package, needs: [build], environment: test}
  deploy: {uses: deploy, needs: [package], environments: [eu, us, ap]}
  smoke: {uses: invoke, needs: [deploy], environments: [eu, us, ap], with: {requests: r.yaml}}
  announce: {uses: command, needs: [smoke], with: {run: [echo, done]}}
"""
FILES = {"t": "Resources: {}\n", "r.yaml": "{}\n"}


def test_each_environment_has_its_stages_and_the_canary_comes_first(load: Load, tmp_path: Path) -> None:
    plan, _ = compile_plan(load(ENVIRONMENTS + STAGES, FILES), {}, tmp_path)
    stages = plan.stages
    assert list(stages) == [
        "build",
        "package",
        "deploy-eu",
        "smoke-eu",
        "deploy-us",
        "deploy-ap",
        "smoke-us",
        "smoke-ap",
        "announce",
    ]
    assert stages["deploy-us"].target
    assert stages["deploy-us"].target.stack == "demo-us"
    assert stages["smoke-us"].inputs == {"deployment": "deploy-us"}
    assert (stages["smoke-us"].needs, stages["smoke-us"].after) == (["deploy-us"], [])
    assert stages["announce"].needs == ["smoke-eu", "smoke-us", "smoke-ap"]
    assert [stages[name].after for name in ("deploy-eu", "deploy-us", "deploy-ap")] == [
        [],
        ["deploy-eu", "smoke-eu"],
        ["deploy-eu", "smoke-eu"],
    ]
    assert {each.group for each in stages.values()} == {None, "deploy", "smoke"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("environments: [eu, us, ap]}", "environments: [eu, us, eu]}", "'eu' is named twice"),
        ("environments: [eu, us, ap]}", "environments: [eu, su]}", "there is no environment 'su'"),
        (
            "environments: [eu, us, ap]}",
            "environment: test, environments: [eu, us]}",
            "'deploy' has both `environment` and `environments`",
        ),
        ("announce:", "deploy-us:", "there is a stage 'deploy-us' already, as this one is called too"),
        (
            "environments: [eu, us, ap], with",
            "environment: test, with",
            "'smoke' takes 'deployment' from 'deploy', which has several environments, and test is not among them",
        ),
    ],
)
def test_what_is_wrong_with_several_environments(problems: Problems, old: str, new: str, message: str) -> None:
    assert message in [each.message for each in problems(ENVIRONMENTS + STAGES.replace(old, new, 1), FILES)]


def test_a_stage_of_one_of_the_environments_takes_what_that_one_made(load: Load, tmp_path: Path) -> None:
    text = STAGES.replace("environments: [eu, us, ap], with", "environment: us, with")
    plan, _ = compile_plan(load(ENVIRONMENTS + text, FILES), {}, tmp_path)
    assert plan.stages["smoke"].inputs == {"deployment": "deploy-us"}


def test_what_tests_the_canary_alone_holds_up_the_others_too(load: Load, tmp_path: Path) -> None:
    text = STAGES.replace("environments: [eu, us, ap], with", "environment: eu, with").replace(
        "needs: [smoke]", "needs: [deploy]"
    )
    plan, _ = compile_plan(load(ENVIRONMENTS + text, FILES), {}, tmp_path)
    assert plan.stages["deploy-us"].after == ["deploy-eu", "smoke"]


def test_a_name_that_would_be_too_long_is_told(problems: Problems) -> None:
    """It goes into a handle, which is a DNS label: an engine would refuse it in the middle of a run."""
    text = (ENVIRONMENTS + STAGES).replace("ap", "a-very-long-one-indeed-it-is")
    [problem] = [each for each in problems(text, FILES) if "characters" in each.message and "deploy-" in each.message]
    assert "35 characters; 28 is the most" in problem.message


@given(st.data())
def test_whatever_needs_what_nothing_waits_for_itself(data: st.DataObject) -> None:
    stages: dict[str, Stage] = {}
    for name in "stuvwxyz":
        several = data.draw(st.sampled_from([(), ("eu", "us"), ("us", "eu"), ("us", "ap"), ("ap", "eu", "us")]))
        needs = data.draw(st.sets(st.sampled_from(sorted(stages)))) if stages else set()
        kind = data.draw(st.sampled_from(["deploy", "invoke"]))
        stages[name] = Stage.model_construct(uses=kind, needs=tuple(sorted(needs)), environments=several)
    made = copies(stages, {}, GATED)
    place = {name: at for at, name in enumerate(made)}
    for name, each in made.items():
        assert all(place[other] < place[name] for other in (*each.needs, *each.after))
