from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stages.aws import session
from stages.contract import Access, StageError, Target

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target("production", "111122223333", "eu-central-1")
EMBEDDED = Target("staging", "111122223333", "eu-central-1", embedded=True)


def key(made: session.Session) -> str:
    credentials: Any = made.boto.get_credentials()
    return str(credentials.access_key)


def test_the_declared_account_passes() -> None:
    session.refuse_other_account(TARGET, "111122223333", "arn:aws:iam::111122223333:user/me", Access())


@pytest.mark.parametrize(
    ("account", "arn", "access", "words"),
    [
        (
            "999988887777",
            "arn:aws:sts::999988887777:assumed-role/Deploy/me",
            Access(profile="prod"),
            "environment production is account 111122223333, but the profile 'prod' is for account 999988887777: we are arn:aws:sts::999988887777:assumed-role/Deploy/me",
        ),
        (
            "111122223333",
            "arn:aws-cn:iam::111122223333:user/me",
            Access(),
            "is account 111122223333 in aws, but the ambient credentials are for account 111122223333 in aws-cn",
        ),
        (
            "999988887777",
            "arn:aws:sts::999988887777:assumed-role/apply/me",
            Access(role="arn:aws:iam::999988887777:role/apply"),
            "but the role arn:aws:iam::999988887777:role/apply is for account 999988887777",
        ),
    ],
)
def test_another_account_or_partition_is_refused(account: str, arn: str, access: Access, words: str) -> None:
    with pytest.raises(StageError) as caught:
        session.refuse_other_account(TARGET, account, arn, access)
    assert words in caught.value.message
    assert "111122223333" in (caught.value.hint or "")


def test_an_unknown_profile_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StageError, match=r"The config profile \(nobody\) could not be found"):
        session.connect(TARGET, Access(profile="nobody"))


def test_no_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StageError, match="there are no usable AWS credentials") as caught:
        session.connect(TARGET, Access())
    assert "`auth`" in (caught.value.hint or "")


def test_the_embedded_aws_not_running_says_how_to_start_it() -> None:
    with pytest.raises(StageError, match="Could not connect") as caught:
        session.connect(EMBEDDED, Access(endpoint_url="http://127.0.0.1:9"))
    assert "towpath embedded start" in (caught.value.hint or "")


def test_the_embedded_aws_needs_nothing_of_the_machines_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A profile that does not exist, a broken file, a proxy: all of them are about the real AWS."""
    broken = tmp_path / "config"
    broken.write_text("[[[")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(broken))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    made = session.Session(EMBEDDED, Access(endpoint_url="http://127.0.0.1:1"), session._boto(EMBEDDED, Access()))
    config: Any = made.sts.meta.config
    assert config.proxies == {}
    assert f"towpath/{session.version()}" in config.user_agent
    assert key(made) == "111122223333"


@pytest.mark.parametrize(("service", "attempts"), [("cloudformation", 1), ("lambda", 1), ("ecr", 4), ("s3", 4)])
def test_botocore_retries_only_where_we_do_not(service: str, attempts: int) -> None:
    """Invoke must never be made twice by a retry that nobody sees."""
    made = session.Session(EMBEDDED, Access(endpoint_url="http://127.0.0.1:1"), session._boto(EMBEDDED, Access()))
    config = made.client(service).meta.config
    assert config.retries["total_max_attempts"] == attempts
    assert (config.connect_timeout, config.read_timeout) == (5.0, 30.0)


def test_elsewhere_is_another_region_and_another_embedded_account() -> None:
    made = session.Session(EMBEDDED, Access(endpoint_url="http://127.0.0.1:1"), session._boto(EMBEDDED, Access()))
    assert made.elsewhere("111122223333", "eu-central-1") is made
    other = made.elsewhere("444455556666", "us-east-1")
    assert other.ecr.meta.region_name == "us-east-1"
    assert key(other) == "444455556666"


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-3"),
        ({}, "us-east-1"),
    ],
)
def test_a_store_is_reached_as_by_any_aws_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    client = session.ambient_s3(connections=7)
    assert (client.meta.region_name, client.meta.endpoint_url) == (region, "http://127.0.0.1:9000")
    assert client.meta.config.retries == {"total_max_attempts": 1, "mode": "standard"}  # type: ignore[attr-defined] # untyped
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StageError, match="nobody"):
        session.ambient_s3(connections=7)
