"""What is S3's own: lost answers, refusals, protection, versions, and what a bucket that cannot be used is told as."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import s3 as support

from pipeline.errors import UsageError, VerificationFailed
from pipeline.record import artifacts, chain
from pipeline.record.store import StoreError, s3_bucket
from pipeline.record.store import s3 as s3_store
from pipeline.record.store.s3_bucket import Source
from pipeline.record.writer import ChainWriter, LogWriter, read_chain
from stages.aws import retry
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.s3 import Asked, Bucket, Faults

    from pipeline.record.store.s3 import S3Store

    Opener = Callable[..., S3Store]

PARTS_BYTES = 33 * 1024**2


def puts(name: str) -> Callable[[Asked], bool]:
    """A put of an object whose key ends so."""
    return lambda asked: asked.method == "PUT" and asked.path.partition("?")[0].endswith(name)


def gets(name: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == "GET" and asked.path.partition("?")[0].endswith(name)


def completes(asked: Asked) -> bool:
    """The end of an upload in parts."""
    return asked.method == "POST" and "uploadId=" in asked.path


@pytest.fixture
def store(bucket: Bucket, faults: Faults, open_s3: Opener) -> S3Store:
    """A store behind the proxy."""
    return open_s3(bucket.through(faults.port))


# A put whose answer is lost


@pytest.mark.parametrize("does", ["lose", "drop"])
def test_a_put_whose_answer_was_lost_is_known_as_ours(store: S3Store, faults: Faults, does: str) -> None:
    faults.add(does, puts("/mine"))
    assert store.put_new("mine", b"x")
    assert not store.put_new("mine", b"x")
    assert store.read("mine") == b"x"


def test_what_another_put_while_our_answer_was_lost_is_not_ours_even_if_it_is_equal(
    store: S3Store, faults: Faults, bucket: Bucket, open_s3: Opener
) -> None:
    """Ours never arrived, and by the time it is sent again the other one's is there."""
    other = open_s3(bucket)

    def arrives(asked: Asked) -> bool:
        if puts("/claim")(asked) and asked.headers.get("user-agent") and not done:
            done.append(other.put_new("claim", b"equal"))
            return True
        return False

    done: list[bool] = []
    faults.add("drop", arrives)
    assert not store.put_new("claim", b"equal")
    assert done == [True]


def test_an_upload_in_parts_whose_last_answer_was_lost_is_known_as_ours(
    store: S3Store, faults: Faults, tmp_path: Path, bucket: Bucket
) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * (PARTS_BYTES >> 20))
    faults.add("lose", completes)
    faults.add("refuse", lambda asked: "partNumber=2" in asked.path)
    assert store.put_new("blobs/large", path)
    stream = store.open("blobs/large")
    assert stream
    with stream:
        assert stream.read() == path.read_bytes()
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_an_upload_in_parts_does_not_write_over_what_came_meanwhile(
    store: S3Store, faults: Faults, tmp_path: Path, bucket: Bucket
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(PARTS_BYTES))

    def meanwhile(asked: Asked) -> bool:
        if completes(asked):
            bucket.client.put_object(Bucket=bucket.name, Key="shop/blobs/large", Body=b"theirs")
        return False

    faults.add("drop", meanwhile)
    assert not store.put_new("blobs/large", path)
    assert store.read("blobs/large") == b"theirs"
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_an_upload_in_parts_begins_anew_where_another_write_was_under_way(
    store: S3Store, faults: Faults, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(PARTS_BYTES))
    faults.add("refuse", completes, status=409, code="ConditionalRequestConflict")
    assert store.put_new("blobs/large", path)
    assert sum("uploads" in asked.path for asked in faults.asked) == 2


