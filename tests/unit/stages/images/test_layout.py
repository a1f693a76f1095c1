from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from stages.contract import StageError
from stages.images import archive, layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE, APP = b"base layer " * 1000, b"{app layer} " * 1000  # the second begins as JSON does


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _config(*layers: bytes) -> bytes:
    return json.dumps({"os": "linux", "rootfs": {"diff_ids": [f"sha256:{_sha(layer)}" for layer in layers]}}).encode()


ONE, TWO = _config(BASE, APP), _config(BASE)


def _tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> Iterator[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    data = out.getvalue()
    return (data[at : at + 700] for at in range(0, len(data), 700))  # chunks that fit no boundary


def _old_form() -> Iterator[bytes]:
    """As engines up to 24 export two images; the second one's layer is a link to the first one's."""
    listed = [
        {"Config": f"{_sha(ONE)}.json", "RepoTags": None, "Layers": ["aaa/layer.tar", "bbb/layer.tar"]},
        {"Config": f"{_sha(TWO)}.json", "RepoTags": None, "Layers": ["ccc/layer.tar"]},
    ]
    files = {
        "aaa/VERSION": b"1.0",
        "aaa/json": b"{}",
        "aaa/layer.tar": BASE,
        "bbb/layer.tar": APP,
        f"{_sha(ONE)}.json": ONE,
        f"{_sha(TWO)}.json": TWO,
        "manifest.json": json.dumps(listed).encode(),
    }
    return _tar(files, {"ccc/layer.tar": "../aaa/layer.tar"})


def _new_form(base: bytes = BASE) -> Iterator[bytes]:
    """As newer engines export them: an OCI layout; with containerd's store its layers may be compressed."""
    blobs = {f"blobs/sha256/{_sha(each)}": each for each in (base, APP, ONE, TWO, b'{"schemaVersion":2}')}
    base_name, app_name = f"blobs/sha256/{_sha(base)}", f"blobs/sha256/{_sha(APP)}"
    listed = [
        {"Config": f"blobs/sha256/{_sha(ONE)}", "Layers": [base_name, app_name]},
        {"Config": f"blobs/sha256/{_sha(TWO)}", "Layers": [base_name]},
    ]
    return _tar({**blobs, "index.json": b"{}", "oci-layout": b"{}", "manifest.json": json.dumps(listed).encode()})


CONFIGS = {f"sha256:{_sha(ONE)}", f"sha256:{_sha(TWO)}"}


def test_both_forms_of_export_give_the_same_layout(tmp_path: Path) -> None:
    layout.write(_old_form(), tmp_path / "old", CONFIGS)
    layout.write(_new_form(), tmp_path / "new", CONFIGS)
    files = {
        path.relative_to(tmp_path / "old"): path.read_bytes()
        for path in (tmp_path / "old").rglob("*")
        if path.is_file()
    }
    assert files == {
        path.relative_to(tmp_path / "new"): path.read_bytes()
        for path in (tmp_path / "new").rglob("*")
        if path.is_file()
    }
    assert len(files) == 2 + 2 + 2 + 2  # index and marker, layers (shared ones once), configs, manifests


def test_the_config_keeps_its_bytes_and_layers_their_contents(tmp_path: Path) -> None:
    layout.write(_old_form(), tmp_path / "oci", CONFIGS)
    image = layout.read(tmp_path / "oci", f"sha256:{_sha(ONE)}")
    assert image.path(image.blobs[0]).read_bytes() == ONE
    assert [gzip.decompress(image.path(blob).read_bytes()) for blob in image.blobs[1:]] == [BASE, APP]
    manifest = json.loads(image.manifest)
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_a_layer_that_is_compressed_already_keeps_its_bytes(tmp_path: Path) -> None:
    compressed = gzip.compress(BASE, mtime=7)
    layout.write(_new_form(compressed), tmp_path / "oci", CONFIGS)
    image = layout.read(tmp_path / "oci", f"sha256:{_sha(TWO)}")
    assert image.blobs[1].digest == f"sha256:{_sha(compressed)}"


def test_configs_are_found_without_keeping_layers() -> None:
    assert set(archive.configs(_new_form())) == CONFIGS


def test_an_image_that_was_not_exported_is_missed(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="lacks the image sha256:0000") as caught:
        layout.write(_old_form(), tmp_path / "oci", {"sha256:" + "0" * 64})
    assert caught.value.cls == "mismatch"


def test_a_layer_that_is_not_its_configs_is_refused(tmp_path: Path) -> None:
    files = {"a/layer.tar": APP, "c.json": TWO, "manifest.json": b'[{"Config": "c.json", "Layers": ["a/layer.tar"]}]'}
    with pytest.raises(StageError, match="are not those its config names"):
        layout.write(_tar(files), tmp_path / "oci", {f"sha256:{_sha(TWO)}"})


@pytest.mark.parametrize("keep", [0, 5_000, 20_000])
def test_an_export_that_broke_off_is_retryable_and_no_traceback(tmp_path: Path, keep: int) -> None:
    data = b"".join(_old_form())[:keep]
    with pytest.raises(StageError, match="what the engine exported cannot be read") as caught:
        layout.write(iter([data]), tmp_path / "oci", CONFIGS)
    assert caught.value.cls == "retryable"


def _flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _edit_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0] |= changes
    (folder / "index.json").write_text(json.dumps(index))


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / str(number)
        layout.write(_old_form(), folder, {f"sha256:{_sha(ONE)}"})
        blobs = sorted((folder / "blobs" / "sha256").iterdir())
        assert len(blobs) == 4  # config, two layers, manifest
        _flip(blobs[number])
        with pytest.raises(StageError) as caught:
            layout.read(folder, f"sha256:{_sha(ONE)}")
        assert caught.value.cls == "mismatch"


def test_an_index_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    layout.write(_old_form(), tmp_path / "oci", {f"sha256:{_sha(ONE)}"})
    for digest in ("sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "x"):
        _edit_index(tmp_path / "oci", digest=digest)
        with pytest.raises(StageError, match="is not a SHA-256 digest"):
            layout.read(tmp_path / "oci", f"sha256:{_sha(ONE)}")


def test_a_blob_that_is_a_link_is_refused(tmp_path: Path) -> None:
    layout.write(_old_form(), tmp_path / "oci", {f"sha256:{_sha(ONE)}"})
    blob = tmp_path / "oci" / "blobs" / "sha256" / _sha(ONE)
    blob.rename(tmp_path / "moved")
    blob.symlink_to(tmp_path / "moved")
    with pytest.raises(StageError, match="is no plain file"):
        layout.read(tmp_path / "oci", f"sha256:{_sha(ONE)}")


def test_an_index_that_swaps_two_images_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "oci"
    layout.write(_old_form(), folder, CONFIGS)
    index = json.loads((folder / "index.json").read_text())
    first, second = index["manifests"]
    first["annotations"], second["annotations"] = second["annotations"], first["annotations"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(StageError, match="where it says"):
        layout.read(folder, f"sha256:{_sha(ONE)}")


def test_a_missing_layout_or_image_is_a_mismatch(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"lacks index\.json"):
        layout.read(tmp_path, f"sha256:{_sha(ONE)}")
    layout.write(_old_form(), tmp_path / "oci", {f"sha256:{_sha(ONE)}"})
    with pytest.raises(StageError, match="has 0 images"):
        layout.read(tmp_path / "oci", f"sha256:{_sha(TWO)}")
