from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

PLACES = """
environments:
  one: {account: "111122223333", region: eu-west-1, auth: {profile: ours}}
"""
STAGE = "stages: {a: {uses: command, secrets: [TOKEN], with: {run: [x]}}}\n"


def test_a_secret_says_where_it_is_taken_from_and_a_stage_which_it_has(load: Load) -> None:
    text = PLACES + "secrets: {TOKEN: {secrets-manager: demo/api, key: k, environment: one}}\n" + STAGE
    loaded = load(text)
    assert loaded.secrets["TOKEN"].sources == {"secrets-manager": "demo/api"}
    assert loaded.secrets["TOKEN"].key == "k"
    assert loaded.stages["a"].secrets == ("TOKEN",)
    assert loaded.warnings == ()  # an environment that only a secret is read in is used


def test_a_secret_that_no_stage_uses_is_a_habit_to_drop(load: Load) -> None:
    loaded = load("secrets: {TOKEN: {variable: T}, OTHER: {variable: O}}\n" + STAGE)
    assert [str(each).partition("\n")[0] for each in loaded.warnings] == [
        "pipeline.yaml:3:33: nothing uses secret 'OTHER'"
    ]


@pytest.mark.parametrize(
    ("secret", "message", "hint"),
    [
        ("{}", "secret 'TOKEN' does not say where it is taken from", "Write one of: {variable: NAME}"),
        ("{variable: T, file: f}", "is taken from one place, and variable and file are 2", "Keep one of them."),
        ("{variable: T, key: k}", "has a key, but variable gives the secret itself", "Remove the key"),
        ("{file: f, environment: one}", "has an environment, but file is read on this machine", "Remove the key."),
        ("{ssm: /t}", "lacks an environment: ssm is read in one", "Add: environment: NAME. There are: one."),
        ("{ssm: /t, environment: on}", "there is no environment 'on'", "Did you mean 'one'?"),
        ("{variable: 1T}", "secrets.TOKEN.variable must be a variable's name", None),
        ("{secretsmanager: x}", "unknown key 'secretsmanager' in secrets.TOKEN", "Did you mean 'secrets-manager'?"),
        ("{file: 7}", "secrets.TOKEN.file must be text, not the number 7", 'Put it in quotes: "7"'),
        ('{variable: "${{ parameters.x }}"}', "secrets.TOKEN.variable takes no expressions", "Expressions stand in"),
        ("T", "secrets.TOKEN must be a map, not 'T'", None),
    ],
)
def test_what_is_wrong_with_a_secret(problems: Problems, secret: str, message: str, hint: str | None) -> None:
    found = problems(f"{PLACES}secrets: {{TOKEN: {secret}}}\n{STAGE}")
    assert message in found[0].message
    assert (found[0].hint or "").startswith(hint or "")
    assert found[0].line
    assert len(found) == 1


@pytest.mark.parametrize(
    ("stage", "message", "hint"),
    [
        ("secrets: [TOKN], with: {run: [x]}", "there is no secret 'TOKN'", "Did you mean 'TOKEN'?"),
        ("secrets: [TOKEN, TOKEN], with: {run: [x]}", "'TOKEN' is named twice", "Remove one of them."),
        ("secrets: [npm-rc], with: {run: [x]}", "cannot be handed to 'a': it would be a variable", "Rename the secret: npm_rc"),
        ("secrets: [PATH], with: {run: [x]}", "the variable PATH has a meaning of its own", "Rename"),
        ("secrets: [TOWPATH_X], with: {run: [x]}", "the variable TOWPATH_X has a meaning of its own", "Rename"),
        ("secrets: [https_proxy], with: {run: [x]}", "the variable https_proxy has a meaning of its own", "Rename"),
        ("secrets: [TOKEN], with: {run: [x], variables: {TOKEN: y}}", "the stage sets a variable of that name", "Rename one"),
        ("secrets: TOKEN, with: {run: [x]}", "stages.a.secrets must be a list, not 'TOKEN'", "Write it as a list: [TOKEN]"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_secrets_of_a_stage(problems: Problems, stage: str, message: str, hint: str) -> None:
    names = ("TOKEN", "npm-rc", "PATH", "TOWPATH_X", "https_proxy")
    secrets = ", ".join(f"{name}: {{variable: T}}" for name in names)
    found = problems(f"secrets: {{{secrets}}}\nstages: {{a: {{uses: command, {stage}}}}}\n")
    assert message in found[0].message
    assert (found[0].hint or "").startswith(hint)
    assert len(found) == 1


def test_only_some_kinds_take_secrets(problems: Problems) -> None:
    text = "secrets: {T: {variable: T}}\nstages:\n  b: {uses: build, secrets: [T], with: {template: t.yaml}}\n"
    text += "  s: {uses: scan, needs: [b], secrets: [T], with: {advisories: d}}\n"
    (problem,) = problems(text)
    assert problem.message == "'s' names secrets, but scan takes none"
    assert problem.hint == "Remove the key: only build, deploy and command take secrets."


def test_a_build_takes_ids_that_are_no_variables(load: Load) -> None:
    text = "secrets: {npm-rc.1: {file: .npmrc}}\nstages: {b: {uses: build, secrets: [npm-rc.1], with: {template: t}}}\n"
    assert load(text).stages["b"].secrets == ("npm-rc.1",)


@pytest.mark.parametrize("name", ["1a", "-a", "a b", "ä", "a/b", "a=b", "a" * 65])
def test_names_that_are_none(problems: Problems, name: str) -> None:
    text = f'secrets: {{"{name}": {{variable: T}}}}\nstages: {{a: {{uses: command, with: {{run: [x]}}}}}}\n'
    assert "secret's name" in problems(text)[0].message or "no name for a secret" in problems(text)[0].message
