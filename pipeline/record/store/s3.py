"""A store in an S3 bucket: each object an object of S3, put with `If-None-Match: *`. Decided in docs/adr/0015.

That header makes S3 refuse a put if the key is taken, atomically, which is all that `put_new` promises. A look-alike of S3
that ignores it would let two runners claim the same attempt: so before a process writes for the first time, it looks
whether the place was tried, and tries it if not.

Content that is put again must stay, whoever is about to prune it, and S3 keeps the time of the first put. So who finds content
there that is old writes that he wants it (`aside/wanted`), and then looks whether it is being removed; who removes it writes
that first (`aside/removing`), and then looks whether somebody wants it. One of them sees the other.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from pipeline.record.store import RECORD, StoreError, check_format
from pipeline.record.store.ahead import READERS
from pipeline.record.store.s3_bucket import Bucket, NoVersions, Source
from pipeline.record.store.s3_place import Place, Settings
from stages.aws.session import ambient_s3
from stages.contract import StageError
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

CONTENT = "blobs/"
LOOK_FIRST_BYTES = 1 << 20
"""What is larger is looked for before it is sent: content is often there already."""
REMOVING_S = 60.0
"""Who began to remove content does it within this time, or leaves it; so who did not say that it is done in three times it has died."""
POLL_S = 0.5
_WRITERS_TRYING = 8


class S3Store:
    """See the module. Made by `open_store`."""

    local = False

    def __init__(self, bucket: Bucket) -> None:
        self.place = bucket.place
        self.location = str(bucket.place)
        self._bucket = bucket
        self._settings: Settings | None = None
        self._settling = Lock()

    def put_new(self, key: str, data: bytes | Path) -> bool:
        source = Source(data)
        self.settle()
        while True:
            is_new = source.size_bytes <= LOOK_FIRST_BYTES or self._bucket.head(key) is None
            if is_new and self._put(key, source):
                return True
            if not key.startswith(CONTENT) or self._stays(key):
                return False

    def read(self, key: str) -> bytes | None:
        return self._bucket.read(key)

    def read_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """At most twice as many are under way or waiting as are read at the same time."""
        waiting = iter(keys)
        with ThreadPoolExecutor(READERS, thread_name_prefix="store") as pool:
            ahead = [pool.submit(self.read, key) for key in islice(waiting, 2 * READERS)]
            try:
                while ahead:
                    yield ahead.pop(0).result()
                    ahead += [pool.submit(self.read, key) for key in islice(waiting, 1)]
            finally:
                for each in ahead:
                    each.cancel()

    def open(self, key: str) -> BinaryIO | None:
        return self._bucket.open(key)

    def names(self, prefix: str) -> list[str]:
        base = self._bucket.base(prefix)
        found: set[str] = set()
        for page in self._bucket.pages(prefix, Delimiter="/"):
            found |= {each["Key"] for each in page.get("Contents", [])}
            found |= {each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", [])}
        return sorted(name.removeprefix(base) for name in found if name != base)

    def walk(self, prefix: str) -> list[str]:
        top = self._bucket.base("")
        pages = self._bucket.pages(prefix)
        return sorted(each["Key"].removeprefix(top) for page in pages for each in page.get("Contents", []))

    def written_at(self, key: str) -> float | None:
        found = self._bucket.head(key)
        return found["LastModified"].timestamp() if found else None

    def now(self) -> float:
        return self._bucket.now()

    def rewritten(self, prefix: str) -> dict[str, str] | None:
        """Where the bucket keeps versions, a second one of a key, or the mark of its deletion, stays to be seen."""
        top = self._bucket.base("")
        written: dict[str, list[str]] = {}
        told: dict[str, str] = {}
        keeps = False
        try:
            for page in self._bucket.versions(prefix):
                for each in page.get("Versions", []):
                    written.setdefault(each["Key"].removeprefix(top), []).append(_text(each["LastModified"]))
                    keeps |= each["VersionId"] != "null"
                for each in page.get("DeleteMarkers", []):
                    told[each["Key"].removeprefix(top)] = f"was deleted at {_text(each['LastModified'])}"
        except NoVersions:
            return None
        again = {key: f"was written {len(at)} times, last at {max(at)}" for key, at in written.items() if len(at) > 1}
        return {**again, **told} if keeps or told or not written else None

    def remove(self, key: str, before: float) -> bool:
        if not key.startswith(CONTENT):
            raise StoreError(f"{key} is no content, and nothing else may be removed", where=key)
        mark = _removing(key)
        if self._bucket.head(key) is None or not self._begin_removing(mark):
            return False
        try:
            began = time.monotonic()
            written_at = self.written_at(key)
            if written_at is None or written_at >= before or self._is_wanted(key, since=before):
                return False
            if time.monotonic() - began > REMOVING_S:
                return False
            self._bucket.delete(key)
        finally:
            self._bucket.delete(mark)
        return True

    def _begin_removing(self, mark: str) -> bool:
        """Say that we remove it; False if another does."""
        if self._put(mark, Source(b"")):
            return True
        if self._is_recent(mark):
            return False
        self._bucket.delete(mark)
        return self._put(mark, Source(b""))

    def _stays(self, key: str) -> bool:
        """Make sure that content which is there is not removed in the next hours; False if it is there no more."""
        written_at = self.written_at(key)
        if written_at is None or written_at > self.now() - LIMITS.prune_grace_s / 2:
            return written_at is not None
        self._put(_wanted(key, self.now()), Source(b""))
        while self._is_recent(_removing(key)):
            time.sleep(POLL_S)
        return self._bucket.head(key) is not None

    def _is_wanted(self, key: str, since: float) -> bool:
        days = range(int((self.now() - since) // 86_400) + 2)
        return any(self._bucket.head(_wanted(key, self.now() - day * 86_400)) for day in days)

    def _is_recent(self, mark: str) -> bool:
        at = self.written_at(mark)
        return at is not None and at > self.now() - 3 * REMOVING_S

    def settle(self) -> Settings:
        """Give what holds for all that is written here; a place that nobody tried yet is tried first. Raises StoreError."""
        with self._settling:
            if self._settings is None:
                self._settings = self._find_settings()
            return self._settings

    def _find_settings(self) -> Settings:
        wanted, key = Settings.of(self.place), self.place.settings_key
        found = self.read(key)
        if found is None:
            self._try_place(wanted)
            self._bucket.put_new(key, Source(wanted.encode()), self._protection(key, wanted))
            found = self.read(key)  # another's, if that one was faster
        return Settings.decode(found or b"", f"{self.location}/{key}").agreeing(self.place)

    def _try_place(self, settings: Settings) -> None:
        """Have several writers put one key at once, then one more: one of them may succeed, and must have. Raises StoreError."""
        key = f"aside/tried-{secrets.token_hex(8)}"
        how = self._protection(key, settings)
        with ThreadPoolExecutor(_WRITERS_TRYING) as pool:
            did = list(pool.map(lambda each: self._bucket.put_new(key, Source(each), how), _tries()))
        did.append(self._bucket.put_new(key, Source(b"one more"), how))
        kept = self.read(key)
        with suppress(StoreError):  # whoever may not remove it leaves it there
            self._bucket.delete(key)
        if did.count(True) != 1 or did[-1] or kept != _tries()[did.index(True)]:
            raise StoreError(
                f"{self.location}: this service ignores `If-None-Match: *`, or does not keep what it was given: of {len(did)} "
                f"writers of one object {did.count(True)} were told that it is theirs",
                hint="Two runners would both believe that a stage is theirs. Use Amazon S3, another service with conditional "
                "writes, or a folder.",
            )

    def _put(self, key: str, source: Source) -> bool:
        return self._bucket.put_new(key, source, self._protection(key, self.settle()))

    def _protection(self, key: str, settings: Settings) -> dict[str, Any]:
        """How an object is encrypted, and how long it may not be removed if it is part of the record."""
        told: dict[str, Any] = {}
        if settings.kms_key:
            told |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key}
        if settings.lock and key.partition("/")[0] in (*RECORD, "format.json"):
            until = datetime.fromtimestamp(self.now(), UTC) + timedelta(days=settings.lock.days)
            told |= {"ObjectLockMode": settings.lock.mode.upper(), "ObjectLockRetainUntilDate": until}
        return told


def open_store(location: str, *, create: bool) -> S3Store:
    """Open the store at `s3://BUCKET/PREFIX`, which is made and its place tried first if `create`. Raises StoreError, UsageError."""
    place = Place.parse(location)
    try:
        store = S3Store(Bucket(ambient_s3(connections=2 * READERS), place))
    except StageError as error:
        raise StoreError(error.message, hint=error.hint) from error
    check_format(store, create=create)
    if create:
        store.settle()
    return store


def _tries() -> list[bytes]:
    return [f"writer {number}".encode() for number in range(_WRITERS_TRYING)]


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _wanted(key: str, moment: float) -> str:
    """The mark that somebody found this content there on that day, and wants it."""
    return f"aside/wanted/{datetime.fromtimestamp(moment, UTC):%Y%m%d}/{key.rpartition('/')[2]}"


def _removing(key: str) -> str:
    """The mark that this content is being removed."""
    return f"aside/removing/{key.rpartition('/')[2]}"
