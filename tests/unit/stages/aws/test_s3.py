"""S3 as botocore's Stubber plays it: what an emulator does not refuse."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import ANY, Stubber

from stages.aws import s3
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.aws.session import Session

ACCOUNT = "123456789012"
DATA = b"content"
CHECKSUM = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
HEAD = {"Bucket": "b", "Key": "k", "ExpectedBucketOwner": ACCOUNT, "ChecksumMode": "ENABLED"}


@pytest.fixture
def aws(session: Session) -> Iterator[Stubber]:
    with Stubber(session.s3) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _missing(aws: Stubber, expected: dict[str, Any] = HEAD) -> None:
    aws.add_client_error("head_object", "404", http_status_code=404, expected_params=expected)


@pytest.mark.parametrize("told", [{}, {"ChecksumSHA256": CHECKSUM}])
def test_what_is_there_is_not_written_again(session: Session, aws: Stubber, told: dict[str, str]) -> None:
    aws.add_response("head_object", {"ContentLength": len(DATA), **told}, HEAD)
    assert s3.put(session, "b", "k", DATA).uri == "s3://b/k"


@pytest.mark.parametrize(
    "told", [{"ContentLength": 1}, {"ContentLength": len(DATA), "ChecksumSHA256": "another" + CHECKSUM[7:]}]
)
def test_something_else_under_our_key_is_written_over(session: Session, aws: Stubber, told: dict[str, Any]) -> None:
    """Catches a key by content whose object somebody has replaced by something of the same length."""
    aws.add_response("head_object", told, HEAD)
    aws.add_response("put_object", {}, {**_put(), "Body": ANY})
    s3.put(session, "b", "k", DATA)


def _put() -> dict[str, Any]:
    return {"Bucket": "b", "Key": "k", "ExpectedBucketOwner": ACCOUNT, "ChecksumSHA256": CHECKSUM}


def test_a_file_is_written_with_its_checksum_and_the_key_it_is_encrypted_with(
    session: Session, aws: Stubber, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    _missing(aws)
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:key"}
    aws.add_response("put_object", {}, {**_put(), **encryption, "Body": ANY})
    s3.put(session, "b", "k", tmp_path / "file", "arn:key")


def test_without_the_right_to_list_what_is_not_there_is_forbidden(session: Session, aws: Stubber) -> None:
    aws.add_client_error("head_object", "403", http_status_code=403, expected_params=HEAD)
    aws.add_response("put_object", {}, {**_put(), "Body": ANY})
    s3.put(session, "b", "k", DATA)


def test_a_bucket_of_somebody_else_is_refused(session: Session, aws: Stubber) -> None:
    expected = {"Bucket": "b", "ExpectedBucketOwner": ACCOUNT}
    aws.add_client_error("head_bucket", "403", http_status_code=403, expected_params=expected)
    with pytest.raises(StageError, match="belongs to another account") as caught:
        s3.ensure_bucket(session, "b", {})
    assert "choose another one" in (caught.value.hint or "")


def test_a_missing_bucket_is_made_in_the_region_private_and_tagged(session: Session, aws: Stubber) -> None:
    aws.add_client_error("head_bucket", "404", http_status_code=404)
    aws.add_response(
        "create_bucket", {}, {"Bucket": "b", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    )
    aws.add_response("put_public_access_block", {}, {"Bucket": "b", "PublicAccessBlockConfiguration": ANY})
    aws.add_response(
        "put_bucket_tagging", {}, {"Bucket": "b", "Tagging": {"TagSet": [{"Key": "team", "Value": "shop"}]}}
    )
    s3.ensure_bucket(session, "b", {"team": "shop"})


def test_addresses_are_by_path_in_the_regions_domain() -> None:
    assert s3.Object("b", "k", "eu-west-1", "aws").url == "https://s3.eu-west-1.amazonaws.com/b/k"
    assert s3.Object("b", "k", "cn-north-1", "aws-cn").url == "https://s3.cn-north-1.amazonaws.com.cn/b/k"
