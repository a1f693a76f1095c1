from __future__ import annotations

import pytest

from stages.aws.names import Registry, engine_reference, local_url, registry
from stages.contract import Access

REAL = Access()
EMBEDDED = Access(endpoint_url="http://127.0.0.1:4717")
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "sha256:" + "ab" * 32


def test_on_aws_a_registry_is_its_own_address() -> None:
    assert registry(ECR, REAL) == Registry("https", ECR, "")
    assert registry(ECR, REAL).repository("team/app") == "team/app"


def test_embedded_registry_keeps_accounts_and_regions_apart() -> None:
    here = registry(ECR, EMBEDDED)
    assert here == Registry("http", "127.0.0.1:4717", "111122223333/eu-west-1")
    assert here.repository("team/app") == "111122223333/eu-west-1/team/app"


@pytest.mark.parametrize("host", ["public.ecr.aws", "ghcr.io", "evil" + ECR, ECR + ".evil.example"])
def test_a_host_that_only_looks_like_ecr_is_never_sent_to_loopback(host: str) -> None:
    assert registry(host, EMBEDDED) == Registry("https", host, "")


@pytest.mark.parametrize("end", ["", ":1.0", f"@{DIGEST}", f":1.0@{DIGEST}"])
def test_engine_reference_keeps_tag_and_digest(end: str) -> None:
    assert engine_reference(f"{ECR}/team/app{end}", REAL) == f"{ECR}/team/app{end}"
    assert engine_reference(f"{ECR}/team/app{end}", EMBEDDED) == f"127.0.0.1:4717/111122223333/eu-west-1/team/app{end}"


def test_engine_reference_of_the_chinese_partition() -> None:
    uri = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1"
    assert engine_reference(uri, EMBEDDED) == "127.0.0.1:4717/111122223333/cn-north-1/app:1"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/Prod/hello/", "/Prod/hello/"), ("/Prod/hello?name=a%20b", "/Prod/hello?name=a%20b"), ("", "/")],
)
def test_api_endpoint_opens_below_the_loopback_address(path: str, expected: str) -> None:
    url = f"https://a1b2c3d4.execute-api.eu-west-1.amazonaws.com{path}"
    prefix = "http://127.0.0.1:4717/_api/222233334444/eu-west-1/a1b2c3d4"
    assert local_url(url, "222233334444", EMBEDDED) == prefix + expected
    assert local_url(url, "222233334444", REAL) == url


@pytest.mark.parametrize("url", ["https://example.com/Prod", "arn:aws:lambda:eu-west-1:1:function:x", "plain text", ""])
def test_what_is_no_api_endpoint_stays_as_it_is(url: str) -> None:
    assert local_url(url, "222233334444", EMBEDDED) == url
