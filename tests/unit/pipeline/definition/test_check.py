from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.definition.check import inputs_of

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

BASE = """
environments:
  r: {account: "111122223333", region: eu-central-1, repository: demo}
  s: {account: "111122223333", region: eu-central-1, stack: demo-s, approvals: none}
stages:
  build: {uses: build, with: {template: t}}
  package: {uses: package, needs: [build], environment: r}
  deploy: {uses: deploy, needs: [package], environment: s}
"""


def messages(problems: Problems, text: str) -> list[str]:
    return [each.message for each in problems(text)]


def test_a_sound_definition_has_no_warnings(load: Load) -> None:
    loaded = load(BASE)
    assert loaded.warnings == ()
    assert inputs_of(loaded, "deploy") == {"release": "package"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("environment: s", "environment: r", "'deploy' cannot deploy: environment 'r' has no stack"),
        (", environment: s", "", "'deploy' lacks an environment: deploy acts on one"),
        ("uses: build,", "uses: build, environment: r,", "'build' has an environment, but build acts on none"),
        ("uses: build,", "uses: build, idempotent: true,", "'build' cannot say `idempotent`: build always is"),
        ("eu-central-1, stack", "us-gov-west-1, stack", "us-gov-west-1 is in partition aws-us-gov, not aws"),
        (
            "approvals: none",
            "approvals: none, service-role: 'arn:aws:iam::999999999999:role/x'",
            "the service role is of account 999999999999, and the environment is account 111122223333",
        ),
    ],
)
def test_rules_between_stages_kinds_and_environments(problems: Problems, old: str, new: str, message: str) -> None:
    assert messages(problems, BASE.replace(old, new)) == [message]


def test_deploying_in_another_region_than_the_images_is_a_warning(load: Load) -> None:
    """A repository that is named in full may be in any region, and a copy of the release is in its own."""
    far = BASE.replace("eu-central-1, stack", "eu-west-3, repository: live, stack")
    assert far != BASE

    def said(text: str) -> list[str]:
        return [each.message for each in load(text).warnings if "of its own region alone" in each.message]

    [told] = said(far)
    assert told.startswith("'deploy' deploys in eu-west-3, and 'package' puts its images into eu-central-1")
    assert said(BASE) == []
    assert said(far.replace("uses: package,", "uses: package, with: {repository: r.example/x},")) == []
    copy = "  copy: {uses: package, needs: [package], environment: s, inputs: {release: package}}\n  deploy:"
    copied = far.replace("  deploy:", copy).replace(
        "uses: deploy, needs: [package]", "uses: deploy, needs: [copy], inputs: {release: copy}"
    )
    assert said(copied) == []


def test_packaging_without_a_repository_is_a_warning(load: Load) -> None:
    """It is fine if all images are in a registry already: nothing is asked for when nothing is pushed."""
    warnings = [each.message for each in load(BASE.replace("environment: r", "environment: s")).warnings]
    assert [each for each in warnings if each.startswith("'package' has nowhere to push images")]


def test_repositories_stand_for_a_repository(load: Load) -> None:
    text = BASE.replace("environment: r", "environment: s, with: {repositories: {F: demo}}")
    assert load(text).stages["package"].options == {"repositories": {"F": "demo"}}


def test_a_kind_that_does_not_know_may_say_that_it_is_idempotent(load: Load) -> None:
    assert load("stages: {a: {uses: command, idempotent: true, with: {run: [x]}}}\n").stages["a"].idempotent