def test_a_writer_of_a_chain_and_its_log_goes_on_after_lost_answers(store: S3Store, faults: Faults) -> None:
    faults.add("lose", puts(".json"), times=2)
    faults.add("lose", puts(".jsonl"))
    writer = ChainWriter(store, "runs/r/build.1", None)
    assert writer.open({"opening": "x"})
    log = LogWriter(store, "runs/r/build.1/log", "x")
    log.flush()
    writer.append(chain.PHASE_INTENDED, {})
    writer.close({})
    assert len(read_chain(store, "runs/r/build.1")) == 3
    assert not ChainWriter(store, "runs/r/build.1", None).open({"opening": "x"})


# Refusals


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "ConditionalRequestConflict"), (503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")],
)
def test_what_passes_is_tried_again(store: S3Store, faults: Faults, status: int, code: str) -> None:
    faults.add("refuse", lambda _: True, times=3, status=status, code=code)
    assert store.put_new("a", b"x")
    faults.add("refuse", gets("/a"), times=2, status=status, code=code)
    assert store.read("a") == b"x"


def test_a_taken_key_is_told_at_once(store: S3Store, faults: Faults) -> None:
    store.put_new("a", b"x")
    before = len(faults.asked)
    assert not store.put_new("a", b"y")
    assert len(faults.asked) == before + 1


def test_a_store_that_is_gone_says_so_and_what_was_acknowledged_is_there(
    store: S3Store, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "WINDOW_S", 1.0)
    assert store.put_new("a", b"x")
    gone = faults.add("drop", lambda _: True, times=float("inf"))
    for call in (lambda: store.put_new("b", b"y"), lambda: store.read("a"), lambda: store.names("")):
        with pytest.raises(StoreError, match="the store does not answer") as caught:
            call()
        assert "towpath resume" in (caught.value.hint or "")
    faults.faults.remove(gone)
    assert store.read("a") == b"x"
    assert store.put_new("b", b"y")


def test_a_token_that_expires_in_the_middle_is_told_as_that(store: S3Store, faults: Faults) -> None:
    assert store.put_new("a", b"x")
    faults.add("refuse", puts("/b"), times=99, status=400, code="ExpiredToken")
    with pytest.raises(StoreError, match="credentials for the store have expired"):
        store.put_new("b", b"y")
    assert store.read("a") == b"x"


# Transfers that are cut or changed


def test_a_read_that_is_cut_is_made_again_and_a_stream_goes_on_where_it_was(
    store: S3Store, faults: Faults, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5 << 20))
    store.put_new("blobs/file", path)
    faults.add("cut", gets("/file"), times=2)
    assert store.read("blobs/file") == path.read_bytes()
    faults.add("cut", gets("/file"), times=3)
    stream = store.open("blobs/file")
    assert stream
    with stream:
        assert stream.read() == path.read_bytes()
    assert any("range" in asked.headers for asked in faults.asked)


def test_what_is_sent_carries_its_digest_and_what_comes_back_is_held_to_it(
    store: S3Store, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    monkeypatch.setattr(retry, "WINDOW_S", 1.0)
    store.put_new("a", b"what was meant")
    assert bucket.client.head_object(Bucket=bucket.name, Key="shop/a", ChecksumMode="ENABLED")["ChecksumSHA256"]
    sent = next(asked for asked in faults.asked if asked.path.endswith("/shop/a"))
    with pytest.raises(Exception, match=r"BadDigest|InvalidRequest|checksum"):
        bucket.client.put_object(
            Bucket=bucket.name, Key="b", Body=b"changed", ChecksumSHA256=sent.headers["x-amz-checksum-sha256"]
        )
    real = store._bucket._s3.get_object

    def rotten(**asked: Any) -> Any:
        answer: Any = real(**asked)
        stream = answer["Body"]._raw_stream
        read = stream.read
        stream.read = lambda amount=None: read(amount).replace(b"meant", b"mean!")
        return answer

    monkeypatch.setattr(store._bucket._s3, "get_object", rotten)
    with pytest.raises(VerificationFailed, match="other bytes than were written"):
        store.read("a")


# A look-alike


@pytest.mark.parametrize("times", [float("inf"), 1], ids=["always", "once in a race"])
def test_a_look_alike_that_ignores_the_condition_is_refused_before_anything_is_written(
    faults: Faults, bucket: Bucket, open_s3: Opener, times: float
) -> None:
    faults.add("strip", lambda asked: asked.conditional, times=times, skip=0 if times > 1 else 3)
    with pytest.raises(StoreError, match="ignores `If-None-Match"):
        open_s3(bucket.through(faults.port))
    left = [each["Key"] for each in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]
    assert left == []


def test_a_place_is_tried_once_and_a_copy_of_the_store_is_tried_again(
    faults: Faults, bucket: Bucket, server: int, open_s3: Opener
) -> None:
    open_s3(bucket)
    again = open_s3(bucket.through(faults.port))
    again.put_new("a", b"")
    assert [asked.method for asked in faults.asked] == ["GET", "GET", "PUT"]
    copy = support.make_bucket(server)
    for each in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]:
        copy.client.copy_object(Bucket=copy.name, Key=each["Key"], CopySource=f"{bucket.name}/{each['Key']}")
    faults.add("strip", lambda asked: asked.conditional, times=float("inf"))
    moved = open_s3(copy.through(faults.port), create=False)
    with pytest.raises(StoreError, match="ignores `If-None-Match"):
        moved.put_new("b", b"")


