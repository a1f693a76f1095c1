"""Writing images: how many requests it takes, and what is sent again after a connection broke."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import digest, serving
from unit.stages.images.conftest import CONFIG, LAYER

from stages.contract import StageError
from stages.images import registry, uploads
from stages.images.logins import Auth
from stages.images.registry import Repository
from stages.images.uploads import Copy, FromLayout, FromRegistry

if TYPE_CHECKING:
    from support.fake_registry import Server

    from stages.images.layout import LayoutImage
    from stages.images.uploads import Image

BOTH = {digest(CONFIG): CONFIG, digest(LAYER): LAYER}


def _push(image: LayoutImage | Image, *repositories: Repository) -> str:
    source = FromLayout(image) if not isinstance(image, FromRegistry) else image  # type: ignore[arg-type]  # so it is then
    copies = [Copy(source, repository) for repository in repositories]
    uploads.send_blobs(copies, 1)
    (digest,) = {uploads.put_image(copy, "v1") for copy in copies}
    return digest


def test_only_what_is_missing_is_sent_in_the_fewest_requests(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    server.blobs[digest(LAYER)] = LAYER
    assert _push(image, repository) == digest(image.manifest)
    assert server.blobs == BOTH
    assert server.manifests["v1"] == image.manifest
    assert server.methods == ["HEAD", "HEAD", "POST", "PUT", "PUT"]


def test_a_layer_larger_than_a_part_is_sent_in_parts(
    server: Server, repository: Repository, image: LayoutImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 100_000)
    _push(image, repository)
    assert server.blobs == BOTH
    assert server.methods == ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT", "HEAD", "POST", "PUT", "PUT"]


@pytest.mark.parametrize("part_bytes", [100_000, 1 << 20])
def test_a_layer_cut_in_the_middle_goes_on_where_it_was(
    server: Server, repository: Repository, image: LayoutImage, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    """Catches an upload that starts a layer of gigabytes anew for every cut."""
    monkeypatch.setattr(uploads, "PART_BYTES", part_bytes)
    server.cuts = [70_000, 20_000, 60_000]
    _push(image, repository)
    assert server.blobs == BOTH
    assert server.received == len(LAYER) + len(CONFIG) + len(image.manifest)


def test_where_nothing_is_kept_a_cut_layer_is_sent_anew(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    """As distribution does it up to 2.8: it knows nothing of an upload that was cut."""
    server.resumable = False
    server.cuts = [70_000, 20_000]
    _push(image, repository)
    assert server.blobs == BOTH
    assert server.received == 90_000 + len(LAYER) + len(CONFIG) + len(image.manifest)


def test_a_registry_that_is_wrong_about_what_it_has_is_sent_all_of_it(
    server: Server, repository: Repository, image: LayoutImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a resumed layer with a hole: its digest is refused, and the layer sent once more."""
    server.cuts = [70_000]
    behave = server.RequestHandlerClass._upload  # type: ignore[attr-defined]  # it is ours

    def lie(self: object, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = behave(self, path, query, body)
        return status, headers | ({"Range": "0-69990"} if headers.get("Range") == "0-69999" else {}), content

    monkeypatch.setattr(server.RequestHandlerClass, "_upload", lie)
    _push(image, repository)
    assert server.blobs == BOTH


def test_an_answer_that_was_lost_is_not_a_layer_that_was_lost(
    server: Server, repository: Repository, image: LayoutImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave = server.RequestHandlerClass._upload  # type: ignore[attr-defined]  # it is ours

    def hang_up_after(self: object, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = behave(self, path, query, body)
        return (0 if status == 201 else status), headers, content

    monkeypatch.setattr(server.RequestHandlerClass, "_upload", hang_up_after)
    _push(image, repository)
    assert server.blobs == BOTH
    assert server.methods.count("PUT") == 3


def test_cuts_without_end_are_told(server: Server, repository: Repository, image: LayoutImage) -> None:
    server.cuts = [0] * 1000
    with pytest.raises(StageError, match=r"onnection|reset") as caught:
        _push(image, repository)
    assert caught.value.cls == "retryable"
    assert "failed in the middle" in (caught.value.hint or "")


def test_a_full_disk_is_told_at_once(server: Server, repository: Repository, image: LayoutImage) -> None:
    said = b'{"errors": [{"code": "UNKNOWN", "message": "write /var/lib/registry: no space left on device"}]}'
    server.answers["POST", "/v2/app/blobs/uploads/"] += [(500, {}, said)] * 9
    with pytest.raises(StageError, match="no space left on device") as caught:
        _push(image, repository)
    assert "Free space" in (caught.value.hint or "")
    assert len(server.answers["POST", "/v2/app/blobs/uploads/"]) >= 7  # at most one for each of its two blobs


def test_a_login_is_not_shown_to_another_host(server: Server, repository: Repository, image: LayoutImage) -> None:
    server.upload_host = f"http://localhost:{server.server_port}"  # the same server by another name is another host
    _push(image, repository)
    shown = {(path.startswith("/upload/"), authorization is not None) for _, path, authorization in server.seen}
    assert shown == {(True, False), (False, True)}


def test_a_layer_that_two_repositories_need_is_sent_once_and_mounted(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    server.answers["HEAD", f"/v2/other/blobs/{digest(LAYER)}"] = [(404, {}, b"")]  # its blobs are for all of them
    server.answers["HEAD", f"/v2/other/blobs/{digest(CONFIG)}"] = [(404, {}, b"")]
    other = Repository(f"{server.address}/v2/other", repository.http, Auth())
    _push(image, repository, other)
    assert server.received == len(LAYER) + len(CONFIG) + 2 * len(image.manifest)
    assert sorted(query for query in server.queries if query.startswith("mount")) == sorted(
        f"mount={each}&from=app" for each in BOTH
    )


def _remote(repository: Repository, server: Server, image: LayoutImage) -> FromRegistry:
    server.blobs |= BOTH
    server.manifests[digest(image.manifest)] = image.manifest
    found = registry.manifest(repository, digest(image.manifest))
    assert found is not None
    return FromRegistry(repository, found)


def test_from_registry_to_registry_without_an_engine(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    source = _remote(repository, server, image)
    with serving() as there:
        to = replace(repository, url=f"{there.address}/v2/copy", auth=Auth())
        there.cuts = [70_000]
        assert _push(source, to) == digest(image.manifest)
        assert there.blobs == BOTH
        assert there.manifests["v1"] == image.manifest
        assert there.received == len(LAYER) + len(CONFIG) + len(image.manifest)


def test_a_source_that_breaks_in_the_middle_is_asked_for_the_rest(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    source = _remote(repository, server, image)
    short = (200, {"Content-Length": str(len(LAYER)), "Connection": "close"}, LAYER[:100_000])
    server.answers["GET", f"/v2/app/blobs/{digest(LAYER)}"] = [short]
    with serving() as there:
        _push(source, replace(repository, url=f"{there.address}/v2/copy", auth=Auth()))
        assert there.blobs == BOTH


def test_within_a_registry_layers_are_mounted(server: Server, repository: Repository, image: LayoutImage) -> None:
    source = _remote(repository, server, image)
    for each in BOTH:
        server.answers["HEAD", f"/v2/copy/blobs/{each}"] = [(404, {}, b"")]
    _push(source, Repository(f"{server.address}/v2/copy", repository.http, Auth()))
    assert server.received == len(image.manifest)


def test_a_source_that_serves_something_else_is_a_failure(
    server: Server, repository: Repository, image: LayoutImage
) -> None:
    """Catches a copy of an image that the source has swapped: the registry it goes to checks each digest."""
    source = _remote(repository, server, image)
    server.blobs[digest(LAYER)] = b"x" * len(LAYER)
    with serving() as there, pytest.raises(StageError, match="DIGEST_INVALID"):
        _push(source, replace(repository, url=f"{there.address}/v2/copy", auth=Auth()))
    assert digest(LAYER) not in there.blobs
