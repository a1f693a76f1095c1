from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline import compiling

if TYPE_CHECKING:
    from pathlib import Path

    from unit.pipeline.definition.conftest import Load, Problems

BASE = """
secrets:
  HOOK: {variable: HOOK_KEY}
  SLACK: {file: /run/slack}
environments:
  tools: {account: "111122223333", region: eu-central-1}
notifications:
  - {to: webhook, url: "https://example.com/hook", secret: HOOK}
  - {to: slack, url-secret: SLACK, on: [failed, break-glass], environments: [tools]}
  - {to: sns, topic: "arn:aws:sns:eu-central-1:111122223333:deployments", environment: tools}
  - {to: github-deployment, repository: ada/shop, token: HOOK}
stages: {tidy: {uses: command, environment: tools, with: {run: [make]}}}
"""


def test_who_is_told_of_what(load: Load, tmp_path: Path) -> None:
    definition = load(BASE)
    plan, _ = compiling.compile_plan(definition, {}, tmp_path)
    webhook, slack, sns, github = plan.notifications
    assert webhook.on == ["waiting", "approved", "voided", "deployed", "failed", "rolled-back", "break-glass"]
    assert (webhook.url, webhook.secrets["secret"].name) == ("https://example.com/hook", "HOOK_KEY")
    assert (slack.on, slack.environments, slack.secrets["url"].name) == (
        ["failed", "break-glass"],
        ["tools"],
        "/run/slack",
    )
    assert sns.target
    assert (sns.target.account, sns.target.region) == ("111122223333", "eu-central-1")
    assert (github.repository, github.secrets["token"].place) == ("ada/shop", "variable")
    assert [each.message for each in definition.warnings] == []  # the secrets are used


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", secret: HOOK}", "}", "a notification to webhook lacks secret"),
        ('url: "https://example.com/hook", ', "", "a notification to webhook lacks url or url-secret"),
        (
            "url-secret: SLACK,",
            "url-secret: SLACK, url: https://x.example,",
            "a notification to slack takes one of url or url-secret",
        ),
        ("url-secret: SLACK,", "url-secret: SLACK, secret: HOOK,", "a notification to slack takes no 'secret'"),
        ("secret: HOOK}", "secret: HOOKS}", "there is no secret 'HOOKS'"),
        (
            "environment: tools}\n  - {to: github",
            "environment: tool}\n  - {to: github",
            "there is no environment 'tool'",
        ),
        ("environments: [tools]", "environments: [prod]", "there is no environment 'prod'"),
        ("to: slack", "to: slacks", "notifications[1].to must be webhook, slack, sns or github-deployment"),
        ("[failed,", "[failure,", "notifications[1].on[0] must be"),
        ("https://example.com/hook", "https://user:word@example.com/hook", "must be an address"),
        ("ada/shop", "shop", "must be a repository, as owner/name"),
        (
            "region: eu-central-1}",
            'region: eu-central-1, auth: {roles: {propose: "arn:aws:iam::111122223333:role/x"}}}',
            "has no role that publishes notifications",
        ),
    ],
)
def test_what_is_wrong_with_a_notification(problems: Problems, old: str, new: str, message: str) -> None:
    assert BASE.count(old) >= 1
    found = problems(BASE.replace(old, new, 1))
    assert any(message in each.message for each in found), [each.message for each in found]
