"""environments bootstrap, as it is typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.environments import environments
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = """
version: 1
name: shop
environments:
  images: {account: "111111111111", region: eu-central-1, repository: shop/app, bucket: shop-templates}
  elsewhere: {account: "111111111111", region: eu-central-1, repository: "ghcr.io/octo/shop"}
  production: {account: "333333333333", region: eu-central-1, stack: shop, approvals: none}
  second: {account: "333333333333", region: eu-central-1, stack: shop-second, approvals: none}
stages:
  build: {uses: build, with: {template: t.yaml}}
  package: {uses: package, needs: [build], environment: images}
  go: {uses: deploy, needs: [package], environments: [production, second]}
"""


@pytest.fixture
def printed(tmp_path: Path) -> Any:
    """Type it, and give what it prints and what it says beside that."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(DEFINITION)

    def run(*arguments: str) -> tuple[str, str]:
        done = CliRunner().invoke(environments, ["bootstrap", *arguments, "-f", str(file)])
        if done.exception:
            raise done.exception
        return done.stdout, done.stderr

    return run


def trusted(text: str) -> Any:
    made = yaml.safe_load(text)["Resources"]
    return made["Apply"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]


@pytest.mark.parametrize(
    ("arguments", "subject", "audience"),
    [
        (("--github", "octo/shop"), "repo:octo/shop:environment:production", "sts.amazonaws.com"),
        (("--github", "octo/shop", "--github-environment", "live"), "repo:octo/shop:environment:live", None),
        (("--github", "octo/shop", "--github-environment", ""), "repo:octo/shop:ref:refs/heads/main", None),
        (("--github", "octo@12/shop@34"), "repo:octo@12/shop@34:environment:production", None),
        (("--gitlab", "a/b/c"), "project_path:a/b/c:ref_type:branch:ref:main", "https://gitlab.com"),
        (
            ("--gitlab", "a/b", "--gitlab-host", "git.example.com", "--branch", "x", "--audience", "aws"),
            "project_path:a/b:ref_type:branch:ref:x",
            "aws",
        ),
    ],
)
def test_roles_trust_jobs_of_that_repository_and_environment_or_branch(
    printed: Any, arguments: tuple[str, ...], subject: str, audience: str | None
) -> None:
    said = trusted(printed("production", *arguments)[0])["StringEquals"]
    (aud, sub) = sorted(said)
    assert said[sub] == [subject]
    assert audience in (None, said[aud])


def test_jobs_of_the_branch_may_propose_and_only_those_of_the_environment_apply(printed: Any) -> None:
    made = yaml.safe_load(printed("production", "--github", "octo/shop", "--branch", "live")[0])["Resources"]
    found = {}
    for role in ("Propose", "Apply", "Invoke"):
        [statement] = made[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        found[role] = statement["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"]
    own = "repo:octo/shop:environment:production"
    assert found == {"Propose": [own, "repo:octo/shop:ref:refs/heads/live"], "Apply": [own], "Invoke": [own]}


def test_change_sets_are_those_of_the_stages_that_deploy_there(printed: Any) -> None:
    text, said = printed("production", "--github", "octo/shop")
    assert "changeSet/towpath-*-go-production-*/*" in text
    assert "go-second" not in text
    assert "'second'" in said  # its functions are named as if they were of a stack nested in this one


def test_how_to_deploy_it_and_what_to_write_stands_on_top(printed: Any) -> None:
    text, said = printed("images", "--gitlab", "a/b")
    assert "#     method: gitlab-oidc\n" in text
    assert "--stack-name towpath-images --capabilities CAPABILITY_NAMED_IAM --region eu-central-1" in text
    assert said == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prod",), "there is no environment 'prod'"),
        (("elsewhere",), "has neither a stack nor a repository of its account"),
        (("production", "--github", "octo"), "--github is OWNER/REPO"),
        (("production", "--github", "octo/shop:*"), "--github is OWNER/REPO"),
        (("production", "--gitlab", "a/b*"), "--gitlab is GROUP/PROJECT"),
        (("production", "--github", "a/b", "--gitlab", "a/b"), "both say who may assume the roles"),
        (("production", "--github", "a/b", "--principal", "arn:aws:iam::1:role/x"), "this is no ARN of IAM"),
        (("images", "--puller", "1"), "--puller is an account's twelve digits"),
    ],
)
def test_what_cannot_be_made_is_refused(printed: Any, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        printed(*arguments)
    assert message in caught.value.message


def test_programs_get_the_template_as_json(printed: Any) -> None:
    text, said = printed("production", "--json")
    assert json.loads(text) == yaml.safe_load(printed("production")[0])
    assert said == ""
