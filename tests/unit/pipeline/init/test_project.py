"""A new project: whatever was chosen, it is valid without a warning, and what it has for CI is what the documentation has."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.pages import blocks

from pipeline import definition
from pipeline.compiling import compile_plan
from pipeline.definition import parameters
from pipeline.errors import UsageError
from pipeline.init import choices, render, writing
from pipeline.init.choices import Choices, Person
from pipeline.init.runtimes import RUNTIMES
from stages import build, invoke, scan
from stages.contract import Request

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.plan import Plan

CHECKS = {"build": build.check, "scan": scan.check, "invoke": invoke.check}


def chosen(runtime: str = "python", **changes: Any) -> Choices:
    artifacts, *places = choices.places(("staging", "production"), (), "eu-central-1")
    plain = Choices(
        name="shop",
        runtime=RUNTIMES[runtime],
        functions=choices.functions(["hello"]),
        api=True,
        architecture="x86_64",
        ci="none",
        artifacts=artifacts,
        environments=tuple(places),
        base_image=RUNTIMES[runtime].image,
    )
    return dataclasses.replace(plain, **changes)


def made(folder: Path, wanted: Choices) -> Path:
    writing.new_folder(folder, render.project(wanted, "x86_64"))
    return folder


def validated(project: Path, work: Path) -> Plan:
    """Check as `towpath validate` does, without a process for each stage."""
    loaded = definition.load(project / "pipeline.yaml", project)
    assert loaded.warnings == ()
    plan, _files = compile_plan(loaded, parameters.resolve(loaded, {}), project)
    for stage in plan.stages.values():
        if stage.kind in CHECKS:
            request = Request(stage.kind, "check", stage.name, stage.options, source=str(project), target=stage.target)
            assert CHECKS[stage.kind](request, work).problems == []
    return plan


@pytest.mark.parametrize("api", [True, False], ids=["api", "plain"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_is_valid_without_a_warning(tmp_path: Path, runtime: str, *, api: bool) -> None:
    functions = choices.functions(["hello", "say-good-bye"])
    person = Person("null" if api else "ada", 'a"da@example.com', "ada")
    wanted = chosen(runtime, api=api, functions=functions, person=person, architecture="arm64")
    project = made(tmp_path / "shop", wanted)
    plan = validated(project, tmp_path)
    assert list(plan.stages) == [
        "build",
        "scan",
        "package",
        "deploy-staging",
        "smoke-staging",
        "deploy-production",
        "smoke-production",
    ]
    assert set(plan.stages["smoke-production"].files) == {
        "smoke.yaml",
        "functions/hello/events/greet.json",
        "functions/say-good-bye/events/greet.json",
    }
    for file in project.rglob("*"):
        if file.is_file():
            text = file.read_text()
            assert text.endswith("\n"), file
            assert not re.search(r"\{[%=]|[%=]\}", text), file
            assert not re.search(r"[ \t]$", text, re.MULTILINE), file
            assert "\n\n\n\n" not in text, file
            assert os.access(file, os.X_OK) == text.startswith("#!"), file
    for function in functions:
        assert json.loads((project / f"functions/{function.name}/events/greet.json").read_text())


def test_every_number_of_environments_can_be_had_in_every_partition(tmp_path: Path) -> None:
    regions = {"us-gov-west-1": "aws-us-gov", "cn-north-1": "aws-cn", "eu-west-1": "aws"}
    for names, region in zip(
        (["live"], ["a", "b", "c"], [f"stage-{number}" for number in range(8)]), regions, strict=True
    ):
        artifacts, *places = choices.places(choices.environments(names), ["444444444444"], region)
        wanted = chosen(artifacts=artifacts, environments=tuple(places), ci="gitlab")
        project = made(tmp_path / names[0], wanted)
        plan = validated(project, tmp_path)
        deployed = [each for each in plan.stages.values() if each.kind == "deploy"]
        assert [each.name for each in deployed] == [f"deploy-{name}" for name in names]
        assert {each.target.partition for each in deployed if each.target} == {regions[region]}
        ci = (project / ".gitlab-ci.yml").read_text()
        assert yaml.safe_load(ci)["stages"] == ["build", "package", *names[:-1], "propose", names[-1]]
        assert f"arn:{regions[region]}:iam::444444444444:role/towpath-propose" in ci


# Tests read these pages and run what their jobs run (tests/e2e/test_ci_pages.py, test_five_machines.py): a job of a new project that
# runs the same has been tried as well.


def test_the_workflow_for_github_is_the_one_of_the_documentation(tmp_path: Path) -> None:
    project = made(tmp_path / "shop", chosen(ci="github"))
    ours = yaml.safe_load((project / ".github/workflows/deploy.yml").read_text())
    page = next(yaml.safe_load(each) for each in blocks("how-to/github-actions.md", "yaml") if "jobs:" in each)
    assert list(ours["jobs"]) == list(page["jobs"])
    for name, theirs in page["jobs"].items():
        job = ours["jobs"][name]
        assert {key: value for key, value in job.items() if key not in {"steps", "if"}} == {
            key: value for key, value in theirs.items() if key not in {"steps", "if"}
        }
        assert job.get("if", "").replace("vars.TOWPATH_STORE && ", "") == theirs.get("if", "")
        assert [each["uses"] for each in job["steps"] if "uses" in each] == [
            each["uses"] for each in theirs["steps"] if "uses" in each
        ]
        assert [each.get("with", {}).get("role-to-assume") for each in job["steps"]][:3] == [
            each.get("with", {}).get("role-to-assume") for each in theirs["steps"]
        ][:3]
    assert _same_commands(_runs(ours), _runs(page))
    action = yaml.safe_load((project / ".github/actions/begin/action.yml").read_text())
    given = {
        key
        for job in ours["jobs"].values()
        for step in job["steps"]
        if "begin" in step.get("uses", "")
        for key in step["with"]
    }
    assert given == set(action["inputs"])


def _runs(workflow: Any) -> dict[str, list[str]]:
    return {name: [each["run"] for each in job["steps"] if "run" in each] for name, job in workflow["jobs"].items()}


def test_the_pipeline_for_gitlab_is_the_one_of_the_documentation(tmp_path: Path) -> None:
    project = made(tmp_path / "shop", chosen(ci="gitlab"))
    ours = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    [page] = [yaml.safe_load(each) for each in blocks("how-to/gitlab.md", "yaml")]
    assert ours["stages"] == page["stages"]
    jobs = {name: job["script"] for name, job in ours.items() if isinstance(job, dict) and "script" in job}
    theirs = {name: job["script"] for name, job in page.items() if isinstance(job, dict) and "script" in job}
    assert _same_commands(jobs, theirs)
    for name in theirs:
        assert {key: value for key, value in ours[name].items() if key not in {"script", "variables"}} == {
            key: value for key, value in page[name].items() if key not in {"script", "variables"}
        }
        assert ours[name]["variables"]["AWS_ROLE_ARN"] == page[name]["variables"]["AWS_ROLE_ARN"]
    assert {**ours["default"], "image": ""} == {**page["default"], "image": ""}


def _same_commands(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> bool:
    """Whether all jobs run the same, but that ours ask more: each environment, also the last one."""
    plain = {
        name: [each.replace("smoke-staging", "smoke") for each in lines if "run smoke-" not in each]
        for name, lines in ours.items()
    }
    assert plain == theirs
    return True


def test_every_stage_that_a_workflow_names_is_there(tmp_path: Path) -> None:
    for ci, file in (("github", ".github/workflows/deploy.yml"), ("gitlab", ".gitlab-ci.yml")):
        project = made(tmp_path / ci, chosen(ci=ci))
        stages = definition.load(project / "pipeline.yaml", project).stages
        named = re.findall(r"towpath stage (?:run|propose|apply) (.*?) --run", (project / file).read_text())
        assert {name for each in named for name in each.split()} == set(stages)


# What can be tried of it without an image


@pytest.mark.parametrize("api", [True, False], ids=["api", "plain"])
@pytest.mark.parametrize("runtime", ["python", "provided"])
def test_its_unit_tests_pass_and_can_fail(tmp_path: Path, runtime: str, *, api: bool) -> None:
    folder = made(tmp_path / "shop", chosen(runtime, api=api)) / "functions/hello"
    argv = shlex.split(RUNTIMES[runtime].test)
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    code = folder / {"python": "app.py", "provided": "function.sh"}[runtime]
    code.write_text(code.read_text().replace("hello, ", "bye, "))
    assert subprocess.run(argv, cwd=folder, capture_output=True, check=False).returncode


# What cannot be had


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: choices.name("Shop"), "--name 'Shop' is not a project's name"),
        (lambda: choices.name("a"), "too short"),
        (lambda: choices.name("a--b"), "not a project's name"),
        (lambda: choices.name("x" * 31), "longer than 30"),
        (lambda: choices.name("../x"), "not a project's name"),
        (lambda: choices.name("no"), "a word that YAML takes for something else"),
        (lambda: choices.functions(["true"]), "a word that YAML takes for something else"),
        (lambda: choices.environments(["null"]), "a word that YAML takes for something else"),
        (lambda: choices.functions(["a-b", "a-b"]), "another function has the same name"),
        (lambda: choices.environments([]), "between 1 and 8"),
        (lambda: choices.environments(["x"] * 9), "between 1 and 8"),
        (lambda: choices.environments(["a", "a"]), "given twice"),
        (lambda: choices.environments(["build"]), "is taken"),
        (lambda: choices.environments(["a-very-long-name"]), "longer than 13"),
        (lambda: choices.places(["a"], ["b=111111111111"], "eu-west-1"), "there is no environment 'b'"),
        (lambda: choices.places(["a"], ["1234"], "eu-west-1"), "'1234' is not the twelve digits"),
        (lambda: choices.places(["a"], [], "europe"), "'europe' is no region"),
        (lambda: choices.image("a b"), "no image's name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_option(wrong: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        wrong()


def test_accounts_are_for_all_or_for_one() -> None:
    places = choices.places(("a", "b"), ["999999999999", "b=000000000001"], "eu-west-1")
    assert [each.account for each in places] == ["999999999999", "999999999999", "000000000001"]
    places = choices.places(("a", "b"), ["b=000000000001"], "eu-west-1")
    assert [each.account for each in places] == ["111111111111", "222222222222", "000000000001"]


def test_who_makes_it_is_its_first_person_if_the_names_can_be_had() -> None:
    assert choices.person("Ada Lovelace", "ada@example.com", "ada") == Person("ada-lovelace", "ada@example.com", "ada")
    assert choices.person("", "grace@example.com", "g") == Person("grace", "grace@example.com", "g")
    assert choices.person("Ada", "not an address", "ada") is None
    assert choices.person("李", "@", "x") is None
