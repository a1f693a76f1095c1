from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli import deploying
from pipeline.cli.settings import Settings
from pipeline.errors import InvalidDefinition, UsageError

if TYPE_CHECKING:
    from pathlib import Path

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:deployments"
EMBEDDED: dict[str, Any] = {"stack_name": "shop", "aws": "embedded"}


def project(folder: Path, uri: str = "", **more: str) -> Path:
    image = f", ImageUri: '{uri}'" if uri else ""
    (folder / "template.yaml").write_text(
        "Parameters: {Stage: {Type: String, Default: dev}, Token: {Type: String, NoEcho: true, Default: ''}}\n"
        f"Resources:\n  Fn:\n    Type: AWS::Serverless::Function\n    Properties: {{PackageType: Image{image}}}\n"
        "    Metadata: {Dockerfile: Dockerfile, DockerContext: fn}\n"
    )
    for name, text in more.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_template_that_names_only_images_of_registries_is_taken_as_it_is_if_it_is_named(tmp_path: Path) -> None:
    """Whoever names none has their project built, whatever its ImageUri says."""
    project(tmp_path, f"{HOST}/shop:1")
    named = deploying.template(tmp_path, Settings(template_file="template.yaml"))
    assert named.packaged
    assert not named.unplaced
    assert named.secret == frozenset({"Token"})
    built = deploying.template(tmp_path, Settings())
    assert (built.packaged, built.unplaced) == (False, ["Fn"])


def test_one_outside_the_project_can_be_deployed_but_not_built(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    project(tmp_path, f"{HOST}/shop:1")
    assert deploying.template(inside, Settings(template_file="../template.yaml")).file == "template.yaml"
    project(tmp_path)
    with pytest.raises(UsageError, match="is outside the project") as caught:
        deploying.template(inside, Settings(template_file="../template.yaml"))
    assert "--project .. --template-file template.yaml" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, "rollback"),
        ({"disable_rollback": True}, "do-nothing"),
        ({"on_failure": "DO_NOTHING"}, "do-nothing"),
        ({"on_failure": "DELETE"}, "delete"),
        ({"on_failure": "ROLLBACK"}, "rollback"),
    ],
)
def test_what_becomes_of_a_failed_deployment_is_said_in_sams_words(tmp_path: Path, said: Any, found: str) -> None:
    assert deploying.place(Settings(**EMBEDDED, **said), tmp_path, None).target.on_failure == found


def test_the_target_has_all_that_was_said(tmp_path: Path) -> None:
    said: Any = {"role_arn": "arn:aws:iam::000000000000:role/r", "notification_arns": [TOPIC], "tags": {"a": "b"}}
    target = deploying.place(Settings(**EMBEDDED, **said, resolve_s3=True), tmp_path, None).target
    assert (target.stack, target.account, target.region, target.embedded) == ("shop", "000000000000", "us-east-1", True)
    assert (target.service_role, target.notification_arns, target.tags) == (said["role_arn"], [TOPIC], {"a": "b"})
    assert target.bucket == "towpath-000000000000-us-east-1"


@pytest.mark.parametrize("name", ["1shop", "my_shop", "a" * 129, "shop/x", ""])
def test_a_name_that_no_stack_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        deploying.place(Settings(stack_name=name, aws="embedded"), tmp_path, None)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"role_arn": "r"}, "--role-arn: 'r' is no ARN of a role"),
        ({"notification_arns": [TOPIC, "arn:x"]}, "--notification-arns: 'arn:x' is no ARN of a topic"),
        ({"capabilities": ["CAPABILITY_IAMM"]}, "--capabilities: there is no 'CAPABILITY_IAMM'"),
        ({"region": "not a region"}, "--region 'not a region' is no name of a region"),
    ],
)
def test_what_aws_could_only_refuse_is_refused_before_anything_is_built(tmp_path: Path, said: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        deploying.place(Settings(**EMBEDDED, **said), tmp_path, None)
    assert caught.value.message == text


def test_a_secret_value_that_is_not_allowed_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(
        "Parameters: {Token: {Type: String, NoEcho: true, AllowedValues: [a, b]}}\nResources: {}\n"
    )
    settings = Settings(**EMBEDDED, parameter_overrides={"Token": "hunter22"})
    found = deploying.template(tmp_path, settings)
    with pytest.raises(InvalidDefinition) as caught:
        deploying.refuse_mistakes(settings, found, deploying.place(settings, tmp_path, None))
    assert "Token does not allow the value given" in caught.value.message
    assert "hunter22" not in caught.value.message


def test_a_secret_that_is_too_short_to_be_kept_out_of_logs_is_told_before_anything_is_built(tmp_path: Path) -> None:
    for value, refused in (("abc", True), ("", False), ("long-enough", False)):
        settings = Settings(**EMBEDDED, parameter_overrides={"Token": value}, resolve_image_repos=True)
        found = deploying.template(project(tmp_path), settings)
        assert bool(list(deploying._short_secrets(settings.parameter_overrides, found))) is refused


def test_secret_parameters_are_in_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOWPATH_PARAMETER_Token", raising=False)
    settings = Settings(
        **EMBEDDED, parameter_overrides={"Token": "hunter22", "Stage": "live"}, resolve_image_repos=True
    )
    found = deploying.template(project(tmp_path), settings)
    steps = deploying._steps(settings, found, deploying.place(settings, tmp_path, None), {}, carrier="engine")
    assert [each.kind for each in steps] == ["build", "package", "deploy"]
    assert "hunter22" not in repr(steps)
    assert steps[-1].secrets["Token"].name == "TOWPATH_PARAMETER_Token"
    assert steps[-1].target
    assert steps[-1].target.parameters == {"Stage": "live"}
    assert steps[0].options["parameters"] == {}  # Stage decides nothing about an image
    monkeypatch.delenv("TOWPATH_PARAMETER_Token")
