"""A bucket of S3 as a store needs it: objects are put if they are absent, and every call is tried again where that helps.

A put whose answer was lost is put again. If that finds the key taken, the object's metadata tells whose it is: each
put carries a nonce of its own. All that is sent carries its SHA-256, so that a cut or changed transfer fails.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError, IncompleteReadError
from botocore.parsers import ResponseParserError

from pipeline.errors import VerificationFailed
from pipeline.record.store import StoreError
from pipeline.record.store.s3_errors import ABSENT, TAKEN, explained, without_versions
from stages.aws import retry
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from mypy_boto3_s3 import S3Client

    from pipeline.record.store.s3_place import Place

    T = TypeVar("T")

PART_BYTES = 16 * 1024**2
"""Of an upload in parts: S3 takes 10,000 of them, and 5 GB at most in one put. Two of them are sent as one."""
PARTS_AT_ONCE = 4
UPLOADS = 3
"""How often an upload in parts begins anew, as S3 asks for where another write of the key was under way."""
DRAINED_BYTES = 1 << 16
"""What is left of an answer is read, so that its connection can be used again, if it is no more than this."""
FIRST_WINDOW_S = 5.0
"""How long a store is tried to be reached that has not answered yet: a name that was mistyped never will."""
SLOW_BYTES_S = 250_000
"""What is sent is tried again for the time that it takes at this rate, and then the usual one: a large answer is lost last."""
_NONCE = "towpath-put"


class Bucket:
    """Objects below a place's prefix. Every method raises StoreError, or UsageError for a bucket that is not there."""

    def __init__(self, client: S3Client, place: Place) -> None:
        self.place = place
        self._s3 = client
        self._senders = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="parts")
        """Of all uploads: each holds a part in memory."""
        self._ahead_s: float | None = None
        """How far S3's clock is ahead of our monotonic one."""
        client.meta.events.register("after-call.s3", self._note_time)
        client.meta.events.register_last("before-call.s3", _send_at_once)

    def put_new(self, key: str, source: Source, protection: dict[str, Any]) -> bool:
        """Put an object; False if the key is taken by another's, or by an earlier one of ours."""
        nonce = secrets.token_hex(8)
        what = {**self._at(key), "Metadata": {_NONCE: nonce}, **protection}
        send = self._send_parts if source.size_bytes > 2 * PART_BYTES else self._send
        is_new, is_sure = send(key, source, what)
        if is_sure:
            return is_new
        found = self.head(key)
        return found is not None and found["Metadata"].get(_NONCE) == nonce

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes, None if there is none. Raises VerificationFailed if they are too many, or not what was sent."""

        def get() -> bytes:
            answer = self._s3.get_object(**self._at(key), ChecksumMode="ENABLED")
            if answer["ContentLength"] > LIMITS.read_bytes:
                answer["Body"].close()
                text = f"{self.place}/{key} is larger than {LIMITS.read_bytes:,} bytes, which nothing is that is read as a whole"
                raise VerificationFailed(text, where=key)
            return answer["Body"].read()

        return self._find("reading", key, get)

    def open(self, key: str) -> BinaryIO | None:
        """Open an object as a stream, None if there is none."""
        answer = self._find("reading", key, lambda: self._s3.get_object(**self._at(key)))
        return io.BufferedReader(_Remote(self, key, answer), 1 << 20) if answer else None

    def head(self, key: str) -> Any:
        """Give what S3 tells of an object, None if there is none."""
        return self._find("looking at", key, lambda: self._s3.head_object(**self._at(key)))

    def delete(self, key: str) -> None:
        """Remove an object, or mark it as deleted where the bucket keeps versions."""
        self._call("removing", key, lambda: self._s3.delete_object(**self._at(key)))

    def pages(self, prefix: str, **asked: Any) -> Iterator[Any]:
        """List what is below `prefix`, page by page."""
        asked["Prefix"] = self.base(prefix)
        while True:
            page = self._call("listing", prefix, lambda: self._s3.list_objects_v2(Bucket=self.place.bucket, **asked))
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def versions(self, prefix: str) -> Iterator[Any]:
        """List the versions of what is below `prefix`, page by page. Raises NoVersions if there are none to be seen."""
        marker: dict[str, str] = {}
        while True:
            page = self._versions(prefix, marker)
            yield page
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _versions(self, prefix: str, marker: dict[str, str]) -> Any:
        asked: Any = {"Bucket": self.place.bucket, "Prefix": self.base(prefix), **marker}
        try:
            return self._call("listing the versions of", prefix, lambda: self._s3.list_object_versions(**asked))
        except StoreError as error:
            if without_versions(error.__cause__):
                raise NoVersions from error
            raise

    def now(self) -> float:
        """S3 says with each answer what time it is; from then on it is counted here."""
        if self._ahead_s is None:
            self.head("format.json")
        return time.time() if self._ahead_s is None else time.monotonic() + self._ahead_s

    def base(self, prefix: str) -> str:
        """What the keys of everything below `prefix` begin with."""
        return "".join(f"{each}/" for each in (self.place.prefix, prefix) if each)

    def _send(self, key: str, source: Source, what: dict[str, Any]) -> tuple[bool, bool]:
        """Put in one request: whether it is new, and whether that is sure. It is not, if the answer to an earlier try was lost."""
        tries = 0

        def put() -> bool:
            nonlocal tries
            tries += 1
            try:
                with source.open() as body:
                    self._s3.put_object(**what, Body=body, ChecksumSHA256=source.checksum, IfNoneMatch="*")
            except ClientError as error:
                if retry.code(error) in TAKEN:
                    return False
                raise
            return True

        is_new = self._call("writing", key, put, size_bytes=source.size_bytes)
        return is_new, is_new or tries == 1

    def _send_parts(self, key: str, source: Source, what: dict[str, Any]) -> tuple[bool, bool]:
        """Put in parts; see `_send`. It counts when it is completed, and only if the key is then free."""
        for _ in range(UPLOADS):
            is_new = self._upload(key, source, what)
            if is_new is not None:
                return is_new, is_new
        hint = "Go on with: towpath resume"
        raise StoreError(f"{self.place}/{key} is being written by others again and again", hint=hint)

    def _upload(self, key: str, source: Source, what: dict[str, Any]) -> bool | None:
        """One upload in parts: whether the object is new, None if another write was under way. What does not count is let go."""
        started: Any = self._call(
            "writing", key, lambda: self._s3.create_multipart_upload(**what, ChecksumAlgorithm="SHA256")
        )
        upload, is_new = {**self._at(key), "UploadId": started["UploadId"]}, None
        try:
            numbers = range(1, source.parts + 1)
            parts = list(self._senders.map(lambda number: self._send_part(key, source, number, upload), numbers))
            is_new = self._call("writing", key, lambda: self._complete(upload, parts))
        finally:
            if not is_new:
                with suppress(BotoCoreError, ClientError):  # else the bucket's lifecycle removes what was sent
                    self._s3.abort_multipart_upload(**upload)
        return is_new

    def _send_part(self, key: str, source: Source, number: int, upload: dict[str, Any]) -> dict[str, Any]:
        data = source.part(number)
        checksum = _checksum(io.BytesIO(data))
        named: dict[str, Any] = {"PartNumber": number, "ChecksumSHA256": checksum}
        sent = self._call(
            "writing", key, lambda: self._s3.upload_part(**upload, **named, Body=data), size_bytes=len(data)
        )
        return {**named, "ETag": sent["ETag"]}

    def _complete(self, upload: dict[str, Any], parts: Any) -> bool | None:
        """Make an object of its parts: whether that is new, None if another write was under way."""
        try:
            self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except ClientError as error:
            if retry.code(error) in (*TAKEN, "NoSuchUpload"):  # the latter: completed by a try whose answer was lost
                return False
            if retry.code(error) == "ConditionalRequestConflict":
                return None
            raise
        return True

    def _from(self, key: str, start: int, etag: str) -> Any:
        """The rest of an object, of one version."""
        return self._s3.get_object(**self._at(key), Range=f"bytes={start}-", IfMatch=etag)["Body"]

    def _at(self, key: str) -> Any:
        return {"Bucket": self.place.bucket, "Key": self.base("") + key}

    def _find(self, verb: str, key: str, function: Callable[[], T]) -> T | None:
        """As `_call`; None for what is not there."""

        def look() -> T | None:
            try:
                return function()
            except ClientError as error:
                if retry.code(error) in ABSENT:
                    return None
                raise

        return self._call(verb, key, look)

    def _call(self, verb: str, key: str, function: Callable[[], T], *, size_bytes: int = 0) -> T:
        """Call S3, again where that helps. Raises StoreError, UsageError for a bucket that is not there, VerificationFailed."""
        doing = f"{verb} {self.place}/{key}"
        try:
            window_s = (FIRST_WINDOW_S if self._ahead_s is None else retry.WINDOW_S) + size_bytes / SLOW_BYTES_S
            return retry.call(function, doing=doing, window_s=window_s, tell=_untold)
        except FlexibleChecksumError as error:
            raise VerificationFailed(
                f"{key}: the store holds other bytes than were written: {error}", where=key
            ) from error
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise explained(error, doing, self.place) from error

    def _note_time(self, http_response: Any, **_: Any) -> None:
        """It tells whole seconds, begun up to one before: of all answers the one that puts its clock furthest is nearest to it."""
        with suppress(ValueError, TypeError):
            ahead_s = parsedate_to_datetime(http_response.headers.get("Date")).timestamp() - time.monotonic()
            self._ahead_s = ahead_s if self._ahead_s is None else max(ahead_s, self._ahead_s)


class NoVersions(Exception):
    """The service keeps no versions, or does not let us list them."""


class _Remote(io.RawIOBase):
    """An object that is read as a stream. Where that is cut it goes on from there, in the same version of the object."""

    def __init__(self, bucket: Bucket, key: str, answer: Any) -> None:
        super().__init__()
        self._bucket, self._key = bucket, key
        self._size, self._etag, self._body = answer["ContentLength"], answer["ETag"], answer["Body"]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        to: int = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if to != self._position:
            self._let_go()
            self._position = to
        return to

    def readinto(self, buffer: Any) -> int:
        data = self._bucket._call("reading", self._key, lambda: self._next(len(buffer)))  # noqa: SLF001 - a part of the bucket
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _next(self, most_bytes: int) -> bytes:
        if self._position >= self._size:
            return b""
        body = self._body or self._bucket._from(self._key, self._position, self._etag)  # noqa: SLF001 - a part of the bucket
        self._body = None  # until it has proved whole
        data: bytes = body.read(most_bytes)
        if not data:
            raise IncompleteReadError(actual_bytes=self._position, expected_bytes=self._size)
        self._body = body
        return data

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            if self._size - self._position <= DRAINED_BYTES:
                with suppress(BotoCoreError):
                    body.read()
            body.close()


class Source:
    """Bytes to be written, from memory or a file."""

    def __init__(self, data: bytes | Path) -> None:
        self._data = data
        self.size_bytes = len(data) if isinstance(data, bytes) else data.stat().st_size

    @property
    def checksum(self) -> str:
        with self.open() as file:
            return _checksum(file)

    @property
    def parts(self) -> int:
        return -(-self.size_bytes // PART_BYTES)

    def open(self) -> Any:
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data.open("rb")

    def part(self, number: int) -> bytes:
        """Part `number`, counted from 1."""
        with self.open() as file:
            file.seek((number - 1) * PART_BYTES)
            data: bytes = file.read(PART_BYTES)
            return data


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Do not ask S3 first whether it would take a body (`Expect: 100-continue`) that is in memory: that costs a round trip."""
    if isinstance(params.get("body"), io.BytesIO):
        params["headers"].pop("Expect", None)


def _checksum(file: Any) -> str:
    """The SHA-256 as S3 has it."""
    return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def _untold(_: str) -> None:
    """What is tried again is told by nobody: if it does not help, the error says it."""
