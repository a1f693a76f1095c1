from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.samconfig import SAM_INIT

from pipeline.cli import direct, runnable, sam, settings
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (direct.BUILD, direct.PACKAGE, settings.DEPLOY, runnable.INVOKE, runnable.START_API, runnable.START_LAMBDA)


def merged(
    options: sam.Options, folder: Path, configuration: str, environment: str | None = None, **given: Any
) -> tuple[dict[str, Any], list[str]]:
    """What a command is told, and the notes."""
    (folder / "samconfig.toml").write_text(configuration)
    notes: list[str] = []
    found = sam.merge(options, sam.load(options, folder, None, environment), given, notes.append)
    return found, [each.removeprefix(f"{folder}/") for each in notes]


@pytest.mark.parametrize("options", COMMANDS, ids=lambda each: each.table)
def test_what_sam_init_writes_is_taken_without_a_word(options: sam.Options, tmp_path: Path) -> None:
    found, notes = merged(options, tmp_path, SAM_INIT)
    assert notes == []
    expected = {
        "build": {},
        "package": {"stack_name": "sam-app", "resolve_s3": True},
        "deploy": {
            "stack_name": "sam-app",
            "capabilities": ["CAPABILITY_IAM"],
            "confirm_changeset": True,
            "resolve_s3": True,
            "resolve_image_repos": True,
        },
    }
    assert found == expected.get(options.table, {})


TABLES = """\
version = 0.1
[default.global.parameters]
region = "eu-west-1"
template_file = "global.yaml"
[default.build.parameters]
template = "build.yaml"
parameter_overrides = "Base=python"
use_container = true
use_buildkit = false
[default.package.parameters]
image_repositories = ["A=example.com/a", "B=example.com/b"]
s3_prefix = "shop"
[default.deploy.parameters]
resolve_s3 = true
[prod.package.parameters]
template_file = "prod.yaml"
image_repository = "example.com/prod"
resolve_s3 = "perhaps"
"""


def test_package_has_its_own_table_then_that_of_the_build_which_it_does_as_well(tmp_path: Path) -> None:
    found, notes = merged(direct.PACKAGE, tmp_path, TABLES)
    assert found == {
        "region": "eu-west-1",
        "template_file": "build.yaml",
        "parameter_overrides": {"Base": "python"},
        "image_repositories": {"A": "example.com/a", "B": "example.com/b"},
        "s3_prefix": "shop",
    }
    assert notes == []
    found, notes = merged(
        direct.BUILD, tmp_path, TABLES, template_file="said.yaml", parameter_overrides=("Base=c", "D=e")
    )
    assert found == {"template_file": "said.yaml", "parameter_overrides": {"Base": "c", "D": "e"}}
    assert notes == ["samconfig.toml:8: use_container is not needed: an image is always built by the engine"]


def test_what_sam_build_left_is_no_template_of_ours(tmp_path: Path) -> None:
    tables = '[default.build.parameters]\ntemplate_file = "a.yaml"\n[default.package.parameters]\ntemplate = ".aws-sam/build/t.yaml"\n'
    assert merged(direct.PACKAGE, tmp_path, tables) == ({"template_file": "a.yaml"}, [])


def test_of_two_words_for_one_thing_the_command_lines_counts(tmp_path: Path) -> None:
    tables = '[default.package.parameters]\nresolve_image_repos = true\ns3_bucket = "b"\n'
    given: dict[str, Any] = {"image_repository": "example.com/a", "resolve_s3": True}
    assert merged(direct.PACKAGE, tmp_path, tables, **given)[0] == given
    given = {"resolve_image_repos": False, "resolve_s3": None}
    assert merged(direct.PACKAGE, tmp_path, tables, **given)[0] == {"resolve_image_repos": False, "s3_bucket": "b"}


