from __future__ import annotations

import pytest

from stages.template.references import EcrHost, Kind, Reference, ecr_host, parse

HEX = "0123456789abcdef" * 4
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("app", "local", (None, "app", "latest", None)),
        ("app:v1", "local", (None, "app", "v1", None)),
        ("team/app:v1", "local", (None, "team/app", "v1", None)),
        ("team/sub/a__b--c.d:V_1.x-y", "local", (None, "team/sub/a__b--c.d", "V_1.x-y", None)),
        (f"app@sha256:{HEX}", "local", (None, "app", None, f"sha256:{HEX}")),
        (f"sha256:{HEX}", "id", (None, f"sha256:{HEX}", None, None)),
        (HEX, "id", (None, HEX, None, None)),
        (HEX[:12], "id", (None, HEX[:12], None, None)),
        ("images/app.tar", "archive", (None, "images/app.tar", None, None)),
        ("../app.tar.gz", "archive", (None, "../app.tar.gz", None, None)),
        ("app.tgz", "archive", (None, "app.tgz", None, None)),
        (f"{ECR}/app", "registry-tag", (ECR, "app", "latest", None)),
        (f"{ECR}/team/app:v1", "registry-tag", (ECR, "team/app", "v1", None)),
        (f"{ECR}/app@sha256:{HEX}", "registry-digest", (ECR, "app", None, f"sha256:{HEX}")),
        (f"{ECR}/app:v1@sha256:{HEX}", "registry-digest", (ECR, "app", "v1", f"sha256:{HEX}")),
        ("localhost/app", "registry-tag", ("localhost", "app", "latest", None)),
        ("localhost:5000/app", "registry-tag", ("localhost:5000", "app", "latest", None)),
        ("reg:5000/x/y:1", "registry-tag", ("reg:5000", "x/y", "1", None)),
        ("[::1]:5000/x:1", "registry-tag", ("[::1]:5000", "x", "1", None)),
        ("docker.io/library/python:3.12", "registry-tag", ("docker.io", "library/python", "3.12", None)),
        ("public.ecr.aws/lambda/python:3.12", "registry-tag", ("public.ecr.aws", "lambda/python", "3.12", None)),
    ],
)  # fmt: skip
def test_names_of_images(text: str, kind: Kind, parts: tuple[str | None, str, str | None, str | None]) -> None:
    """A port is no tag, and a host's part of a name is one by its dot, its port, or being localhost."""
    host, name, tag, digest = parts
    assert parse(text) == Reference(kind, text, name, host, tag, digest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no name of a repository"),
        ("App:v1", "'App' is no name"),
        ("a b", "is no name"),
        ("app:", "'' is no tag"),
        ("app:-x", "'-x' is no tag"),
        ("app:" + "x" * 129, "is no tag"),
        ("foo:bar:baz", "is no name"),
        ("app@sha256:123", "'sha256:123' is no digest"),
        (f"app@md5:{HEX}", "is no digest"),
        ("reg:port/app", "'reg:port' is no host"),
        ("-x.y/app", "'-x.y' is no host"),
        ("https://x.y/app", "'https:' is no host"),
        ("reg:5000/", "'' is no name"),
        ("a" * 255, "is no name"),
    ],
)
def test_what_names_no_image(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (ECR, ("eu-central-1", "aws", False, False)),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ("cn-north-1", "aws-cn", False, False)),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", ("us-gov-west-1", "aws-us-gov", False, False)),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", ("us-east-1", "aws", True, False)),
        ("123456789012.dkr-ecr.us-east-1.on.aws", ("us-east-1", "aws", False, True)),
        ("123456789012.dkr-ecr-fips.us-gov-east-1.on.aws", ("us-gov-east-1", "aws-us-gov", True, True)),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", ("cn-north-1", "aws-cn", False, True)),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", ("us-iso-east-1", "aws-iso", False, False)),
        ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", ("us-isob-east-1", "aws-iso-b", False, False)),
        ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", ("eu-isoe-west-1", "aws-iso-e", False, False)),
        ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", ("us-isof-south-1", "aws-iso-f", False, False)),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", ("eusc-de-east-1", "aws-eusc", False, False)),
    ],
)
def test_registries_of_every_partition(host: str, found: tuple[str, str, bool, bool]) -> None:
    assert ecr_host(host) == EcrHost("123456789012", *found)


@pytest.mark.parametrize(
    "host",
    ["public.ecr.aws", "12345.dkr.ecr.eu-central-1.amazonaws.com", f"{ECR}.example", f"x.{ECR}", f"{ECR}:443", "localhost"],
)  # fmt: skip
def test_other_hosts_are_none_of_amazon_ecrs(host: str) -> None:
    assert ecr_host(host) is None