def test_calling_one_environment_with_the_credentials_of_another(problems: Problems) -> None:
    """The smoke test of production that quietly tests staging."""
    text = BASE.replace(
        "stages:", '  p: {account: "111122223333", region: eu-central-1, stack: demo-p, approvals: none}\nstages:'
    )
    text += "  smoke: {uses: invoke, needs: [deploy], environment: p, with: {requests: r}}\n"
    [problem] = problems(text)
    assert problem.message == "'smoke' is in environment 'p', but takes the deployment of 's' from 'deploy'"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{type: string, default: 1.10}", "parameters.p.default must be text, not the number 1.1"),
        ("{type: string, default: true}", "parameters.p.default must be text, not true"),
        ("{type: integer, default: true}", "parameters.p.default must be a whole number, not true"),
        ("{type: integer, default: '1'}", "parameters.p.default must be a whole number, not '1'"),
        ("{type: boolean, default: yes}", "parameters.p.default must be true or false, not 'yes'"),
        ("{type: boolean, default: 0}", "parameters.p.default must be true or false, not the number 0"),
        ("{type: string, enum: [a, 1], default: a}", "parameters.p.enum[1] must be text, not the number 1"),
        ("{type: string, enum: [a, b], default: c}", "the default of parameter 'p' is not in its enum"),
        ("{type: string, enum: []}", "parameters.p.enum is empty: it needs at least 1"),
        ("{type: string, default: }", "parameters.p.default is empty"),
        ("{type: string, default: {}}", "parameters.p.default must be text, not a map"),
    ],
)
def test_parameters_hold_what_they_are_declared_to(problems: Problems, declared: str, message: str) -> None:
    text = f"parameters: {{p: {declared}}}\n{BASE}".replace("template: t", "template: '${{ parameters.p }}'")
    assert message in messages(problems, text)


def test_a_number_for_a_text_shows_how_it_is_written(problems: Problems) -> None:
    text = f"parameters: {{p: {{type: string, default: 1.10}}}}\n{BASE}"
    assert problems(text)[0].hint == 'Put it in quotes: "1.10"'


# Expressions


@pytest.mark.parametrize(
    ("where", "expression", "message"),
    [
        ("template: t", "parameters.p", "parameters.p is unknown"),
        ("template: t", "environment.name", "environment.name has no meaning here: the stage has no environment"),
        ("stack: demo-s", "environment.name", "environments.s.stack takes no expressions"),
        ("environment: s", "parameters.p", "stages.deploy.environment takes no expressions"),
    ],
)
def test_expressions_that_have_no_meaning(problems: Problems, where: str, expression: str, message: str) -> None:
    key = where.partition(":")[0]
    assert messages(problems, BASE.replace(where, f"{key}: '${{{{ {expression} }}}}'")) == [message]


@pytest.mark.parametrize(
    ("name", "message"),
    [("acount", "environment.acount is unknown"), ("stack", "environment 'r' has no stack")],
)
def test_what_an_environment_does_not_tell(problems: Problems, name: str, message: str) -> None:
    text = BASE.replace("repository: demo", f"repository: demo, parameters: {{A: '${{{{ environment.{name} }}}}'}}")
    assert messages(problems, text) == [message]


# Habits


@pytest.mark.parametrize(
    ("old", "new", "warning", "where"),
    [
        (
            "stages:",
            '  x: {account: "111122223333", region: eu-central-1}\nstages:',
            "no stage uses environment 'x'",
            7,
        ),
        ("environments:", "parameters: {p: {type: string}}\nenvironments:", "nothing uses parameter 'p'", 4),
        (
            "stages:",
            (
                '  x: {account: "111122223333", region: eu-central-1, stack: demo-s, approvals: none}\nstages:\n'
                "  tell: {uses: command, environment: x, with: {run: [x]}}"
            ),
            "environments 's' and 'x' have the same stack in the same account and region",
            7,
        ),
    ],
)
def test_habits_are_told_and_keep_nothing_from_working(
    load: Load, old: str, new: str, warning: str, where: int
) -> None:
    [told] = load(BASE.replace(old, new)).warnings
    assert (told.message, told.line) == (warning, where)


def test_a_parameter_that_only_an_environment_uses_is_used(load: Load) -> None:
    text = BASE.replace("stack: demo-s", "stack: demo-s, parameters: {A: 'x${{ parameters.p }}'}")
    assert load(f"parameters: {{p: {{type: string}}}}\n{text}").warnings == ()
