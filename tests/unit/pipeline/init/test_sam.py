"""A pipeline for a SAM project: what its configuration says is taken over, and it is valid; its own files stay as they are."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.machine import ROOT, Machine

from pipeline import definition
from pipeline.compiling import compile_plan
from pipeline.definition import parameters
from pipeline.errors import InvalidDefinition, UsageError
from pipeline.init import render, sam, writing
from stages import build
from stages.contract import Request

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.definition import Definition
    from pipeline.init.sam import Project

NOTHING = sam.Asked(None, (), None)
CONFIG = """\
version = 0.1

[default.global.parameters]
region = "eu-west-1"

[default.deploy.parameters]
stack_name = "Shop-Dev"
confirm_changeset = true
capabilities = "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"
image_repositories = ["HelloWorldFunction=123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/hello", "HolaWorldFunction=999999999999.dkr.ecr.eu-west-1.amazonaws.com/hola"]
parameter_overrides = 'Stage="dev" Owner="the team: \\"a\\""'
tags = "team=shop cost-center=12"
role_arn = "arn:aws:iam::123456789012:role/cloudformation"
notification_arns = ["arn:aws:sns:eu-west-1:123456789012:told"]

[PROD_eu.deploy.parameters]
stack_name = "shop-prod"
profile = "prod"
disable_rollback = true
parameter_overrides = ["ParameterKey=Stage,ParameterValue=prod"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "corner_shop"
    shutil.copytree(ROOT / "examples/demo-app", folder)
    return folder


def add(folder: Path, asked: sam.Asked = NOTHING, ci: str = "none") -> Project:
    found = sam.read(folder, asked, "eu-central-1", None)
    writing.add(folder, render.from_sam(found, ci))
    return found


def valid(folder: Path) -> Definition:
    loaded = definition.load(folder / "pipeline.yaml", folder)
    assert loaded.warnings == ()
    plan, _ = compile_plan(loaded, parameters.resolve(loaded, {}), folder)
    request = Request("build", "check", "build", plan.stages["build"].options, source=str(folder))
    assert build.check(request, folder).problems == []
    return loaded


def test_what_the_configuration_says_is_taken_over(project: Path) -> None:
    (project / "samconfig.toml").write_text(CONFIG)
    before = {each: each.read_bytes() for each in project.rglob("*") if each.is_file()}
    found = add(project)
    loaded = valid(project)
    assert loaded.name == "shop-dev"
    dev, prod = loaded.environments["default"], loaded.environments["prod-eu"]
    assert (dev.stack, dev.region, dev.account) == ("Shop-Dev", "eu-west-1", "123456789012")
    assert dev.parameters == {"Stage": "dev", "Owner": 'the team: "a"'}
    assert dev.tags == {"team": "shop", "cost-center": "12"}
    assert dev.capabilities == ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")
    assert dev.service_role == "arn:aws:iam::123456789012:role/cloudformation"
    assert dev.notification_arns == ("arn:aws:sns:eu-west-1:123456789012:told",)
    assert (prod.stack, prod.on_failure, prod.parameters) == ("shop-prod", "do-nothing", {"Stage": "prod"})
    assert loaded.stages["package"].options["repositories"] == {
        "HelloWorldFunction": "shop/hello",
        "HolaWorldFunction": "999999999999.dkr.ecr.eu-west-1.amazonaws.com/hola",
    }
    assert '# auth: {profile: "prod"}' in (project / "pipeline.d/environments.yaml").read_text()
    assert any("confirm_changeset" in each for each in found.notes)
    assert {each: each.read_bytes() for each in before} == before


def test_without_a_configuration_there_is_one_environment(project: Path) -> None:
    found = add(project)
    loaded = valid(project)
    assert loaded.name == "corner-shop"
    assert loaded.environments["default"].stack == "corner-shop-default"
    assert loaded.environments["artifacts"].repository == "corner-shop"
    assert any("No account is known" in each for each in found.notes)


def test_what_is_asked_for_wins(project: Path) -> None:
    (project / "samconfig.yaml").write_text(
        "version: 0.1\nlive: {deploy: {parameters: {resolve_image_repos: true, stack_name: s, region: us-east-1}}}\n"
    )
    found = add(project, sam.Asked("shop", ["000000000001"], "eu-south-2"), ci="gitlab")
    loaded = valid(project)
    live = loaded.environments["live"]
    assert (live.account, live.region, live.stack) == ("000000000001", "eu-south-2", "s")
    assert loaded.stages["package"].options["application"] == "shop"
    assert found.notes == ()
    ci = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    assert ci["live"]["script"] == ["towpath stage apply deploy-live --run auto"]
    named = re.findall(r"towpath stage (?:run|propose|apply) (.*?) --run", (project / ".gitlab-ci.yml").read_text())
    assert {name for each in named for name in each.split()} == set(loaded.stages)


TEMPLATE: dict[str, Any] = {
    "Parameters": {"Where": {"Type": "String"}},
    "Resources": {
        "Fn": {
            "Type": "AWS::Serverless::Function",
            "Properties": {"PackageType": "Image"},
            "Metadata": {"Dockerfile": "Dockerfile", "DockerContext": {"Ref": "Where"}},
        }
    },
}


def test_parameters_that_images_need_are_given_to_the_build(project: Path) -> None:
    (project / "template.yaml").write_text(yaml.safe_dump(TEMPLATE))
    with pytest.raises(InvalidDefinition, match="Where"):
        add(project)
    (project / "samconfig.toml").write_text('[default.deploy.parameters]\nparameter_overrides = "Where=hello_world"\n')
    assert add(project).build_parameters == {"Where": "hello_world"}
    valid(project)


def test_names_and_accounts_of_environments_are_told_apart(project: Path) -> None:
    tables = ("build", "9x", "Very_Long_Name_Indeed", "on")
    (project / "samconfig.toml").write_text(
        "".join(f"[{each}.deploy.parameters]\nregion = 'eu-west-1'\n" for each in tables)
    )
    found = add(project, sam.Asked(None, ["111111111111", "e-9x=222222222222", "artifacts=333333333333"], None))
    valid(project)
    assert [(each.name, each.account) for each in (found.artifacts, *found.environments)] == [
        ("artifacts", "333333333333"),
        ("e-build", "111111111111"),
        ("e-9x", "222222222222"),
        ("very-long-nam", "111111111111"),
        ("e-on", "111111111111"),
    ]


def test_what_goes_through_s3_gets_a_bucket(project: Path) -> None:
    zipped = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"CodeUri": "hello_world", "Handler": "a.b", "Runtime": "python3.13"},
    }
    (project / "template.yaml").write_text(yaml.safe_dump({"Resources": {"Zipped": zipped}}))
    with pytest.raises(UsageError, match="no function of this template is a container image"):
        add(project)
    image = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"PackageType": "Image"},
        "Metadata": {"Dockerfile": "Dockerfile", "DockerContext": "hello_world"},
    }
    (project / "template.yaml").write_text(yaml.safe_dump({"Resources": {"Zipped": zipped, "Image": image}}))
    assert add(project).bucket == "corner-shop-111111111111-eu-central-1"
    valid(project)


