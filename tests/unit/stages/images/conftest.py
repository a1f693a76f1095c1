"""A registry that fails on purpose, a repository in it, and an image to send there."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import OCI, Server, digest, serving

from stages.images import refusals, registry
from stages.images.layout import Blob, LayoutImage
from stages.images.logins import Auth, Login
from stages.images.registry import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYER = b"".join(hashlib.sha256(str(at).encode()).digest() for at in range(9_375))
CONFIG = b"{}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with serving() as server:
        yield server


@pytest.fixture
def repository(server: Server) -> Iterator[Repository]:
    url = f"{server.address}/v2/app"
    http = registry.connections(url, 2)
    yield Repository(url, http, Auth(Login("AWS", "token")))
    http.clear()


@pytest.fixture
def image(tmp_path: Path) -> LayoutImage:
    folder = tmp_path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    blobs = [Blob(digest(data), len(data), kind) for data, kind in ((CONFIG, "config"), (LAYER, "layer"))]
    for data in (CONFIG, LAYER):
        (folder / digest(data).removeprefix("sha256:")).write_bytes(data)
    document = {"mediaType": OCI, "config": blobs[0].descriptor, "layers": [blobs[1].descriptor]}
    return LayoutImage(tmp_path, json.dumps(document).encode(), blobs)
