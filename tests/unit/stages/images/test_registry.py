"""The client against a server that fails on purpose; against a real registry it is tested in the integration tests."""

from __future__ import annotations

import json

import pytest
from support.fake_registry import Server, digest, serving

from stages.contract import StageError
from stages.images import refusals, registry
from stages.images.registry import Repository

LAYER = b"layer" * 1000


def test_a_refusal_is_told_at_once_in_the_registrys_words(server: Server, repository: Repository) -> None:
    said = json.dumps({"errors": [{"code": "DENIED", "message": "not authorized to perform ecr:PutImage"}]}).encode()
    server.answers["PUT", "/v2/app/manifests/v1"] += [(403, {}, said)] * 9
    with pytest.raises(StageError, match="DENIED: not authorized to perform ecr:PutImage") as caught:
        registry.put_manifest(repository, registry.Manifest(b"{}", registry.MANIFEST_TYPES[0]), "v1")
    assert caught.value.cls == "terminal"
    assert len(server.answers["PUT", "/v2/app/manifests/v1"]) == 8  # not tried again


def test_tries_end(server: Server, repository: Repository) -> None:
    server.answers["GET", "/v2/app/manifests/v1"] += [(429, {}, b"")] * 99
    with pytest.raises(StageError) as caught:
        registry.manifest(repository, "v1")
    assert caught.value.cls == "retryable"
    assert len(server.seen) == refusals.THROTTLED_ATTEMPTS


def test_a_redirect_is_not_followed(server: Server, repository: Repository) -> None:
    server.answers["GET", "/v2/app/manifests/v1"] += [(307, {"Location": f"{server.address}/elsewhere"}, b"")]
    with pytest.raises(StageError, match="HTTP status 307"):
        registry.manifest(repository, "v1")


@pytest.mark.parametrize("said", [{}, {"Docker-Content-Digest": "sha256:" + "0" * 64}])
def test_bytes_that_are_not_the_digest_are_refused(
    server: Server, repository: Repository, said: dict[str, str]
) -> None:
    reference = "v1" if said else "sha256:" + "0" * 64
    server.answers["GET", f"/v2/app/manifests/{reference}"] += [(200, said, b"other")]
    with pytest.raises(StageError, match="the registry served") as caught:
        registry.manifest(repository, reference)
    assert caught.value.cls == "mismatch"


def test_an_endless_answer_is_cut(server: Server, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MANIFEST_BYTES", 1000)
    server.answers["GET", "/v2/app/manifests/v1"] += [(200, {}, b"x" * 1_000_000)]
    with pytest.raises(StageError, match="more than 1,000 bytes"):
        registry.manifest(repository, "v1")


def test_nobody_there_is_retryable_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with Server() as server:
        url = f"{server.address}/v2/app"
    http = registry.connections(url, 1)
    with pytest.raises(StageError, match="refused") as caught:
        registry.manifest(Repository(url, http), "v1")
    http.clear()
    assert caught.value.cls == "retryable"
    assert "Nothing answers at the registry's address" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "config"),
    [(b"{}", None), (b"[]", None), (b"x", None), (b'{"config": 1}', None), (b'{"config": {"digest": "d"}}', "d")],
)
def test_the_config_of_a_manifest(content: bytes, config: str | None) -> None:
    assert registry.Manifest(content, "").config == config


# Blobs


def test_a_blob_is_read_and_proven(server: Server, repository: Repository) -> None:
    data = bytes(range(256)) * 10_000
    server.blobs[digest(data)] = data
    assert b"".join(registry.blob(repository, digest(data), len(data))) == data


def test_a_blob_elsewhere_is_asked_for_without_our_login(server: Server, repository: Repository) -> None:
    """As ECR does it: the other address, with a token in it, is S3's."""
    with serving() as other:
        layer = digest(LAYER)
        other.blobs[layer] = LAYER
        server.answers["GET", f"/v2/app/blobs/{layer}"] = [(307, {"Location": f"{other.address}/x/{layer}?t=1"}, b"")]
        assert b"".join(registry.blob(repository, layer, len(LAYER))) == LAYER
    assert other.seen == [("GET", f"/x/{layer}", None)]
    assert server.seen[0][2] is not None


@pytest.mark.parametrize(
    "served", [b"", LAYER[:-1], LAYER + b"x", b"x" * len(LAYER)], ids=["none", "short", "long", "other"]
)
def test_other_bytes_are_refused(server: Server, repository: Repository, served: bytes) -> None:
    server.blobs[digest(LAYER)] = served
    with pytest.raises(StageError, match="something else") as caught:
        list(registry.blob(repository, digest(LAYER), len(LAYER)))
    assert caught.value.cls == "mismatch"


def test_a_fault_is_tried_again_and_a_blob_that_is_not_there_is_told(server: Server, repository: Repository) -> None:
    layer = digest(LAYER)
    server.blobs[layer] = LAYER
    server.answers["GET", f"/v2/app/blobs/{layer}"] = [(503, {}, b""), (0, {}, b"")]
    assert b"".join(registry.blob(repository, layer, len(LAYER))) == LAYER
    with pytest.raises(StageError, match="404"):
        list(registry.blob(repository, digest(b"other"), 1))


def test_going_round_in_circles_ends(server: Server, repository: Repository) -> None:
    layer = digest(LAYER)
    path = f"/v2/app/blobs/{layer}"
    server.answers["GET", path] = [(307, {"Location": path}, b"")] * 100
    with pytest.raises(StageError, match="too many redirects"):
        list(registry.blob(repository, layer, 1))