def test_the_account_of_an_environment_is_that_of_its_role_or_its_repositories(project: Path) -> None:
    (project / "samconfig.toml").write_text(
        "[dev.deploy.parameters]\nimage_repository = '111111111111.dkr.ecr.eu-west-1.amazonaws.com/app'\n"
        "[test.deploy.parameters]\nimage_repository = '222222222222.dkr.ecr.eu-west-1.amazonaws.com/app'\n"
        "[live.deploy.parameters]\nrole_arn = 'arn:aws:iam::333333333333:role/x'\n[other.deploy.parameters]\n"
    )
    asked = sam.Asked(None, ["999999999999"], None)
    found = sam.read(project, asked, "eu-central-1", None)
    assert {each.account for each in found.environments} == {"999999999999"}
    found = add(project)
    valid(project)
    assert found.artifacts.account == "111111111111"
    assert [each.account for each in found.environments] == [
        *("111111111111", "222222222222", "333333333333", "111111111111")
    ]


def test_a_project_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no template\.yaml"):
        sam.read(tmp_path, NOTHING, "eu-central-1", None)
    (tmp_path / "template.yaml").write_text(
        "Resources: {A: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}}\n"
    )
    with pytest.raises(InvalidDefinition, match=r"template\.yaml"):
        sam.read(tmp_path, NOTHING, "eu-central-1", None)
    (tmp_path / "samconfig.toml").write_text("[default.deploy.parameters]\ntags = 3\n")
    with pytest.raises(UsageError, match="tags") as error:
        sam.read(tmp_path, NOTHING, "eu-central-1", None)
    assert str(error.value.where).endswith("samconfig.toml:2")
    (tmp_path / "samconfig.toml").write_text("version = ")
    with pytest.raises(UsageError, match="not TOML"):
        sam.read(tmp_path, NOTHING, "eu-central-1", None)


def test_it_is_one_command(project: Path) -> None:
    (project / "samconfig.toml").write_text(CONFIG)
    machine = Machine(project)
    told = machine.json("init", "--from-sam", "--ci", "github")
    assert ".gitignore" in told["files"]
    assert machine.json("validate")["warnings"] == []
    assert "nothing is overwritten" in machine.towpath("init", "--from-sam", code=2).stderr
    assert "--runtime is not for --from-sam" in machine.towpath("init", "--from-sam", "--runtime", "go", code=2).stderr
