"""Amazon S3 as a place for files by their content: a bucket of our own account, and objects that are written once."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.aws.retry import call, code, explained, meaning
from stages.contract import StageError
from stages.log import log

if TYPE_CHECKING:
    from pathlib import Path

    from stages.aws.session import Session

PREFIX = "towpath"
"""What the keys of our objects begin with, unless a stage says otherwise."""


@dataclass(frozen=True)
class Object:
    """An object: where it is, as templates name it."""

    bucket: str
    key: str
    region: str
    partition: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def url(self) -> str:
        """Its address by path, https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html#path-style-access:
        CloudFormation takes that form for every bucket's name."""
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"https://s3.{self.region}.{suffix}/{self.bucket}/{self.key}"


def ensure_bucket(session: Session, name: str, tags: dict[str, str]) -> None:
    """Make a private bucket of that name unless our account has it; one that is there is left as it is. Raises StageError."""
    from botocore.exceptions import ClientError

    doing = f"looking for the bucket {name}"
    with explained(doing):
        try:
            call(lambda: session.s3.head_bucket(Bucket=name, ExpectedBucketOwner=session.target.account), doing=doing)
        except ClientError as error:
            if code(error) not in ("404", "NoSuchBucket", "403", "AccessDenied"):
                raise
            if code(error) in ("403", "AccessDenied"):
                raise StageError(
                    f"the bucket {name} cannot be used: it belongs to another account, or we may not look at it",
                    hint="Names of buckets are the same for everybody: choose another one, or ask for s3:ListBucket on it.",
                ) from error
            _make(session, name, tags)


def _make(session: Session, name: str, tags: dict[str, str]) -> None:
    from botocore.exceptions import ClientError

    region = session.target.region
    place: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with explained(f"making the bucket {name}"):
        try:
            session.s3.create_bucket(Bucket=name, **place)
        except ClientError as error:
            if code(error) != "BucketAlreadyOwnedByYou":  # somebody else of ours made it meanwhile
                raise
            return
        everything = {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
        block: Any = everything
        session.s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        if tags:
            pairs: Any = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
            session.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs})
    log(f"made the bucket {name}: private, nothing in it is ever deleted by Towpath")


def put(session: Session, bucket: str, key: str, content: bytes | Path, kms_key: str | None = None) -> Object:
    """Write bytes, or a file's, as an object unless that is there already. Raises StageError.

    The key is to be made of the content's digest: then an object of that key is that content.
    """
    target = session.target
    doing = f"writing {key} into the bucket {bucket}"
    with explained(doing):
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        checksum = _checksum(content)
        if not _is_there(session, bucket, key, size, checksum):
            encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
            where: Any = {"Bucket": bucket, "Key": key, "ExpectedBucketOwner": target.account, **encryption}
            where["ChecksumSHA256"] = checksum
            call(lambda: _put(session, where, content), doing=doing)
            log(f"uploaded s3://{bucket}/{key}, {size:,} bytes")
    return Object(bucket, key, target.region, target.partition)


def _put(session: Session, where: Any, content: bytes | Path) -> None:
    """One PUT, of at most 5 GB; S3 compares what it got with the checksum."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        session.s3.put_object(**where, Body=file)


def _checksum(content: bytes | Path) -> str:
    """The SHA-256 as S3 has it."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def _is_there(session: Session, bucket: str, key: str, size_bytes: int, checksum: str) -> bool:
    """Whether the object is there, and is that content as far as S3 says; one that is not is written over."""
    from botocore.exceptions import ClientError

    doing = f"looking for {key} in the bucket {bucket}"
    try:
        found = call(
            lambda: session.s3.head_object(
                Bucket=bucket, Key=key, ExpectedBucketOwner=session.target.account, ChecksumMode="ENABLED"
            ),
            doing=doing,
        )
    except ClientError as error:
        if code(error) in ("404", "NoSuchKey", "NotFound") or meaning(error) == "denied" or code(error) == "403":
            return False  # without s3:ListBucket S3 says 403 for what is not there; the upload will tell
        raise
    return found["ContentLength"] == size_bytes and found.get("ChecksumSHA256", checksum) == checksum
