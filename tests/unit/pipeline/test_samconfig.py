from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import rival

from pipeline import samconfig
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SAMS_OWN = r"""# More information about the configuration file can be found here:
version = 0.1

[default.global.parameters]
stack_name = "shop"
region = "eu-west-1"

[default.build.parameters]
cached = true

[default.deploy.parameters]
capabilities = "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"
confirm_changeset = true  # ask before
resolve_s3 = true
parameter_overrides = "Stage=\"live\" Motto=\"two \\\"words\\\"\" Count=010"
image_repositories = ["Hello=111122223333.dkr.ecr.eu-west-1.amazonaws.com/hello"]

[prod.deploy.parameters]
stack_name = "shop-prod"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "samconfig.toml"
    path.write_text(SAMS_OWN)
    return path


def test_a_command_has_its_own_options_over_those_of_every_command(file: Path) -> None:
    config = samconfig.read(file, None, "deploy")
    assert config.values["region"] == "eu-west-1"
    assert config.values["confirm_changeset"] is True
    assert config.own == {
        "capabilities",
        "confirm_changeset",
        "resolve_s3",
        "parameter_overrides",
        "image_repositories",
    }
    assert samconfig.read(file, "prod", "deploy").values == {"stack_name": "shop-prod"}
    assert samconfig.pairs(config.values["parameter_overrides"], "--parameter-overrides") == {
        "Stage": "live",
        "Motto": 'two "words"',
        "Count": "010",
    }


def test_a_mistake_is_told_with_its_line(file: Path) -> None:
    assert samconfig.read(file, None, "deploy").where("resolve_s3") == f"{file}:14"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("samconfig.toml", "version = 0.1\n[x\n", "this is not TOML"),
        ("samconfig.yaml", "a: [", "this is not YAML"),
        ("samconfig.json", "{", "this is not JSON"),
        ("samconfig.toml", 'default = "x"', "is no table"),
        ("samconfig.ini", "", "a configuration is one of"),
        ("samconfig.toml", "", "there is no environment 'prod'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    environment = "prod" if "prod" in said else None
    with pytest.raises(UsageError, match=said) as caught:
        samconfig.read(path, environment, "deploy")
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("samconfig.yaml", "version: 0.1\ndefault: {deploy: {parameters: {stack_name: x, tags: [a=b, {c: 1}]}}}"),
        (
            "samconfig.json",
            '{"version": 0.1, "default": {"deploy": {"parameters": {"stack_name": "x", "tags": {"a": "b", "c": 1}}}}}',
        ),
    ],
)
def test_sams_other_formats_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    path = samconfig.find(tmp_path)
    assert path == tmp_path / name
    config = samconfig.read(path, None, "deploy")
    assert config.values["stack_name"] == "x"
    assert samconfig.pairs(config.values["tags"], "--tags") == {"a": "b", "c": "1"}
    with pytest.raises(UsageError, match="only TOML is written"):
        samconfig.write(path, "default", {"deploy": {"stack_name": "y"}})


def test_what_is_written_changes_nothing_else(file: Path) -> None:
    samconfig.write(file, "default", {"deploy": {"confirm_changeset": True, "resolve_s3": None, "s3_prefix": "shop"}})
    expected = SAMS_OWN.replace("resolve_s3 = true\n", "").replace('/hello"]\n', '/hello"]\ns3_prefix = "shop"\n')
    assert file.read_text() == expected
    samconfig.write(file, "default", {"deploy": {"confirm_changeset": False}})
    assert "confirm_changeset = false  # ask before\n" in file.read_text()


def test_a_new_file_is_as_sam_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "samconfig.toml"
    samconfig.write(
        path, "default", {"deploy": {"stack_name": "x", "confirm_changeset": True}, "global": {"region": "eu-west-1"}}
    )
    assert path.read_text() == (
        'version = 0.1\n\n[default.deploy.parameters]\nstack_name = "x"\nconfirm_changeset = true\n\n'
        '[default.global.parameters]\nregion = "eu-west-1"\n'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1 B=2", {"A": "1", "B": "2"}),
        ("ParameterKey=A,ParameterValue=1 ParameterKey=B,ParameterValue='x, y'", {"A": "1", "B": "x, y"}),
        ('A="two words" B=', {"A": "two words", "B": ""}),
        (r"A=two\ words", {"A": "two words"}),
        (r'A="C:\dir" B="say \"hi\""', {"A": r"C:\dir", "B": 'say "hi"'}),
        ("A=x=y", {"A": "x=y"}),
        ("A=it's", {"A": "it's"}),
    ],
)
def test_names_with_values(text: str, found: dict[str, str]) -> None:
    assert samconfig.pairs(text, "--parameter-overrides") == found
    assert samconfig.pairs([text], "--parameter-overrides") == found


@pytest.mark.parametrize("text", ["A", "A=two words", "=x", 'A="open', "hunter22"])
def test_what_is_no_name_with_a_value_is_refused_and_not_repeated(text: str) -> None:
    """SAM drops what follows a space, without a word. What is no name may be a secret, so it is not shown."""
    with pytest.raises(UsageError) as caught:
        samconfig.pairs(text, "--parameter-overrides")
    assert "words" not in caught.value.message
    assert "hunter22" not in caught.value.message


NAMES = st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs", "Cc"]), max_size=30)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(values: dict[str, str]) -> None:
    assert samconfig.pairs(samconfig.text_of(values), "--parameter-overrides") == values


READER = """
import json, sys
from pathlib import Path
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig
values = SamConfig(Path(sys.argv[1]).parent, Path(sys.argv[1]).name).get_all(["deploy"], "parameters", "default")
found = json.loads(json.dumps(values))
found["parameter_overrides"] = CfnParameterOverridesType().convert(found["parameter_overrides"], None, None)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_sam_reads_what_is_written(tmp_path: Path) -> None:
    """By its own reader, where it is installed: the benchmarks install it."""
    home = rival.home_of(rival.RIVAL)
    if not (home / "installed").exists():
        pytest.skip(f"{rival.RIVAL} is not installed: `make bench` does that")
    path = tmp_path / "samconfig.toml"
    values = {"A": "two words", "B": 'q"uote', "C": r"C:\dir x", "D": "x,y=z", "E": "it's"}
    told = {"stack_name": "shop", "confirm_changeset": True, "image_repositories": ["Hello=example.com/x"]}
    samconfig.write(
        path,
        "default",
        {
            "deploy": {**told, "parameter_overrides": samconfig.text_of(values)},
            "global": {"region": "eu-west-1"},
            "towpath": {"aws": "embedded"},
        },
    )
    run = subprocess.run(
        [home / "bin" / "python", "-c", READER, path],
        env=rival.variables(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == {**told, "parameter_overrides": values, "region": "eu-west-1"}
