from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli import settings
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def merged(folder: Path, deploy: str = "", every: str = "", **given: Any) -> settings.Settings:
    said = f"version = 0.1\n[default.deploy.parameters]\n{deploy}\n[default.global.parameters]\n{every}\n"
    (folder / "samconfig.toml").write_text(said)
    return read(folder, **given)


def read(folder: Path, **given: Any) -> settings.Settings:
    return settings.read(folder, {"config_file": None, "config_env": None, **given}, quiet=True)


def test_the_command_line_wins_over_the_configuration(tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        'stack_name = "a"\nconfirm_changeset = true\ncapabilities = "CAPABILITY_IAM CAPABILITY_NAMED_IAM"\ntags = "a=b"',
        'region = "eu-west-1"\ntemplate = "t.yaml"',
        stack_name="b",
        confirm_changeset=False,
        capabilities=(),
        parameter_overrides=("A=1", "B=2"),
    )
    assert (found.stack_name, found.confirm_changeset, found.region, found.template_file) == (
        "b",
        False,
        "eu-west-1",
        "t.yaml",
    )
    assert found.capabilities == ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
    assert found.parameter_overrides == {"A": "1", "B": "2"}
    assert found.tags == {"a": "b"}
    assert found.no_execute_changeset is None


@pytest.mark.parametrize(
    ("deploy", "said", "hint"),
    [
        ('stack_nam = "a"', "there is no option 'stack_nam'", "Did you mean stack_name?"),
        ('confirm_changeset = "yes"', "--confirm-changeset must be true or false", None),
        ("stack_name = [1]", "--stack-name must be a text", None),
        ('signing_profiles = "F=p"', "does not sign code", "Remove it"),
        ('on_failure = "NOTHING"', "--on-failure is one of ROLLBACK", None),
    ],
)
def test_a_mistake_in_the_configuration_is_told_with_its_line(
    tmp_path: Path, deploy: str, said: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        merged(tmp_path, deploy)
    assert said in caught.value.message
    assert caught.value.where == f"{tmp_path / 'samconfig.toml'}:3"
    assert (hint or "") in (caught.value.hint or "")


def test_what_a_failed_deployment_leaves_is_said_once_by_whoever_spoke_last(tmp_path: Path) -> None:
    assert merged(tmp_path, "disable_rollback = true", on_failure="DELETE").disable_rollback is None
    assert merged(tmp_path, 'on_failure = "DELETE"', disable_rollback=True).on_failure is None


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    """Options of ours alone are in a table of ours, which no command of SAM reads."""
    saved = settings.Settings(
        stack_name="a",
        region="eu-west-1",
        aws="embedded",
        confirm_changeset=True,
        capabilities=["CAPABILITY_IAM"],
        parameter_overrides={"A": 'x "y"'},
        image_repositories={"F": "example.com/f"},
        s3_prefix="a",
    )
    settings.save(tmp_path / "samconfig.toml", "default", saved)
    assert read(tmp_path) == saved
    assert "aws" not in (tmp_path / "samconfig.toml").read_text().partition("[default.towpath.parameters]")[0]


@pytest.mark.parametrize("stack", ["shop", "shop-2"])
def test_a_stacks_repositories_have_its_name(stack: str) -> None:
    assert settings.application_of(stack) == stack


def test_two_stacks_whose_names_differ_in_case_share_no_repository() -> None:
    names = {settings.application_of(each) for each in ("Shop", "shop", "SHOP")}
    assert len(names) == 3
    assert all(name == name.lower() for name in names)
