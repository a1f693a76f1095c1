from __future__ import annotations

from typing import Any

import pytest

from pipeline.cli.ci.identity import identity
from pipeline.errors import UsageError

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "ada/shop",
    "GITHUB_RUN_ID": "123",
    "GITHUB_RUN_ATTEMPT": "1",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example.com:8443",
    "CI_PROJECT_ID": "7",
    "CI_PIPELINE_ID": "99",
    "CI_JOB_ID": "1",
}
JENKINS = {"JENKINS_HOME": "/var/jenkins", "JOB_NAME": "shop/a branch", "BUILD_NUMBER": "12"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (GITHUB, "github https://github.com ada/shop 123"),
        (GITLAB, "gitlab https://gitlab.example.com:8443 7 99"),
        (JENKINS, "jenkins shop/a%20branch 12"),
        ({**JENKINS, "BUILD_URL": "https://ci/job/shop/12/"}, "jenkins https://ci/job/shop/12/"),
        ({"BUILDKITE": "true", "BUILDKITE_BUILD_ID": "0f3c", "BUILDKITE_JOB_ID": "1"}, "buildkite 0f3c"),
        ({"CODEBUILD_BUILD_ID": "x:1", "TOWPATH_RUN_IDENTITY": "0f3c-11"}, "given 0f3c-11"),
        ({**GITHUB, "TOWPATH_RUN_IDENTITY": "release 7"}, "given release%207"),
    ],
)
def test_each_system_says_which_run_of_its_own_this_is(environ: dict[str, str], expected: str) -> None:
    assert identity("auto", environ) == expected


def test_another_attempt_is_the_same_run_and_another_run_is_not() -> None:
    again = {**GITHUB, "GITHUB_RUN_ATTEMPT": "2"}
    assert identity("auto", again) == identity("auto", GITHUB)
    assert identity("auto", {**GITHUB, "GITHUB_RUN_ID": "124"}) != identity("auto", GITHUB)


def test_two_pipelines_in_one_run_are_told_apart_by_name() -> None:
    assert identity("auto:api", GITHUB) == "github https://github.com ada/shop 123 api"


def test_no_two_runs_have_one_identity_by_the_spaces_in_their_names() -> None:
    one = {"JENKINS_HOME": "x", "JOB_NAME": "a 1", "BUILD_NUMBER": "2"}
    two = {"JENKINS_HOME": "x", "JOB_NAME": "a", "BUILD_NUMBER": "1 2"}
    assert identity("auto", one) != identity("auto", two)


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("auto", {}, "TOWPATH_RUN_IDENTITY"),
        ("auto", {**GITHUB, "GITHUB_RUN_ID": ""}, "GITHUB_RUN_ID is not set"),
        ("auto", {"CODEBUILD_BUILD_ID": "x:1"}, "#{codepipeline.PipelineExecutionId}"),
        ("auto", {"TOWPATH_RUN_IDENTITY": "x" * 2000}, "longer than"),
        ("auto:", GITHUB, "a name is of"),
        ("auto:a/b", GITHUB, "a name is of"),
    ],
)
def test_what_is_missing_is_told_with_a_remedy(text: str, environ: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        identity(text, environ)
    assert says in f"{caught.value} {caught.value.hint}"
