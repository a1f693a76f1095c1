"""OCI image layouts: images as files, to be carried to where there is another engine, or none.

Written from what an engine exports. The config blob keeps its bytes, so an image's identity stays; layers are compressed
the same way every time, so the same image gives the same manifest on every machine with the same zlib.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from stages.contract import StageError
from stages.images import archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"

COMPRESSION_LEVEL = 4
"""Measured on shared libraries: less than half the time of zlib's usual level 6, for 2.5 % more bytes."""
CHUNK_BYTES = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Blob:
    """A file of a layout: its digest, size and type."""

    digest: str
    size: int
    type: str

    @property
    def descriptor(self) -> Json:
        return {"mediaType": self.type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class LayoutImage:
    """An image of a layout, every byte of it verified: its manifest, and the blobs that it names."""

    folder: Path
    manifest: bytes
    blobs: list[Blob]

    def path(self, blob: Blob) -> Path:
        return _path(self.folder, blob.digest)


def write(chunks: Iterator[bytes], folder: Path, configs: set[str]) -> None:
    """Write the images of an exported archive whose config digests are `configs` as a layout.

    Raises StageError if one is missing from the archive, or a layer is not what its config says.
    """
    (folder / "blobs" / "sha256").mkdir(parents=True)
    found = {image.digest: image for image in archive.images(chunks, lambda data: _write_layer(data, folder))}
    if missing := configs - found.keys():
        raise StageError(f"the engine's export lacks the image {', '.join(sorted(missing))}", cls="mismatch")
    manifests = []
    for config in sorted(configs):
        manifest = _write_manifest(found[config], folder)
        manifests.append(manifest.descriptor | {"annotations": {REF_NAME: config}})
    _write_json(folder / "index.json", {"schemaVersion": 2, "manifests": manifests})
    _write_json(folder / "oci-layout", {"imageLayoutVersion": "1.0.0"})


def read(folder: Path, config: str) -> LayoutImage:
    """Find an image by its config digest, and verify every byte of it. Raises StageError of class `mismatch`."""
    index = _json(_verified_file(folder / "index.json").read_bytes(), "index.json")
    entries = [each for each in index.get("manifests", []) if each.get("annotations", {}).get(REF_NAME) == config]
    if len(entries) != 1:
        raise StageError(f"the OCI layout has {len(entries)} images {config}, not one", cls="mismatch")
    manifest_blob = blob_of(entries[0])
    content = _path(folder, manifest_blob.digest)
    _verify(content, manifest_blob)
    manifest = content.read_bytes()
    document = _json(manifest, manifest_blob.digest)
    blobs = [blob_of(document.get("config")), *(blob_of(layer) for layer in document.get("layers", []))]
    if blobs[0].digest != config:
        raise StageError(f"the OCI layout has {blobs[0].digest} where it says {config}", cls="mismatch")
    image = LayoutImage(folder, manifest, list(dict.fromkeys(blobs)))
    for blob in image.blobs:
        _verify(image.path(blob), blob)
    return image


@dataclass(frozen=True)
class _Layer:
    blob: Blob
    diff_id: str | None  # None: compressed in a way that we cannot undo


def _write_layer(data: IO[bytes], folder: Path) -> _Layer:
    """Store a layer as it is if it is compressed already, else compressed."""
    first = data.read(CHUNK_BYTES)
    if first.startswith(ZSTD):
        kind, encode, decode = f"{LAYER}+zstd", None, None
    elif first.startswith(GZIP):
        kind, encode, decode = f"{LAYER}+gzip", None, zlib.decompressobj(31)
    else:
        # 31: with gzip's header, whose time and name stay zero and empty
        kind, encode, decode = f"{LAYER}+gzip", zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31), None
    partial = folder / "blobs" / "sha256" / ".partial"
    stored, content, size = hashlib.sha256(), hashlib.sha256(), 0
    with partial.open("wb") as file:
        chunk = first
        while chunk:
            content.update(decode.decompress(chunk) if decode else chunk)
            out = encode.compress(chunk) if encode else chunk
            stored.update(out)
            size += file.write(out)
            chunk = data.read(CHUNK_BYTES)
        out = encode.flush() if encode else b""
        stored.update(out)
        size += file.write(out)
    blob = Blob(f"sha256:{stored.hexdigest()}", size, kind)
    partial.replace(_path(folder, blob.digest))
    return _Layer(blob, None if kind.endswith("zstd") else f"sha256:{content.hexdigest()}")


def _write_manifest(image: archive.Archived[_Layer], folder: Path) -> Blob:
    got = [layer.diff_id for layer in image.layers]
    if len(got) != len(image.diff_ids) or any(
        mine not in {None, its} for mine, its in zip(got, image.diff_ids, strict=True)
    ):
        raise StageError(f"the layers exported for {image.digest} are not those its config names", cls="mismatch")
    config = _write_blob(folder, image.config, CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor,
        "layers": [layer.blob.descriptor for layer in image.layers],
    }
    return _write_blob(folder, json.dumps(document, separators=(",", ":")).encode(), MANIFEST)


def _write_blob(folder: Path, content: bytes, kind: str) -> Blob:
    blob = Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), kind)
    _path(folder, blob.digest).write_bytes(content)
    return blob


def _write_json(path: Path, document: Json) -> None:
    path.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True), encoding="utf-8")


def _path(folder: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise StageError(f"{digest[:100]!r} is not a SHA-256 digest", cls="mismatch")
    return folder / "blobs" / algorithm / value


def blob_of(descriptor: Any) -> Blob:
    """The blob that a descriptor describes. Raises StageError of class `mismatch`."""
    try:
        return Blob(str(descriptor["digest"]), int(descriptor["size"]), str(descriptor["mediaType"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StageError(f"there is a descriptor that is none: {error!r}", cls="mismatch") from error


def _json(content: bytes, name: str) -> Json:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise StageError(f"{name} of the OCI layout is not JSON: {error}", cls="mismatch") from error
    if not isinstance(document, dict):
        raise StageError(f"{name} of the OCI layout is not a JSON object", cls="mismatch")
    return document


def _verified_file(path: Path) -> Path:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError as error:
        raise StageError(f"the OCI layout lacks {path.name}", cls="mismatch") from error
    if not stat.S_ISREG(mode):
        raise StageError(f"{path.name} of the OCI layout is no plain file", cls="mismatch")
    return path


def _verify(path: Path, blob: Blob) -> None:
    with _verified_file(path).open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if digest != blob.digest or path.stat().st_size != blob.size:
        raise StageError(f"the blob {blob.digest} of the OCI layout holds something else ({digest})", cls="mismatch")
