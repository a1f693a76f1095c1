"""From an engine to a layout to a registry, and back into the engine: the image stays the same image."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.images.running import build_scratch

from stages.contract import StageError
from stages.images import engine, layout, refusals, registry, uploads
from stages.images.logins import Login
from stages.images.registry import Repository
from stages.images.uploads import Copy, FromLayout, FromRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient

    from stages.images.layout import LayoutImage

pytestmark = pytest.mark.engine


@pytest.fixture
def repository(registry_host: str) -> Iterator[Repository]:
    url = f"http://{registry_host}/v2/team/app"
    http = registry.connections(url, 4)
    yield Repository(url, http)
    http.clear()


def _push(repository: Repository, image: LayoutImage, tag: str) -> str:
    copy = Copy(FromLayout(image), repository)
    uploads.send_blobs([copy], 2)
    return uploads.put_image(copy, tag)


def _exported(client: APIClient, folder: Path, *images: str) -> Path:
    layout.write(engine.save(client, images), folder, set(images))
    return folder


def _skopeo(*arguments: str) -> Any:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_layout_is_read_by_others_as_the_image_it_was(client: APIClient, scratch: Any, tmp_path: Path) -> None:
    image = scratch("x")
    folder = _exported(client, tmp_path / "oci", image)
    name = f"oci:{folder}:{image}"
    assert _skopeo("inspect", name)["Digest"] == f"sha256:{_only_manifest(folder)}"
    assert _skopeo("inspect", "--raw", name)["config"]["digest"] == image
    config = folder / "blobs" / "sha256" / image.removeprefix("sha256:")
    assert json.loads(config.read_bytes()) == _skopeo("inspect", "--raw", "--config", name)


def _only_manifest(folder: Path) -> str:
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    return str(entry["digest"]).removeprefix("sha256:")


def test_exporting_twice_gives_the_same_bytes_and_shared_layers_once(
    client: APIClient, scratch: Any, tmp_path: Path
) -> None:
    base = scratch("base")
    above = build_scratch(client, "above", base)
    try:
        one = _exported(client, tmp_path / "one", base, above)
        two = _exported(client, tmp_path / "two", base, above)
        assert {path.name: path.read_bytes() for path in one.rglob("*") if path.is_file()} == {
            path.name: path.read_bytes() for path in two.rglob("*") if path.is_file()
        }
        assert len(list((one / "blobs" / "sha256").iterdir())) == 2 + 2 + 2  # configs, manifests, layers
    finally:
        client.remove_image(above, force=True)


def test_pushed_by_us_and_pulled_by_docker_it_is_the_same_image(
    client: APIClient, scratch: Any, tmp_path: Path, repository: Repository, registry_host: str
) -> None:
    image = scratch("x")
    read = layout.read(_exported(client, tmp_path / "oci", image), image)
    digest = _push(repository, read, "v1")
    client.remove_image(image, force=True)
    assert engine.find(client, image) is None
    name = f"{registry_host}/team/app"
    client.pull(name, tag=digest)
    try:
        assert engine.find(client, f"{name}@{digest}") == image
    finally:
        client.remove_image(f"{name}@{digest}")


def test_what_is_there_already_is_not_sent_again(
    client: APIClient, scratch: Any, tmp_path: Path, repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = scratch("x")
    read = layout.read(_exported(client, tmp_path / "oci", image), image)
    log = next(tmp_path_factory.getbasetemp().glob("registry*/log"))
    first = _push(repository, read, "v1")
    begun = log.read_text().count('"POST ')
    assert begun >= 2
    assert _push(repository, read, "v2") == first
    assert log.read_text().count('"POST ') == begun


@pytest.fixture
def exported(client: APIClient, scratch: Any, tmp_path: Path) -> LayoutImage:
    image = scratch("exported")
    return layout.read(_exported(client, tmp_path / "oci", image), image)


@pytest.mark.parametrize("part_bytes", [1000, uploads.PART_BYTES])
def test_a_real_registry_takes_layers_in_parts_and_mounts_them_from_a_sister(
    exported: LayoutImage,
    repository: Repository,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    part_bytes: int,
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", part_bytes)
    digest = _push(repository, exported, "v1")
    source = registry.manifest(repository, digest)
    assert source is not None
    log = next(tmp_path_factory.getbasetemp().glob("registry*/log"))
    sent = log.read_text().count('"PATCH ')
    sister = Repository(repository.url.replace("team/app", f"sister-{part_bytes}"), repository.http)
    copy = Copy(FromRegistry(repository, source), sister)
    uploads.send_blobs([copy], 2)
    assert uploads.put_image(copy, "v1") == digest
    served = registry.manifest(sister, "v1")
    assert served == source
    assert log.read_text().count('"PATCH ') == sent


def test_pushed_by_the_engine_the_registry_serves_the_engines_digest(
    client: APIClient, scratch: Any, repository: Repository, registry_host: str
) -> None:
    image = scratch("x")
    digest = engine.push(client, image, f"{registry_host}/team/app", "v3", Login("user", "password"))
    found = registry.manifest(repository, "v3")
    assert found is not None
    assert (found.digest, found.config) == (digest, image)
    assert found.type in registry.MANIFEST_TYPES
    assert registry.manifest(repository, "nothing") is None


def test_the_users_docker_configuration_is_neither_read_nor_written(
    client: APIClient, scratch: Any, registry_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = scratch("x")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "no-such-helper"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    before = (tmp_path / "config.json").read_bytes()
    with engine.connect() as other:
        engine.push(other, image, f"{registry_host}/team/app", "v4", Login("user", "password"))
    assert (tmp_path / "config.json").read_bytes() == before


def test_an_engine_that_cannot_reach_the_registry_says_so(
    client: APIClient, scratch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with pytest.raises(StageError, match="connection refused") as caught:
        engine.push(client, scratch("x"), "127.0.0.1:9/team/app", "v1", None)
    assert caught.value.cls == "retryable"


def test_the_last_name_of_an_image_is_not_taken_off(client: APIClient, scratch: Any) -> None:
    """Catches tidying up that removes an image somebody else still needs."""
    image = scratch("x")
    for tag in ("one", "two"):
        client.tag(image, f"towpath-test/{tag}", "1")
    engine.untag(client, "towpath-test/one:1")
    assert engine.find(client, "towpath-test/one:1") is None
    engine.untag(client, "towpath-test/two:1")
    assert engine.find(client, "towpath-test/two:1") == image
    engine.untag(client, "towpath-test/never:1")


def test_an_image_that_is_gone_cannot_be_exported(client: APIClient, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the engine does not export the image"):
        layout.write(engine.save(client, ["sha256:" + "0" * 64]), tmp_path / "oci", {"sha256:" + "0" * 64})


def test_images_are_found_as_a_dockerfile_means_them(client: APIClient, scratch: Any) -> None:
    """A name without a tag never means the start of an id, and what is no name is not there: asked directly, and by the client."""
    image = scratch("found")
    name = f"towpath-test/{uuid.uuid4().hex}"
    client.tag(image, name, "latest")
    client.tag(image, name, "one")
    try:
        short = image.removeprefix("sha256:")[:12]
        there = [image, name, f"{name}:one", f"docker.io/{name}"]
        others = [short, "Upper/Case", "$BASE", "a b", "a//b", "../..", "x@sha256:12", f"{name}:two", ""]
        found = engine.images([*there, *others])
        assert found.ids == dict.fromkeys(there, image)
        assert not any(engine.details(client, f"{each}:latest") for each in ("Upper/Case", "$BASE", "a//b", short))
    finally:
        client.remove_image(f"{name}:one")
        client.remove_image(name)
