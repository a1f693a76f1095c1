from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import guided, settings
from pipeline.cli.settings import Settings
from stages import template as templates
from stages.template import overview

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEMPLATE = """
Parameters:
  Stage: {Type: String, Default: dev}
  Token: {Type: String, NoEcho: true}
Resources:
  One: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {Dockerfile: a, DockerContext: b}}
  Two: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {Dockerfile: a, DockerContext: b}}
"""


def load(_: Mapping[str, str]) -> tuple[templates.Application, list[str]]:
    return templates.load(lambda _: TEMPLATE.encode(), "template.yaml", {})[0], ["One", "Two"]


def ask(before: Settings, folder: Path, *answers: str) -> tuple[guided.Asked, str]:
    """Give the answers in the order of the questions, and what was said."""
    found: list[guided.Asked] = []

    @click.command()
    def command() -> None:
        declared = overview.parameters(templates.read(TEMPLATE.encode(), "template.yaml"))
        found.append(guided.ask(before, folder / "samconfig.toml", "default", declared, load))

    runner = CliRunner().invoke(command, input="\n".join(answers) + "\n", catch_exceptions=False)
    assert found, runner.output
    return found[0], runner.output


FIRST = ("shop", "eu-west-1", "live", "hunter22", "y", "", "y", "", "", "prod")
"""Stack, region, Stage, Token, confirm, roles, disable rollback, save, file, environment."""


def test_a_repository_can_be_named_for_each_function(tmp_path: Path) -> None:
    asked, _ = ask(Settings(), tmp_path, *FIRST, "n", "example.com/one", "example.com/two")
    found = asked.settings
    assert found.image_repositories == {"One": "example.com/one", "Two": "example.com/two"}
    assert found.resolve_image_repos is None
    assert (found.stack_name, found.region, found.confirm_changeset, found.disable_rollback) == (
        "shop",
        "eu-west-1",
        True,
        True,
    )
    assert found.capabilities == ["CAPABILITY_IAM"]
    assert found.parameter_overrides == {"Stage": "live", "Token": "hunter22"}
    assert (asked.file, asked.environment) == (tmp_path / "samconfig.toml", "prod")


def test_what_can_be_no_answer_is_asked_for_again(tmp_path: Path) -> None:
    answers = (
        "1shop",
        "shop",
        "not a region",
        "eu-west-1",
        "live",
        "short",
        "hunter22",
        *FIRST[4:],
        "n",
        "a/one",
        "a/two",
    )
    asked, said = ask(Settings(), tmp_path, *answers)
    found = asked.settings
    assert (found.stack_name, found.region, found.parameter_overrides["Token"]) == ("shop", "eu-west-1", "hunter22")
    assert "is no name of a stack" in said
    assert "is no name of a region" in said
    assert "fewer than 6 bytes" in said


def test_what_was_answered_is_kept_without_secrets_and_offered_the_next_time(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text("# mine\nversion = 0.1\n")
    asked, _ = ask(Settings(), tmp_path, *FIRST, "n", "example.com/one", "example.com/two")
    guided.keep(asked, frozenset({"Token"}))
    text = (tmp_path / "samconfig.toml").read_text()
    assert text.startswith("# mine\n")
    assert "hunter22" not in text

    before = settings.read(tmp_path, {"config_file": None, "config_env": "prod"}, quiet=True)
    assert before.parameter_overrides == {"Stage": "live"}
    again, said = ask(before, tmp_path, "", "", "", "hunter22", "", "", "", "n")
    for offered in ("Stack Name [shop]", "AWS Region [eu-west-1]", "Parameter Stage [live]", "before deploy [Y/n]"):
        assert offered in said
    assert "Found (2 of 2)" in said
    assert again.file is None
    assert again.settings == asked.settings


def test_only_functions_without_a_repository_are_asked_for(tmp_path: Path) -> None:
    before = Settings(image_repositories={"One": "example.com/one", "Gone": "example.com/gone"})
    asked, said = ask(before, tmp_path, *FIRST, "y")
    assert "for the 1 functions without?" in said
    assert asked.settings.image_repositories == {"One": "example.com/one"}
    assert asked.settings.resolve_image_repos is True


def test_one_repository_for_all_is_not_asked_about(tmp_path: Path) -> None:
    asked, said = ask(Settings(image_repository="example.com/all"), tmp_path, *FIRST)
    assert "Image repositories" not in said
    assert asked.settings.image_repository == "example.com/all"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {"Stage": "dev", "Token": "typed-in"}),
        ({"Token": "given-before"}, {"Stage": "dev", "Token": "given-before"}),
    ],
)
def test_a_secret_that_was_given_need_not_be_typed_again(tmp_path: Path, given: Any, kept: dict[str, str]) -> None:
    typed = "" if given else "typed-in"
    asked, said = ask(Settings(parameter_overrides=given), tmp_path, "", "", "", typed, "", "", "", "n", "")
    assert asked.settings.parameter_overrides == kept
    assert "typed-in" not in said
    assert "given-before" not in said
