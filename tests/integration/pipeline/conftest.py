"""S3 on this machine, and a proxy before it that makes faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.s3 import Faults


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3.server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
def faults(server: int) -> Iterator[Faults]:
    with s3.faults(server) as made:
        yield made
