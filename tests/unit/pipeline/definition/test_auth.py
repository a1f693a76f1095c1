from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline import compiling
from pipeline import plan as plans
from pipeline.errors import InvalidDefinition, VerificationFailed
from pipeline.plan import Auth

if TYPE_CHECKING:
    from pathlib import Path

    from unit.pipeline.definition.conftest import Load, Problems

A = "arn:aws:iam::111122223333:role/"


def definition(auth: str, more: str = "", account: str = 'account: "111122223333"') -> str:
    return f"""
environments:
  e: {{{account}, region: eu-west-1, stack: demo, repository: demo, approvals: none, auth: {auth}{more}}}
stages:
  build: {{uses: build, with: {{template: t.yaml}}}}
  package: {{uses: package, needs: [build], environment: e}}
  deploy: {{uses: deploy, needs: [package], environment: e}}
"""


def test_each_stage_is_planned_with_the_roles_of_its_own_phases(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("Resources: {}\n")
    roles = f"{{roles: {{propose: '{A}p', apply: '{A}a'}}, role: '{A}all', profile: base}}"
    plan, _ = compiling.compile_plan(load(definition(roles)), {}, tmp_path)
    assert plan.stages["deploy"].auth == Auth("ambient", {"propose": A + "p", "apply": A + "a"})
    assert plan.stages["package"].auth == Auth("ambient", {"package": A + "all"})
    assert (plan.stages["deploy"].profile, plan.stages["build"].auth) == ("base", None)
    assert plans.from_json(plan.as_json(), "it").digest == plan.digest


def test_a_profile_alone_is_planned_as_it_always_was(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("Resources: {}\n")
    plan, _ = compiling.compile_plan(load(definition("{profile: base}")), {}, tmp_path)
    said = plan.stages["deploy"].as_json()
    assert said["profile"] == "base"
    assert "auth" not in said


def test_a_plan_with_other_roles_than_its_phases_need_is_none(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("Resources: {}\n")
    plan, _ = compiling.compile_plan(load(definition(f"{{role: '{A}all'}}")), {}, tmp_path)
    said = plan.as_json()
    del said["stages"][2]["auth"]["roles"]["apply"]
    with pytest.raises(VerificationFailed, match="has not just the roles that its phases need"):
        plans.from_json(said, "it")


@pytest.mark.parametrize(
    ("auth", "message", "hint"),
    [
        ("{method: github-oidc}", "'e' has no role for package, which stage 'package' needs", "or a `role` for all"),
        (f"{{roles: {{package: '{A}x', apply: '{A}a'}}}}", "'e' has no role for propose", "roles: {propose:"),
        (f"{{method: gitlab-oidc, role: '{A}x'}}", "does not say which variable holds the token", "variable: NAME"),
        (f"{{role: '{A}x', variable: T}}", "signs in by ambient, and `variable` is for gitlab-oidc", "method: gitlab"),
        (f"{{method: github-oidc, role: '{A}x', profile: p}}", "`profile` is for ambient", "Remove `profile`"),
        ("{role: 'arn:aws:iam::999988887777:role/x'}", "is not of account 111122223333 in aws", "another is refused"),
        ("{role: 'arn:aws-cn:iam::111122223333:role/x'}", "is not of account 111122223333 in aws", "another is"),
    ],
)
def test_what_does_not_fit_together(problems: Problems, auth: str, message: str, hint: str) -> None:
    found = problems(definition(auth))
    assert message in found[0].message
    assert hint in (found[0].hint or "")
    assert found[0].line is not None


def test_the_embedded_aws_lets_everybody_in(problems: Problems) -> None:
    [found] = problems(definition("{profile: p}", ", aws: embedded"))
    assert (found.hint, "lets everybody in" in found.message) == ("Remove `auth`.", True)


def test_a_secret_that_is_read_in_aws_needs_a_role_as_well(problems: Problems) -> None:
    roles = f"{{roles: {{package: '{A}k', propose: '{A}p', apply: '{A}a'}}}}"
    text = definition(roles) + "  ask: {uses: command, secrets: [S], with: {run: [x]}}\n"
    [found] = problems(text + "secrets: {S: {ssm: /s, environment: e}}\n")
    assert "'e' has no role for secrets, which secret 'S' needs" in found.message


def test_the_key_that_has_moved_is_told_where_to(load: Load) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load(definition("{profile: p}", ", profile: p"))
    assert "auth: {profile: NAME}" in str(caught.value)
