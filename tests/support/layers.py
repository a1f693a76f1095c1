"""Layers and images made by hand."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = object()
OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def layer(entries: Mapping[str, object], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A layer of these entries: bytes are files, FOLDER is a folder, `-> x` a symbolic link, `=> x` a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, what in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size, info.mode = len(what), 0o755
                archive.addfile(info, io.BytesIO(what))
                continue
            info.type = tarfile.DIRTYPE
            if isinstance(what, str):
                info.type = tarfile.SYMTYPE if what.startswith("->") else tarfile.LNKTYPE
                info.linkname = what[3:]
            archive.addfile(info)
    return out.getvalue()


def dpkg(*packages: tuple[str, str]) -> bytes:
    """A status of dpkg with these packages and versions."""
    return b"\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n".encode()
        for name, version in packages
    )


def debian(*packages: tuple[str, str]) -> dict[str, object]:
    """The entries of a Debian 12 with these packages."""
    return {"usr/lib/os-release": OS_RELEASE, "var/lib/dpkg/status": dpkg(*packages)}


def saved(*images: list[bytes]) -> tuple[bytes, list[str]]:
    """What an engine up to version 24 exports of images with these layers, and their config digests."""
    manifest, entries, configs = [], {}, []
    for layers in images:
        diff_ids = [digest(data) for data in layers]
        config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
        configs.append(digest(config))
        entries[f"{configs[-1][7:]}.json"] = config
        names = [f"{each[7:]}/layer.tar" for each in diff_ids]
        entries |= dict(zip(names, layers, strict=True))
        manifest.append({"Config": f"{configs[-1][7:]}.json", "Layers": names})
    return layer({**entries, "manifest.json": json.dumps(manifest).encode()}), configs


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
