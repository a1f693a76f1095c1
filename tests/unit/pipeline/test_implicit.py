from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import UsageError
from pipeline.gates.rules import NOBODY
from pipeline.implicit import Step, compile_plan
from pipeline.plan import Auth, from_json
from pipeline.record import digest
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target("staging", "123456789012", "eu-central-1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    (tmp_path / "advisories").mkdir()
    (tmp_path / "advisories" / "a.json").write_text("{}")
    return tmp_path


def test_one_step_is_a_plan_of_one_stage_with_its_files_and_defaults(project: Path) -> None:
    plan, files = compile_plan("build", [Step("build", {"template": "template.yaml", "jobs": 2})], project)
    (stage,) = plan.stages.values()
    assert (stage.name, stage.kind, stage.needs, stage.inputs) == ("build", "build", [], {})
    assert stage.options["jobs"] == 2
    assert stage.options["builder"] == "auto"
    assert stage.files == {"template.yaml": digest.of_bytes(b"Resources: {}\n")}
    assert files == {digest.of_bytes(b"Resources: {}\n"): b"Resources: {}\n"}
    assert from_json(plan.as_json(), "it") == plan


def test_steps_follow_one_another_and_take_what_the_last_gave(project: Path) -> None:
    steps = [
        Step("build", {"template": "template.yaml"}),
        Step("package", target=TARGET),
        Step("scan", {"advisories": "advisories"}, target=TARGET),
        Step("deploy", target=TARGET, rules={"v": 1}),
    ]
    plan, _ = compile_plan("all", steps, project)
    assert {stage.name: (stage.needs, stage.inputs) for stage in plan.stages.values()} == {
        "build": ([], {}),
        "package": (["build"], {"images": "build"}),
        "scan": (["package"], {"release": "package"}),
        "deploy": (["scan"], {"release": "package"}),
    }
    assert plan.stages["deploy"].rules == {"v": 1}
    assert plan.stages["deploy"].target == TARGET
    assert list(plan.stages["scan"].files) == ["advisories/a.json"]


@pytest.mark.parametrize("name", ["nope.yaml", "../template.yaml", "/etc/passwd", "advisories"])
def test_a_file_that_is_none_of_the_projects_is_told(project: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^template: "):
        compile_plan("build", [Step("build", {"template": name})], project)


def test_each_step_gets_its_own_of_an_environments_roles_and_no_other(project: Path) -> None:
    roles = {key: f"arn:aws:iam::123456789012:role/{key}" for key in ("package", "propose", "apply", "invoke")}
    auth = Auth("github-oidc", roles, audience="a")
    steps = [
        Step("build", {"template": "template.yaml"}, auth=auth),
        Step("package", {}, TARGET, auth=auth),
        Step("deploy", {}, TARGET, rules=NOBODY.as_json(), auth=auth),
    ]
    plan, _ = compile_plan("deploy", steps, project)
    has = {name: sorted(each.auth.roles) if each.auth else None for name, each in plan.stages.items()}
    assert has == {"build": None, "package": ["package"], "deploy": ["apply", "propose"]}
    assert from_json(plan.as_json(), "it") == plan


def test_a_step_without_a_role_where_others_have_one_is_refused(project: Path) -> None:
    auth = Auth("ambient", {"propose": "arn:aws:iam::123456789012:role/p"})
    with pytest.raises(UsageError, match="the environment 'staging' has no role for apply"):
        compile_plan("recover", [Step("recover", {}, TARGET, auth=auth)], project)
