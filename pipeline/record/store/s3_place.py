"""Where a store in S3 is, and what holds for all that is written there. Pure.

    s3://BUCKET[/PREFIX][?kms-key=KEY][&lock=MODE:DAYSd]

The two options are for whoever makes the store: they are written down in it, in `settings/<place>.json`, and every later
writer keeps to them without naming them. That object also says that the place was tried and keeps to `If-None-Match`. Its
name is made of bucket and prefix, so that a copy elsewhere is tried again.

    {"bucket":"records","conditional_writes":true,"kms_key":"alias/towpath","lock":"governance:400d","prefix":"shop","v":1}
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pipeline.errors import UsageError
from pipeline.record.store import StoreError

VERSION = 1
SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LOCK = re.compile(r"(governance|compliance):([1-9][0-9]{0,4})d")
_OPTIONS = ("kms-key", "lock")
_FORM = "Write: s3://BUCKET/PREFIX, where PREFIX is of A-Z a-z 0-9 . _ - and /"


@dataclass(frozen=True)
class Lock:
    """How long nobody may remove a version of an object of the record: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html"""

    mode: str
    days: int

    @classmethod
    def parse(cls, text: str) -> Lock | None:
        found = _LOCK.fullmatch(text)
        return cls(found[1], int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.mode}:{self.days}d"


@dataclass(frozen=True)
class Place:
    """A bucket and a prefix in it, without a slash at its ends; the options as they were given."""

    bucket: str
    prefix: str = ""
    kms_key: str | None = None
    lock: Lock | None = None

    @classmethod
    def parse(cls, location: str) -> Place:
        """Read what `--store` says. Raises UsageError."""
        parts = urlsplit(location)
        prefix = parts.path.strip("/")
        names = prefix.split("/") if prefix else []
        if parts.fragment or not all(_NAME.fullmatch(name) and name.strip(".") for name in names):
            raise UsageError(f"{location}: {prefix!r} cannot be the prefix of a store", hint=_FORM)
        if not _BUCKET.fullmatch(parts.netloc):
            raise UsageError(f"{location}: {parts.netloc!r} is no bucket's name", hint=_FORM)
        options = _options(parts.query, location)
        lock = Lock.parse(options["lock"]) if "lock" in options else None
        if "lock" in options and lock is None:
            hint = "Write lock=governance:400d or lock=compliance:400d, with the days that nobody may remove what is recorded."
            raise UsageError(f"{location}: lock={options['lock']} is no retention", hint=hint)
        return cls(parts.netloc, "/".join(names), options.get("kms-key"), lock)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def settings_key(self) -> str:
        """The key of the object that says what holds here."""
        return f"settings/{hashlib.sha256(f'{self.bucket}/{self.prefix}'.encode()).hexdigest()[:16]}.json"


@dataclass(frozen=True)
class Settings:
    """What holds for all that is written to a store, and that its place was tried."""

    bucket: str
    prefix: str
    kms_key: str | None
    lock: Lock | None

    @classmethod
    def of(cls, place: Place) -> Settings:
        return cls(place.bucket, place.prefix, place.kms_key, place.lock)

    @classmethod
    def decode(cls, data: bytes, what: str) -> Settings:
        """Read what was written down. Raises StoreError if it is not of this version."""
        try:
            value = json.loads(data)
            lock = Lock.parse(value["lock"]) if value["lock"] is not None else None
            found = cls(value["bucket"], value["prefix"], value["kms_key"], lock)
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
        if found is None or found.encode() != data:
            hint = "Whoever administers the bucket has to put it right, or to remove it; docs/reference/record.md has its form."
            raise StoreError(f"{what} does not say what holds for this store", hint=hint)
        return found

    def encode(self) -> bytes:
        """Give its one form: canonical JSON and a line feed."""
        told = {"v": VERSION, "bucket": self.bucket, "prefix": self.prefix, "conditional_writes": True}
        value: dict[str, Any] = {**told, "kms_key": self.kms_key, "lock": str(self.lock) if self.lock else None}
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def agreeing(self, place: Place) -> Settings:
        """Give itself. Raises UsageError if the options that were given are others."""
        for name, given, here in (("kms-key", place.kms_key, self.kms_key), ("lock", place.lock, self.lock)):
            if given is not None and given != here:
                holds = f"{name}={here}" if here else f"no {name}"
                hint = f"Leave ?{name}= out: what holds is written down in the store. Another store, with another prefix, may have others."
                raise UsageError(f"{place} was made with {holds}, not {name}={given}", hint=hint)
        return self


def _options(query: str, location: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        pairs = [(query, "")]
    for name, value in pairs:
        if name not in _OPTIONS or not value:
            hint = f"A store's options are {' and '.join(_OPTIONS)}: s3://BUCKET/PREFIX?kms-key=alias/NAME&lock=governance:400d"
            raise UsageError(f"{location}: {name or query!r} is not understood", hint=hint)
    return dict(pairs)
