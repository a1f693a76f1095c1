"""Secrets out of SSM's Parameter Store and Secrets Manager, read as a stage's are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import House, command

from pipeline.errors import StageFailed
from pipeline.plan import SecretSource
from pipeline.record import runs
from pipeline.record.store.directory import open_store
from pipeline.record.writer import read_log
from stages.aws import secrets
from stages.aws.session import connect
from stages.contract import StageError, Target

if TYPE_CHECKING:
    from pathlib import Path

    from integration.stages.embedded.conftest import Aws

VALUE = "correct-horse-battery"


@pytest.fixture
def target(aws: Aws) -> Target:
    """An account with a secret of every kind."""
    ssm, manager = aws.client("ssm"), aws.client("secretsmanager")
    ssm.put_parameter(Name="/demo/secure", Value=VALUE, Type="SecureString")
    ssm.put_parameter(Name="plain", Value=VALUE, Type="String")
    manager.create_secret(Name="demo/text", SecretString=VALUE)
    manager.create_secret(Name="demo/json", SecretString=json.dumps({"password": VALUE, "port": 543210, "none": None}))
    manager.create_secret(Name="demo/binary", SecretBinary=b"\xff\x00" + VALUE.encode())
    return Target("one", aws.account, aws.region, embedded=True)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (("ssm", "/demo/secure", None), VALUE.encode()),
        (("ssm", "plain", None), VALUE.encode()),
        (("secrets-manager", "demo/text", None), VALUE.encode()),
        (("secrets-manager", "demo/json", "password"), VALUE.encode()),
        (("secrets-manager", "demo/json", "port"), b"543210"),
        (("secrets-manager", "demo/binary", None), b"\xff\x00" + VALUE.encode()),
    ],
)
def test_it_is_read(aws: Aws, target: Target, source: Any, value: bytes) -> None:
    assert secrets.read(connect(target, aws.access), *source) == value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (("ssm", "/demo/nope", None), "there is no parameter /demo/nope in account "),
        (("secrets-manager", "demo/nope", None), "there is no secret demo/nope in account "),
        (("secrets-manager", "demo/json", "pasword"), "the secret demo/json has no key 'pasword'"),
        (("secrets-manager", "demo/json", "none"), "the secret demo/json has no key 'none'"),
        (("secrets-manager", "demo/text", "password"), "the secret demo/text is no JSON object, so it has no key 'password'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_without_a_value(aws: Aws, target: Target, source: Any, message: str) -> None:
    with pytest.raises(StageError) as caught:
        secrets.read(connect(target, aws.access), *source)
    assert caught.value.message.startswith(message)
    assert caught.value.hint
    error: BaseException | None = caught.value
    while error:
        assert VALUE not in repr(error)
        error = error.__cause__ or error.__context__


def test_a_stage_is_handed_what_is_in_its_environment_and_it_is_masked(
    aws: Aws, target: Target, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    house = House(tmp_path / "project", open_store(tmp_path / "store", create=True))
    sources = {
        "S": SecretSource("ssm", "/demo/secure", None, target),
        "K": SecretSource("secrets-manager", "demo/json", "password", target),
    }
    run_id = house.open(command("a", 'test "$S" = "$K"; echo "<$S>" $(echo $K | base64)', secrets=sources))
    run = house.drive(run_id, endpoint=aws.endpoint_url)
    assert run.done("a")
    texts = [event.data["text"] for event in read_log(house.store, runs.log_name(run_id, "a", 1))[1:]]
    assert texts == ["<***> ***"]
    gone = {"S": SecretSource("ssm", "/demo/nope", None, target)}
    with pytest.raises(StageFailed, match=r"the secret S cannot be read: there is no parameter /demo/nope in account"):
        house.drive(house.open(command("a", "true", secrets=gone)), endpoint=aws.endpoint_url)
