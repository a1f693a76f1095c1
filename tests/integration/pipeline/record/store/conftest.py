"""A store of each kind, empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import s3 as support

from pipeline.record.store import directory, s3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.s3 import Bucket

    from pipeline.record.store import Store


@pytest.fixture
def bucket(server: int) -> Bucket:
    return support.make_bucket(server)


@pytest.fixture
def open_s3(monkeypatch: pytest.MonkeyPatch) -> Callable[..., s3.S3Store]:
    """Open a store in a bucket, with AWS's own variables and nothing else saying how to reach it."""

    def open_it(bucket: Bucket, rest: str = "/shop", *, create: bool = True) -> s3.S3Store:
        for name, value in bucket.variables.items():
            monkeypatch.setenv(name, value)
        return s3.open_store(f"s3://{bucket.name}{rest}", create=create)

    return open_it


@pytest.fixture(params=["directory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a new store may be made, as `--store` says it."""
    if request.param == "directory":
        return str(tmp_path / "store")
    bucket = support.make_bucket(request.getfixturevalue("server"))
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket.name}/some/where"


@pytest.fixture
def store(location: str, tmp_path: Path) -> Store:
    if location.startswith("s3://"):
        return s3.open_store(location, create=True)
    return directory.open_store(tmp_path / "store", create=True)