def test_reading_tries_nothing(faults: Faults, bucket: Bucket, open_s3: Opener) -> None:
    open_s3(bucket)
    reader = open_s3(bucket.through(faults.port), create=False)
    reader.names("runs")
    reader.read("no")
    assert {asked.method for asked in faults.asked} == {"GET"}


# Settings


def test_the_key_and_the_lock_hold_for_every_later_writer(server: int, open_s3: Opener) -> None:
    bucket = support.make_bucket(server, lock=True)
    open_s3(bucket, "/shop?kms-key=alias/records&lock=governance:400d")
    later = open_s3(bucket, "/shop", create=False)
    for key in ("runs/r/open/00000000.json", "ledgers/l/00000000.json", "inbox/r/s/x.json", "blobs/sha256/ab/x"):
        later.put_new(key, b"{}")
    about = {
        key: bucket.client.head_object(Bucket=bucket.name, Key=f"shop/{key}")
        for key in ("format.json", "runs/r/open/00000000.json", "ledgers/l/00000000.json", "inbox/r/s/x.json")
    }
    for each in about.values():
        assert (each["ServerSideEncryption"], each["SSEKMSKeyId"]) == ("aws:kms", "alias/records")
        assert each["ObjectLockMode"] == "GOVERNANCE"
        days = each["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=399) < days <= timedelta(days=400)
    version = about["runs/r/open/00000000.json"]["VersionId"]
    with pytest.raises(Exception, match="AccessDenied"):
        bucket.client.delete_object(Bucket=bucket.name, Key="shop/runs/r/open/00000000.json", VersionId=version)
    blob = bucket.client.head_object(Bucket=bucket.name, Key="shop/blobs/sha256/ab/x")
    assert blob["ServerSideEncryption"] == "aws:kms"
    assert "ObjectLockMode" not in blob
    bucket.client.delete_object(Bucket=bucket.name, Key="shop/blobs/sha256/ab/x", VersionId=blob["VersionId"])


def test_other_options_than_the_store_was_made_with_are_refused(bucket: Bucket, open_s3: Opener) -> None:
    open_s3(bucket)
    with pytest.raises(UsageError, match="was made with no kms-key, not kms-key=alias/x"):
        open_s3(bucket, "/shop?kms-key=alias/x")
    open_s3(bucket, "/other?kms-key=alias/x")
    with pytest.raises(UsageError, match="was made with kms-key=alias/x, not kms-key=alias/y"):
        open_s3(bucket, "/other?kms-key=alias/y")


def test_a_lock_that_the_bucket_does_not_know_is_told_in_its_words(bucket: Bucket, open_s3: Opener) -> None:
    with pytest.raises(StoreError, match="ObjectLockConfiguration"):
        open_s3(bucket, "/shop?lock=governance:10d")


def test_settings_that_nobody_understands_stop_every_writer(bucket: Bucket, open_s3: Opener) -> None:
    store = open_s3(bucket)
    key = f"shop/{store.place.settings_key}"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b'{"v":2}')
    with pytest.raises(StoreError, match="does not say what holds"):
        open_s3(bucket)