@pytest.mark.parametrize(
    ("options", "said", "message", "hint"),
    [
        (direct.BUILD, "cachd = true", "there is no option 'cachd'", "Did you mean cached?"),
        (direct.BUILD, 'stack_name = "x"', "there is no option 'stack_name'", "See: towpath build --help"),
        (direct.BUILD, 'exclude = "F"', "exclude: the images of all functions are built", "Remove it"),
        (direct.BUILD, "template_file = []", "--template-file must be a text", ""),
        (direct.PACKAGE, 'image_repositry = "x"', "there is no option", "Did you mean image_repository?"),
        (direct.PACKAGE, 'image_repositories = ["x"]', "--image-repositories", "Name=value"),
        (direct.PACKAGE, 'signing_profiles = "F=p"', "does not sign code", "Remove it"),
        (runnable.START_API, "port = 70000", "--port must be a number from 0 to 65,535", ""),
        (runnable.INVOKE, "port = 3000", "there is no option 'port'", "See: towpath local invoke --help"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    options: sam.Options, said: str, message: str, hint: str, tmp_path: Path
) -> None:
    """It is the line in the command's own table, though another's has that name before it."""
    key = said.partition(" ")[0]
    tables = f'version = 0.1\n[default.other.parameters]\n{key} = ""\n[default.{options.table}.parameters]\n{said}\n'
    with pytest.raises(UsageError) as caught:
        merged(options, tmp_path, tables)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.where == f"{tmp_path}/samconfig.toml:5"


def test_what_changes_nothing_is_told_unless_it_is_for_other_commands(tmp_path: Path) -> None:
    tables = "[default.global.parameters]\nwarp = true\ndocker_network = 'x'\n[default.local_invoke.parameters]\nlog_file = 'y'\n"
    assert merged(runnable.INVOKE, tmp_path, tables) == ({}, ["samconfig.toml:5: log_file is not read here"])
    tables = "[default.deploy.parameters]\nforce_upload = true\nguided = true\n[default.towpath.parameters]\naws = 'embedded'\n"
    reason = "what is there already is known by its digest"
    notes = [f"samconfig.toml:2: force_upload is not needed: {reason}", "samconfig.toml:3: guided is not read here"]
    assert merged(settings.DEPLOY, tmp_path, tables) == ({"aws": "embedded"}, notes)
    assert merged(direct.BUILD, tmp_path, tables) == ({}, [])


def test_what_an_environment_of_the_pipeline_says_is_left_out_of_the_configuration(tmp_path: Path) -> None:
    tables = (
        '[default.package.parameters]\nregion = "eu-west-1"\nimage_repository = "a"\ns3_prefix = "b"\nuse_json = true\n'
    )
    (tmp_path / "samconfig.toml").write_text(tables)
    given = {"config_file": None, "config_env": None, "s3_bucket": "c"}
    found = sam.said(direct.PACKAGE, tmp_path, given, quiet=True, leaving_out=direct.OF_TARGET)
    assert found == {"s3_prefix": "b", "s3_bucket": "c"}


def test_another_environment_and_one_that_nobody_wrote(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resolve-s3 must be true or false") as caught:
        merged(direct.PACKAGE, tmp_path, TABLES, "prod")
    assert caught.value.where == f"{tmp_path}/samconfig.toml:18"
    (tmp_path / "samconfig.toml").unlink()
    with pytest.raises(UsageError, match=r"there is no samconfig\.toml"):
        sam.load(direct.BUILD, tmp_path, None, "prod")
    with pytest.raises(UsageError, match="there is no such configuration"):
        sam.load(direct.BUILD, tmp_path, str(tmp_path / "x.toml"), None)
    assert sam.load(direct.BUILD, tmp_path, None, None).values == {}


def test_lists_are_given_as_sam_takes_them() -> None:
    lists = frozenset({"--tags"})
    args = ["--tags", "a=1", "b=2", "--region", "x", "--tags=c=3", "d=4", "--json", "e"]
    spread = ["--tags", "a=1", "--tags", "b=2", "--region", "x", "--tags=c=3", "--tags", "d=4", "--json", "e"]
    assert sam.spread(args, lists) == spread
    assert sam.spread(["--tags"], lists) == ["--tags"]