# Content that is put again while it is pruned


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content counts as old at once, where S3 would let it age for hours."""
    monkeypatch.setattr(s3_store, "LIMITS", replace(LIMITS, prune_grace_s=-2.0))
    monkeypatch.setattr(s3_store, "POLL_S", 0.01)


def test_content_that_is_put_again_stays_whoever_comes_first(store: S3Store, old: None) -> None:
    """Putters and pruners run against one another: what a putter was told is there is there afterwards."""
    keys_ = [f"blobs/sha256/aa/{number:02}" for number in range(40)]
    for key in keys_:
        assert store.put_new(key, key.encode())
    before = store.now() + 10

    def put_again(_: int) -> int:
        return sum(store.put_new(key, key.encode()) for key in keys_)

    def remove(_: int) -> int:
        return sum(store.remove(key, before) for key in keys_)

    with ThreadPoolExecutor(4) as pool:
        removing = [pool.submit(remove, number) for number in range(2)]
        putting = [pool.submit(put_again, number) for number in range(2)]
        removed, put = (sum(each.result() for each in done) for done in (removing, putting))
    assert [store.read(key) for key in keys_] == [key.encode() for key in keys_]
    assert put == removed
    assert store.names("aside/removing") == []


def test_content_that_was_wanted_a_day_ago_is_spared_and_what_was_not_goes(store: S3Store, old: None) -> None:
    for name in ("wanted", "old"):
        store.put_new(f"blobs/sha256/aa/{name}", b"x")
    assert not store.put_new("blobs/sha256/aa/wanted", b"x")
    assert [store.remove(f"blobs/sha256/aa/{name}", store.now() + 10) for name in ("wanted", "old")] == [False, True]
    assert store.names("blobs/sha256/aa") == ["wanted"]
    [day] = store.names("aside/wanted")
    assert store.names(f"aside/wanted/{day}") == ["wanted"]


def test_who_puts_content_again_waits_while_it_is_removed_but_not_for_the_dead(
    store: S3Store, old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_new("blobs/sha256/aa/x", b"x")
    store._put("aside/removing/x", Source(b""))
    assert not store.remove("blobs/sha256/aa/x", store.now() + 10), "another is at it"
    monkeypatch.setattr(s3_store, "REMOVING_S", 1.0)
    began = time.monotonic()
    assert not store.put_new("blobs/sha256/aa/x", b"x")
    assert time.monotonic() - began > 1
    assert store.read("blobs/sha256/aa/x") == b"x"
    monkeypatch.setattr(s3_store, "LIMITS", LIMITS)
    assert not store.remove("blobs/sha256/aa/x", store.now() + 10), "it is wanted"


# Versions


def test_what_was_deleted_or_written_again_is_known(
    server: int, open_s3: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = support.make_bucket(server, versions=True)
    store = open_s3(bucket)
    for key in ("runs/a", "runs/b", "runs/c", "ledgers/l"):
        store.put_new(key, b"x")
    assert store.rewritten("runs") == {}
    bucket.client.put_object(Bucket=bucket.name, Key="shop/runs/a", Body=b"x")
    bucket.client.delete_object(Bucket=bucket.name, Key="shop/runs/b")
    assert store.put_new("runs/b", b"x"), "S3 lets what was deleted be written again"
    _small_pages(store, monkeypatch)
    found = store.rewritten("runs")
    assert found is not None
    assert sorted(found) == ["runs/a", "runs/b"]
    assert found["runs/a"].startswith("was written 2 times, last at 20")
    assert found["runs/b"].startswith("was deleted at 20")
    assert store.rewritten("ledgers") == {}


def test_a_bucket_without_versions_or_that_does_not_let_us_see_them_cannot_tell(store: S3Store, faults: Faults) -> None:
    store.put_new("runs/a", b"x")
    assert store.rewritten("runs") is None
    faults.add("refuse", lambda asked: "versions" in asked.path, times=9, status=403, code="AccessDenied")
    assert store.rewritten("runs") is None


def _small_pages(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("list_objects_v2", "list_object_versions"):
        real = getattr(store._bucket._s3, name)
        monkeypatch.setattr(store._bucket._s3, name, lambda real=real, **asked: real(**asked, MaxKeys=2))


def test_long_lists_are_read_to_their_end(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [f"p/{number}" for number in range(7)] + ["p/x/1", "p/x/2", "p/y/1"]
    for key in wanted:
        store.put_new(key, b"")
    _small_pages(store, monkeypatch)
    assert store.walk("p") == wanted
    assert store.names("p") == [*map(str, range(7)), "x", "y"]


# A bucket that cannot be used


def test_a_missing_bucket(bucket: Bucket, open_s3: Opener) -> None:
    with pytest.raises(UsageError, match="there is no bucket records-none"):
        open_s3(support.Bucket("records-none", bucket.port))


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((403, "AccessDenied"), "does not let us do this"),
        ((403, "InvalidAccessKeyId"), "no usable AWS credentials"),
        ((403, "SignatureDoesNotMatch"), "no usable AWS credentials"),
        ((400, "ExpiredToken"), "have expired"),
        ((400, "AuthorizationHeaderMalformed"), "is in another region"),
        ((301, "PermanentRedirect"), "is in another region"),
        ((501, "NotImplemented"), "S3 refused (NotImplemented)"),
    ],
)
def test_a_bucket_that_does_not_let_us_in(
    faults: Faults, bucket: Bucket, open_s3: Opener, refusal: tuple[int, str], told: str
) -> None:
    status, code = refusal
    faults.add("refuse", lambda asked: asked.method != "HEAD", times=99, status=status, code=code)
    with pytest.raises(StoreError) as caught:
        open_s3(bucket.through(faults.port))
    assert told in caught.value.message
    assert f"s3://{bucket.name}" in caught.value.message or bucket.name in caught.value.message


def test_no_credentials(bucket: Bucket, open_s3: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_s3(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StoreError, match="no usable AWS credentials"):
        s3_store.open_store(f"s3://{bucket.name}/shop", create=False)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match="nobody"):
        s3_store.open_store(f"s3://{bucket.name}/shop", create=False)


def test_an_endpoint_where_nobody_listens_is_told_soon(
    bucket: Bucket, open_s3: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_bucket, "FIRST_WINDOW_S", 0.5)
    with pytest.raises(StoreError, match="the store does not answer"):
        open_s3(bucket.through(1))


def test_another_region_is_followed(server: int, monkeypatch: pytest.MonkeyPatch, open_s3: Opener) -> None:
    """The bucket is where it is, whatever AWS_REGION says, as far as the service says where."""
    bucket = support.make_bucket(server)
    store = open_s3(bucket)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    again = s3_store.open_store(f"s3://{bucket.name}/shop", create=False)
    assert again.read("format.json") == store.read("format.json")


# Loading


def test_nobody_who_has_no_store_in_s3_loads_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.cli import common, run, look, audit; "
        f"common.open_store({str(tmp_path / 'store')!r}, Path('.'), create=True); "
        "print([name for name in ('boto3', 'botocore', 'tenacity') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_put_by_another_program_with_the_same_content_is_content(store: S3Store, bucket: Bucket) -> None:
    """Blobs may come by other ways, such as a copy of a bucket: what counts is their digest."""
    sha256 = artifacts.put_blob(store, json.dumps({"a": 1}).encode())
    data = store.read(artifacts.blob_key(sha256))
    assert store.remove(artifacts.blob_key(sha256), store.now() + 10)
    bucket.client.put_object(Bucket=bucket.name, Key=f"shop/{artifacts.blob_key(sha256)}", Body=data)
    assert artifacts.put_blob(store, json.dumps({"a": 1}).encode()) == sha256
